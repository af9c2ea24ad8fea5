//! Where replies arrive: one subscription a process, and a bounded table of who waits for which.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::{Client, Message, Subscriber};
use futures_util::StreamExt;
use tokio::sync::oneshot;

use crate::BusError;

/// The table of requests under way.
#[derive(Clone)]
pub(super) struct Inbox {
    prefix: Arc<str>,
    next: Arc<AtomicU64>,
    waiting: Arc<Mutex<HashMap<u64, oneshot::Sender<Message>>>>,
}

/// One request's place in the table, given up when dropped: an unanswered request leaves nothing.
pub(super) struct Waiting {
    inbox: Inbox,
    number: u64,
    answer: Option<oneshot::Receiver<Message>>,
}

impl Inbox {
    /// Subscribes to `prefix.*` and waits until the server has seen it.
    pub(super) async fn open(client: &Client, prefix: &str) -> Result<Self, BusError> {
        let subscriber =
            client.subscribe(format!("{prefix}.*")).await.map_err(BusError::Subscribe)?;
        client.flush().await.map_err(|error| BusError::Serve(Box::new(error)))?;
        let inbox = Self {
            prefix: Arc::from(prefix),
            next: Arc::new(AtomicU64::new(0)),
            waiting: Arc::default(),
        };
        #[expect(clippy::disallowed_methods, reason = "lives as long as its connection")]
        tokio::spawn(inbox.clone().deliver(subscriber));
        Ok(inbox)
    }

    /// A place for one reply.
    pub(super) fn expect(&self) -> Waiting {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.table().insert(number, sender);
        Waiting { inbox: self.clone(), number, answer: Some(answer) }
    }

    /// Hands each reply to whoever waits for it. A reply that nobody waits for is dropped.
    async fn deliver(self, mut subscriber: Subscriber) {
        while let Some(message) = subscriber.next().await {
            let number = message.subject.rsplit('.').next().and_then(|token| token.parse().ok());
            let waiting = number.and_then(|number: u64| self.table().remove(&number));
            if let Some(sender) = waiting {
                drop(sender.send(message));
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Message>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Where the reply is to be sent.
    pub(super) fn subject(&self) -> String {
        format!("{}.{}", self.inbox.prefix, self.number)
    }

    /// The reply; `None` where the connection has ended for good.
    pub(super) async fn answer(mut self) -> Option<Message> {
        self.answer.take()?.await.ok()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.inbox.table().remove(&self.number);
    }
}
