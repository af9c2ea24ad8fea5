//! Messages that nobody answers: published to whoever listens, at most once, and lost where nobody does.
//! Nothing may depend on one arriving.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use latchkey_runtime::Child;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::{Bus, BusError, Local, faults};

/// What is done with each message: its subject, and its payload. It is run where messages are received: it may
/// not wait.
pub type MessageHandler = Arc<dyn Fn(&str, Bytes) + Send + Sync>;

/// What is done when a subscription hears nothing any more.
pub type Ended = Box<dyn FnOnce() + Send>;

/// Does it when dropped, be it by a panic.
pub(crate) struct AtEnd(Option<Ended>);

/// Hears messages until it is dropped.
#[must_use = "dropping it ends it"]
pub enum Subscription {
    /// Inside this process.
    Local(LocalSubscription),
    /// Over a NATS server.
    Nats(NatsSubscription),
}

/// A subscription inside this process.
pub struct LocalSubscription {
    bus: Local,
    number: u64,
    _at_end: AtEnd,
}

/// Who listens inside this process.
#[derive(Clone)]
pub(crate) struct LocalListener {
    pattern: String,
    hear: MessageHandler,
    process: u32,
}

/// The task that reads a subscription over NATS.
pub struct NatsSubscription(pub(crate) AbortHandle);

impl Bus {
    /// Sends `payload` to everybody who listens to `subject`.
    ///
    /// # Errors
    /// [`BusError::Publish`] where it was not sent. No error does not mean that somebody got it.
    pub async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), BusError> {
        match self {
            Self::Local(local) => {
                local.publish(subject, &payload);
                Ok(())
            }
            Self::Nats(nats) => nats.publish(subject, payload).await,
        }
    }

    /// Hears everything that is published to subjects of `pattern` (`*` is one token, `>` the rest).
    /// When it returns, the server knows of it; while the server is away it waits. `ended` is called when nothing is
    /// heard any more, at the latest when the subscription is dropped, and where this fails or is dropped itself.
    ///
    /// # Errors
    /// [`BusError`] where the server does not take it.
    pub async fn subscribe(
        &self,
        pattern: &str,
        hear: MessageHandler,
        ended: Ended,
    ) -> Result<Subscription, BusError> {
        match self {
            Self::Local(local) => {
                let number = local.listen(pattern, hear);
                let (bus, at_end) = (local.clone(), AtEnd::new(ended));
                Ok(Subscription::Local(LocalSubscription { bus, number, _at_end: at_end }))
            }
            Self::Nats(nats) => nats.subscribe(pattern, hear, ended).await.map(Subscription::Nats),
        }
    }
}

impl Local {
    fn publish(&self, subject: &str, payload: &Bytes) {
        #[expect(
            clippy::disallowed_methods,
            reason = "each change is one step of a map: it is whole after a panic, too"
        )]
        let listeners = self.listeners.read().unwrap_or_else(PoisonError::into_inner);
        let hearing = listeners.values().filter(|listener| fits(&listener.pattern, subject));
        let hearing: Vec<LocalListener> = hearing.cloned().collect();
        drop(listeners);
        for LocalListener { hear, process, .. } in hearing {
            match &self.faults {
                None => hear(subject, payload.clone()),
                Some(faults) => {
                    let copies = faults.publication(subject, self.process, process);
                    faults::tell(&hear, subject, payload, copies);
                }
            }
        }
    }

    fn listen(&self, pattern: &str, hear: MessageHandler) -> u64 {
        #[expect(
            clippy::disallowed_methods,
            reason = "each change is one step of a map: it is whole after a panic, too"
        )]
        let mut listeners = self.listeners.write().unwrap_or_else(PoisonError::into_inner);
        let number = listeners.last_key_value().map_or(0, |(last, _)| last + 1);
        let (pattern, process) = (pattern.to_owned(), self.process);
        listeners.insert(number, LocalListener { pattern, hear, process });
        number
    }
}

impl Drop for LocalSubscription {
    fn drop(&mut self) {
        #[expect(
            clippy::disallowed_methods,
            reason = "each change is one step of a map: it is whole after a panic, too"
        )]
        let mut listeners = self.bus.listeners.write().unwrap_or_else(PoisonError::into_inner);
        listeners.remove(&self.number);
    }
}

impl Drop for NatsSubscription {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Whether `subject` is one of `pattern`'s.
fn fits(pattern: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for part in pattern.split('.') {
        match (part, tokens.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (part, Some(token)) if part == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

/// The child that hears everything of `pattern` for as long as it lives. Each of its lives subscribes anew.
#[must_use]
pub fn listener(name: &'static str, bus: Bus, pattern: String, hear: MessageHandler) -> Child {
    Child::task(name, move |mut context| {
        let (bus, pattern, hear) = (bus.clone(), pattern.clone(), Arc::clone(&hear));
        async move {
            let (ends, ended) = oneshot::channel::<()>();
            let subscribing = bus.subscribe(&pattern, hear, Box::new(|| drop(ends)));
            // While the bus is away, this waits for it.
            let Some(subscription) = context.unless_stopped(subscribing).await else {
                return Ok(());
            };
            let _subscription = subscription?;
            context.up();
            tokio::select! {
                () = context.stopped() => Ok(()),
                _ = ended => Err(format!("{pattern} is not heard any more").into()),
            }
        }
    })
}

impl AtEnd {
    pub(crate) fn new(ended: Ended) -> Self {
        Self(Some(ended))
    }
}

impl Drop for AtEnd {
    fn drop(&mut self) {
        if let Some(ended) = self.0.take() {
            ended();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_nats() {
        for (pattern, subject) in
            [("a.b", "a.b"), ("a.*", "a.b"), ("a.>", "a.b"), ("a.>", "a.b.c"), ("*.b", "a.b")]
        {
            assert!(fits(pattern, subject), "{pattern} {subject}");
        }
        for (pattern, subject) in
            [("a.b", "a"), ("a", "a.b"), ("a.*", "a"), ("a.>", "a"), ("a.*", "a.b.c"), ("b", "a")]
        {
            assert!(!fits(pattern, subject), "{pattern} {subject}");
        }
    }
}
