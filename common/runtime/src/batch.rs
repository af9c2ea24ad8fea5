//! The actor that answers a queue with one question: what queued up while the last question was
//! under way is asked together, and nothing waits when nothing is under way.
//!
//! The edge asks the bus through one, the services ask their database through one.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use crate::supervisor::{Address, Child};

/// How many questions are answered, and with what.
pub trait Work: Send + Sync + 'static {
    /// One question.
    type Item: Send + 'static;
    /// Its answer.
    type Answer: Send + 'static;
    /// Why a whole batch has no answers. It is cloned to everyone who waits.
    type Error: Clone + Send + 'static;

    /// The weight of all the items in one batch at most.
    const MAX_WEIGHT: usize;
    /// Items that wait or are under way at most; beyond, [`AskError::Overloaded`] at once.
    const MAX_WAITING: usize;

    /// What `item` counts for in a batch.
    fn weight(item: &Self::Item) -> usize;

    /// Answers `items`, one answer each, in the same order.
    fn answer(
        &self,
        items: Vec<Self::Item>,
    ) -> impl Future<Output = Result<Vec<Self::Answer>, Self::Error>> + Send;
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskError<E> {
    /// Too many wait already.
    Overloaded,
    /// The actor failed while it had the question.
    Gone,
    /// The whole batch failed.
    Failed(E),
}

/// Asks questions of a [`Batcher`]. Clones ask the same one.
pub struct Asker<W: Work> {
    address: Address<Message<W>>,
    waiting: Arc<AtomicUsize>,
}

/// The actor. One batch is under way at a time.
pub struct Batcher<W: Work> {
    work: Arc<W>,
}

/// What a batcher is told.
pub enum Message<W: Work> {
    /// A question, and where its answer goes.
    Ask(W::Item, oneshot::Sender<Result<W::Answer, W::Error>>),
    /// Sent by the batcher to itself: it stands in the queue behind every question that came while
    /// the last batch was under way.
    Flush,
}

/// The questions that wait.
pub struct Pending<W: Work> {
    queue: VecDeque<(W::Item, Reply<W>)>,
    flush_sent: bool,
}

impl<W: Work> Asker<W> {
    /// An asker, and the child that answers it with `work`.
    pub fn new(name: &'static str, work: W) -> (Self, Child) {
        let work = Arc::new(work);
        let address = Address::new();
        let child =
            Child::new(name, address.clone(), move || (Batcher { work: Arc::clone(&work) }, ()));
        (Self { address, waiting: Arc::default() }, child)
    }

    /// Asks one question and waits for its answer.
    ///
    /// # Errors
    /// [`AskError`], at once where too many wait.
    pub async fn ask(&self, item: W::Item) -> Result<W::Answer, AskError<W::Error>> {
        let place = Place::take(&self.waiting, W::MAX_WAITING).ok_or(AskError::Overloaded)?;
        let (reply, answer) = oneshot::channel();
        self.address.send(Message::Ask(item, reply)).map_err(|_absent| AskError::Gone)?;
        let answer = answer.await.map_err(|_dropped| AskError::Gone)?;
        drop(place);
        answer.map_err(AskError::Failed)
    }
}

impl<W: Work> Clone for Asker<W> {
    fn clone(&self) -> Self {
        Self { address: self.address.clone(), waiting: Arc::clone(&self.waiting) }
    }
}

impl<W: Work> Actor for Batcher<W> {
    type Msg = Message<W>;
    type State = Pending<W>;
    type Arguments = ();

    async fn pre_start(
        &self,
        _myself: ActorRef<Self::Msg>,
        (): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(Pending { queue: VecDeque::new(), flush_sent: false })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        pending: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Ask(item, reply) => pending.queue.push_back((item, reply)),
            Message::Flush => {
                pending.flush_sent = false;
                let (items, replies) = pending.take();
                if !items.is_empty() {
                    self.answer(items, replies).await;
                }
            }
        }
        if !pending.flush_sent && !pending.queue.is_empty() {
            pending.flush_sent = true;
            if myself.send_message(Message::Flush).is_err() {
                // Drained: no message to itself is taken any more, so the rest is answered now.
                while !pending.queue.is_empty() {
                    let (items, replies) = pending.take();
                    self.answer(items, replies).await;
                }
            }
        }
        Ok(())
    }
}

type Reply<W> = oneshot::Sender<Result<<W as Work>::Answer, <W as Work>::Error>>;
type Replies<W> = Vec<Reply<W>>;

impl<W: Work> Batcher<W> {
    async fn answer(&self, items: Vec<W::Item>, replies: Replies<W>) {
        // Whoever gave up meanwhile has dropped its end; sending to it changes nothing.
        match self.work.answer(items).await {
            Ok(answers) => {
                for (reply, answer) in replies.into_iter().zip(answers) {
                    let _ = reply.send(Ok(answer));
                }
            }
            Err(error) => {
                for reply in replies {
                    let _ = reply.send(Err(error.clone()));
                }
            }
        }
    }
}

impl<W: Work> Pending<W> {
    /// The next batch, without those whose asker has given up.
    fn take(&mut self) -> (Vec<W::Item>, Replies<W>) {
        let (mut items, mut replies) = (Vec::new(), Vec::new());
        let mut weight = 0;
        while let Some((item, reply)) = self.queue.pop_front() {
            if reply.is_closed() {
                continue;
            }
            weight += W::weight(&item);
            if weight > W::MAX_WEIGHT && !items.is_empty() {
                self.queue.push_front((item, reply));
                break;
            }
            items.push(item);
            replies.push(reply);
        }
        (items, replies)
    }
}

/// One place among those that may wait; given back when dropped.
struct Place {
    waiting: Arc<AtomicUsize>,
}

impl Place {
    fn take(waiting: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        let place = Self { waiting: Arc::clone(waiting) };
        (before < most).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
