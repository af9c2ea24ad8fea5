//! Messages that nobody answers: published to whoever listens, at most once, and lost where nobody does.
//! Nothing may depend on one arriving.

use std::sync::Arc;

use bytes::Bytes;
use latchkey_runtime::Child;
use tokio::sync::oneshot;

use crate::local::topic::LocalSubscription;
use crate::nats::topic::NatsSubscription;
pub use crate::subscriber::{Ended, MessageHandler};
use crate::{Bus, BusError};

/// Hears messages until it is dropped.
#[must_use = "dropping it ends it"]
pub enum Subscription {
    /// Inside this process.
    Local(LocalSubscription),
    /// Over a NATS server.
    Nats(NatsSubscription),
}

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
            Self::Local(local) => Ok(Subscription::Local(local.subscribe(pattern, hear, ended))),
            Self::Nats(nats) => nats.subscribe(pattern, hear, ended).await.map(Subscription::Nats),
        }
    }
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
