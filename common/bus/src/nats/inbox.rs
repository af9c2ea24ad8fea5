//! Where replies arrive: one subscription a process, and a bounded table of who waits for which.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use async_nats::{Client, Message, Subscriber};
use futures_util::StreamExt;
use latchkey_runtime::lock::lock_or_begin_anew;
use tokio::sync::{oneshot, watch};

use crate::BusError;
use crate::felling::Felling;

/// The task that reads replies, to the tests.
const TASK: &str = "inbox";
/// The last token of the subject where a process sends to itself. No request's place is called so: whoever may send
/// there can answer nothing.
const OWN: &str = "self";

/// The table of requests under way.
#[derive(Clone)]
pub(super) struct Inbox(Arc<Shared>);

struct Shared {
    prefix: Box<str>,
    /// Messages that have arrived, of whatever kind.
    heard: AtomicU64,
    /// Messages of this process to itself that have arrived.
    echoes: watch::Sender<u64>,
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Message>>>,
    /// Whether somebody reads what arrives.
    is_read: watch::Sender<bool>,
}

/// Says that nobody reads any more, and has nobody wait for what would not come.
struct Reader(Inbox);

/// One request's place in the table, given up when dropped: an unanswered request leaves nothing.
pub(super) struct Waiting {
    inbox: Inbox,
    number: u64,
    answer: Option<oneshot::Receiver<Message>>,
}

impl Inbox {
    /// A table in which nobody waits yet, for replies below `prefix`.
    pub(super) fn new(prefix: &str) -> Self {
        Self(Arc::new(Shared {
            prefix: Box::from(prefix),
            heard: AtomicU64::default(),
            echoes: watch::Sender::default(),
            next: AtomicU64::default(),
            waiting: Mutex::default(),
            is_read: watch::Sender::default(),
        }))
    }

    /// Subscribes to `prefix.*`, unless somebody reads that already, and waits until the server has seen it.
    pub(super) async fn read(&self, client: &Client, felling: &Felling) -> Result<(), BusError> {
        if *self.0.is_read.borrow() {
            return Ok(());
        }
        let subscriber =
            client.subscribe(format!("{}.*", self.0.prefix)).await.map_err(BusError::Subscribe)?;
        client.flush().await.map_err(|error| BusError::Serve(Box::new(error)))?;
        self.0.is_read.send_replace(true);
        let (reader, felling) = (Reader(self.clone()), felling.clone());
        #[expect(
            clippy::disallowed_methods,
            reason = "ends with its connection; before that, the upkeep notices"
        )]
        tokio::spawn(async move {
            tokio::select! {
                () = reader.0.deliver(subscriber) => {}
                () = felling.felled(TASK) => {}
            }
        });
        Ok(())
    }

    /// Returns when nobody reads any more.
    pub(super) async fn unread(&self) {
        // The sender is here.
        let _ = self.0.is_read.subscribe().wait_for(|is_read| !is_read).await;
    }

    /// A place for one reply.
    pub(super) fn expect(&self) -> Waiting {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.table().insert(number, sender);
        Waiting { inbox: self.clone(), number, answer: Some(answer) }
    }

    /// Where this process sends to itself.
    pub(super) fn own(&self) -> String {
        format!("{}.{OWN}", self.0.prefix)
    }

    /// How many messages have arrived so far.
    pub(super) fn heard(&self) -> u64 {
        self.0.heard.load(Ordering::Relaxed)
    }

    /// Says when a message to oneself arrives from now on.
    pub(super) fn echoes(&self) -> watch::Receiver<u64> {
        self.0.echoes.subscribe()
    }

    /// Hands each reply to whoever waits for it. A reply that nobody waits for is dropped.
    async fn deliver(&self, mut subscriber: Subscriber) {
        while let Some(message) = subscriber.next().await {
            self.0.heard.fetch_add(1, Ordering::Relaxed);
            let place = message.subject.rsplit('.').next();
            if place == Some(OWN) {
                self.0.echoes.send_modify(|count| *count += 1);
                continue;
            }
            let number = place.and_then(|token| token.parse().ok());
            let waiting = number.and_then(|number: u64| self.table().remove(&number));
            if let Some(sender) = waiting {
                drop(sender.send(message));
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Message>>> {
        lock_or_begin_anew(&self.0.waiting, "requests that wait for a reply", HashMap::clear)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.0.is_read.send_replace(false);
        let waiting = std::mem::take(&mut *self.0.table());
        drop(waiting);
    }
}

impl Waiting {
    /// Where the reply is to be sent.
    pub(super) fn subject(&self) -> String {
        format!("{}.{}", self.inbox.0.prefix, self.number)
    }

    /// The reply; `None` where nobody reads it any more. Whether the request was done is not known then.
    pub(super) async fn answer(mut self) -> Option<Message> {
        self.answer.take()?.await.ok()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.inbox.table().remove(&self.number);
    }
}
