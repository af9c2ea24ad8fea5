//! The actor that answers a queue with few questions: what queued up while a batch was under way is asked
//! together, and nothing waits while none is. A batch that is late, and a queue that fills another
//! one, hold nothing up: the next worker takes what waits.
//!
//! The gate asks the bus through one, the services ask their database through one. Askers put their
//! questions into the queue, and tell the batcher of the first: a message for each would cost more than
//! the question. Each of the batcher's workers, actors too, has one batch under way. A worker that hangs or
//! fails holds up its own batch and no other.

mod queue;
mod worker;

use std::future::Future;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use metrics::{Counter, counter, histogram};
use ractor::{Actor, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::Instant;

use crate::supervisor::{Address, Child, RootMessage};
use crate::trace::Parent;
use queue::{Pushed, Queue};
use worker::{Batch, BatchWorker};

/// How long a batch is waited for before the next one goes beside it. Longer than most take; fewer and
/// larger batches cost much less than many small ones.
const LATE: Duration = Duration::from_millis(5);
/// Times at most that a batch which is due lets what is ready run first.
const PASSES: usize = 8;

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
    /// Batches under way at the same time at most.
    const IN_FLIGHT: usize;
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
pub struct BatchClient<W: Work> {
    address: Address<Message>,
    queue: Arc<Queue<W>>,
    waiting: Arc<AtomicUsize>,
    shed: Counter,
}

/// The actor.
pub struct Batcher<W: Work> {
    name: &'static str,
    queue: Arc<Queue<W>>,
    work: Arc<W>,
}

/// What a batcher is told.
pub enum Message {
    /// A question waits where none did, or there are enough for a batch.
    Asked,
    /// A batch may have become late.
    Late,
    /// The worker with this number has answered its batch.
    Done(usize),
}

/// The questions that wait, and the workers that can take them.
pub struct Dispatch<W: Work> {
    queue: queue::Open<W>,
    timer_set: bool,
    workers: Vec<ActorRef<Batch<W>>>,
    idle: Vec<usize>,
    /// When the last batch was handed out that is still waited for.
    waited_for: Option<(usize, Instant)>,
}

impl<W: Work> BatchClient<W> {
    /// An asker, and the child that answers it with `work`.
    pub fn new(name: &'static str, work: W) -> (Self, Child) {
        let (work, queue) = (Arc::new(work), Arc::new(Queue::default()));
        let address = Address::new();
        let asked = Arc::clone(&queue);
        let child = Child::new(name, address.clone(), move || {
            (Batcher { name, work: Arc::clone(&work), queue: Arc::clone(&asked) }, ())
        });
        let shed = counter!("latchkey_batch_shed_total", "batcher" => name);
        (Self { address, queue, waiting: Arc::default(), shed }, child)
    }

    /// Asks one question and waits for its answer.
    ///
    /// # Errors
    /// [`AskError`], at once where too many wait.
    pub async fn ask(&self, item: W::Item) -> Result<W::Answer, AskError<W::Error>> {
        let Some(permit) = Permit::take(&self.waiting, W::MAX_WAITING) else {
            self.shed.increment(1);
            return Err(AskError::Overloaded);
        };
        let (reply, answer) = oneshot::channel();
        let waiter = Waiter { reply, span: Parent::current(), _permit: permit };
        match self.queue.push(item, waiter) {
            Pushed::First if self.address.send(Message::Asked).is_err() => {
                // Nobody else tells of those that came behind this one.
                self.queue.clear();
            }
            // The first that waits has told already, and what is full would only go sooner.
            Pushed::Full => drop(self.address.send(Message::Asked)),
            Pushed::First | Pushed::Another | Pushed::Closed => {}
        }
        answer.await.map_err(|_dropped| AskError::Gone)?.map_err(AskError::Failed)
    }
}

impl<W: Work> Clone for BatchClient<W> {
    fn clone(&self) -> Self {
        Self {
            address: self.address.clone(),
            queue: Arc::clone(&self.queue),
            waiting: Arc::clone(&self.waiting),
            shed: self.shed.clone(),
        }
    }
}

impl<W: Work> Actor for Batcher<W> {
    type Msg = Message;
    type State = Dispatch<W>;
    type Arguments = ();

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        (): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let mut workers = Vec::with_capacity(W::IN_FLIGHT);
        for number in 0..W::IN_FLIGHT {
            workers.push(self.worker(number, &myself).await?);
        }
        let idle = (0..W::IN_FLIGHT).rev().collect();
        let queue = self.queue.open();
        Ok(Dispatch { queue, timer_set: false, workers, idle, waited_for: None })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        dispatch: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Asked => {}
            Message::Late => dispatch.timer_set = false,
            Message::Done(worker) => dispatch.is_idle(worker),
        }
        dispatch.work_off(&myself).await
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        dispatch: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let worker = match event {
            SupervisionEvent::ActorFailed(worker, _)
            | SupervisionEvent::ActorTerminated(worker, _, _) => worker,
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {
                return Ok(());
            }
        };
        let known = dispatch.workers.iter().position(|known| known.get_id() == worker.get_id());
        let Some(number) = known else { return Ok(()) };
        dispatch.workers[number] = self.worker(number, &myself).await?;
        dispatch.is_idle(number);
        // The root counts it, so that a service that fails too often ends.
        if let Some(root) = myself.try_get_supervisor() {
            root.send_message(RootMessage::Restarted(self.name))?;
        }
        dispatch.work_off(&myself).await
    }

    /// Answers the rest: while the batcher drains, no message of its workers or to itself arrives.
    async fn post_stop(
        &self,
        _myself: ActorRef<Self::Msg>,
        dispatch: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        for number in (0..W::IN_FLIGHT).cycle() {
            let batch = dispatch.queue.take();
            if batch.is_empty() {
                break;
            }
            // The askers of a worker that has just failed are told so.
            drop(dispatch.workers[number].send_message(batch));
        }
        for worker in &dispatch.workers {
            // Without a bound of its own: the root gives a child only so long to stop.
            if let Err(error) = worker.drain_and_wait(None).await {
                tracing::debug!(batcher = self.name, %error, "a worker of a batch had ended already");
            }
        }
        Ok(())
    }
}

/// Where an answer goes, the span that waits for it, and its permit among those that may wait.
pub struct Waiter<W: Work> {
    reply: oneshot::Sender<Result<W::Answer, W::Error>>,
    span: Parent,
    /// Held until the question is answered or dropped, also where nobody waits for it any more.
    _permit: Permit,
}

impl<W: Work> Waiter<W> {
    /// Whether nobody waits for the answer any more.
    fn is_gone(&self) -> bool {
        self.reply.is_closed()
    }
}

impl<W: Work> Batcher<W> {
    async fn worker(
        &self,
        number: usize,
        myself: &ActorRef<Message>,
    ) -> Result<ActorRef<Batch<W>>, SpawnErr> {
        let worker = BatchWorker {
            name: self.name,
            sizes: histogram!("latchkey_batch_size", "batcher" => self.name),
            number,
            work: Arc::clone(&self.work),
            batcher: myself.clone(),
        };
        let (worker, _) = Actor::spawn_linked(None, worker, (), myself.get_cell()).await?;
        Ok(worker)
    }
}

impl<W: Work> Dispatch<W> {
    /// Gives idle workers a batch each, as long as one is due; of what is not due yet the timer reminds.
    async fn work_off(&mut self, myself: &ActorRef<Message>) -> Result<(), ActorProcessingErr> {
        while !self.idle.is_empty() && self.is_due() {
            self.gather().await;
            let batch = self.queue.take();
            if let Some(number) = self.idle.pop_if(|_| !batch.is_empty()) {
                self.waited_for = Some((number, Instant::now()));
                self.workers[number].send_message(batch)?;
            }
        }
        if !self.idle.is_empty() && !self.timer_set && self.queue.load().count > 0 {
            self.timer_set = true;
            // It ends by itself, and a message to a batcher that has ended is nothing.
            drop(myself.send_after(LATE, || Message::Late));
        }
        Ok(())
    }

    /// Lets everybody ask who is about to: a batch is sent when this thread has had what is ready run and
    /// nothing was asked. No time passes while nothing can run, and what is late or full goes at once.
    async fn gather(&self) {
        let mut load = self.queue.load();
        if load.weight >= W::MAX_WEIGHT || self.waited_for.is_some() {
            return;
        }
        for _ in 0..PASSES {
            // What became ready together with this task comes behind it: so once more.
            yield_now().await;
            yield_now().await;
            let before = mem::replace(&mut load, self.queue.load());
            if load.weight >= W::MAX_WEIGHT || load == before {
                return;
            }
        }
    }

    /// Whether what waits goes now: no batch is waited for, or it is late, or there is enough for another.
    fn is_due(&self) -> bool {
        let load = self.queue.load();
        load.weight >= W::MAX_WEIGHT
            || load.count > 0 && self.waited_for.is_none_or(|(_, since)| since.elapsed() >= LATE)
    }

    fn is_idle(&mut self, worker: usize) {
        self.idle.push(worker);
        if self.waited_for.is_some_and(|(number, _)| number == worker) {
            self.waited_for = None;
        }
    }
}

/// One permit among those that may wait; given back when dropped.
struct Permit {
    waiting: Arc<AtomicUsize>,
}

impl Permit {
    fn take(waiting: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        let permit = Self { waiting: Arc::clone(waiting) };
        (before < max).then_some(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
