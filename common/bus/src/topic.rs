//! Messages that nobody answers: published to whoever listens, at most once, and lost where nobody does.
//! Nothing may depend on one arriving.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::task::AbortHandle;

use crate::endpoint::Nothing;
use crate::{Bus, BusError, Local};

/// What is done with each message's payload. It is run where messages are received: it may not wait.
pub type Hear = Arc<dyn Fn(Bytes) + Send + Sync>;

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
    /// When it returns, the server knows of it.
    ///
    /// # Errors
    /// [`BusError`] where the server does not take it.
    pub async fn subscribe(&self, pattern: &str, hear: Hear) -> Result<Subscription, BusError> {
        match self {
            Self::Local(local) => {
                let number = local.listen(pattern, hear);
                Ok(Subscription::Local(LocalSubscription { bus: local.clone(), number }))
            }
            Self::Nats(nats) => nats.subscribe(pattern, hear).await.map(Subscription::Nats),
        }
    }
}

impl Local {
    fn publish(&self, subject: &str, payload: &Bytes) {
        let listeners = self.listeners.read().unwrap_or_else(PoisonError::into_inner);
        let hearing: Vec<Hear> = listeners
            .values()
            .filter(|(pattern, _)| fits(pattern, subject))
            .map(|(_, hear)| Arc::clone(hear))
            .collect();
        drop(listeners);
        for hear in hearing {
            hear(payload.clone());
        }
    }

    fn listen(&self, pattern: &str, hear: Hear) -> u64 {
        let mut listeners = self.listeners.write().unwrap_or_else(PoisonError::into_inner);
        let number = listeners.last_key_value().map_or(0, |(last, _)| last + 1);
        listeners.insert(number, (pattern.to_owned(), hear));
        number
    }
}

impl Drop for LocalSubscription {
    fn drop(&mut self) {
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

/// The actor that listens for as long as it lives. Each of its lives subscribes anew.
pub struct Listener {
    bus: Bus,
    pattern: String,
    hear: Hear,
}

impl Listener {
    /// Hears everything of `pattern`.
    pub fn new(bus: Bus, pattern: String, hear: Hear) -> Self {
        Self { bus, pattern, hear }
    }
}

impl Actor for Listener {
    type Msg = Nothing;
    type State = Subscription;
    type Arguments = ();

    async fn pre_start(
        &self,
        _myself: ActorRef<Self::Msg>,
        (): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(self.bus.subscribe(&self.pattern, Arc::clone(&self.hear)).await?)
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
