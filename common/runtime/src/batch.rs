//! The actor that answers a queue with few questions: what queued up while a batch was under way is asked
//! together, and nothing waits while none is. A batch that is late, and a queue that fills another
//! one, hold nothing up: the next lane takes what waits.
//!
//! The gate asks the bus through one, the services ask their database through one. The batcher owns
//! the queue; each of its lanes, actors too, has one batch under way. A lane that hangs or fails
//! holds up its own batch and no other.

mod lane;

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use metrics::{Counter, counter, histogram};
use ractor::{Actor, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::supervisor::{Address, Child, RootMessage};
use crate::trace::Parent;
use lane::{Batch, Lane};

/// How long a batch is waited for before the next one goes beside it. Longer than most take; fewer and
/// larger batches cost much less than many small ones.
const LATE: Duration = Duration::from_millis(5);

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
pub struct Asker<W: Work> {
    address: Address<Message<W>>,
    waiting: Arc<AtomicUsize>,
    shed: Counter,
}

/// The actor.
pub struct Batcher<W: Work> {
    name: &'static str,
    work: Arc<W>,
}

/// What a batcher is told.
pub enum Message<W: Work> {
    /// A question, and who asks it.
    Ask(W::Item, Questioner<W>),
    /// Sent by the batcher to itself: it stands in the queue behind every question that came while
    /// others were under way.
    Flush,
    /// A batch may have become late.
    Late,
    /// The lane with this number has answered its batch.
    Done(usize),
}

/// The questions that wait, and those who can take them.
pub struct Pending<W: Work> {
    queue: VecDeque<(W::Item, Questioner<W>)>,
    /// Of all that is in the queue.
    weight: usize,
    flush_sent: bool,
    timer_set: bool,
    lanes: Vec<ActorRef<Batch<W>>>,
    idle: Vec<usize>,
    /// When the last batch was handed out that is still waited for.
    waited_for: Option<(usize, Instant)>,
}

impl<W: Work> Asker<W> {
    /// An asker, and the child that answers it with `work`.
    pub fn new(name: &'static str, work: W) -> (Self, Child) {
        let work = Arc::new(work);
        let address = Address::new();
        let child = Child::new(name, address.clone(), move || {
            (Batcher { name, work: Arc::clone(&work) }, ())
        });
        let shed = counter!("latchkey_batch_shed_total", "batcher" => name);
        (Self { address, waiting: Arc::default(), shed }, child)
    }

    /// Asks one question and waits for its answer.
    ///
    /// # Errors
    /// [`AskError`], at once where too many wait.
    pub async fn ask(&self, item: W::Item) -> Result<W::Answer, AskError<W::Error>> {
        let Some(place) = Place::take(&self.waiting, W::MAX_WAITING) else {
            self.shed.increment(1);
            return Err(AskError::Overloaded);
        };
        let (reply, answer) = oneshot::channel();
        let questioner = Questioner { reply, span: Parent::current() };
        self.address.send(Message::Ask(item, questioner)).map_err(|_absent| AskError::Gone)?;
        let answer = answer.await.map_err(|_dropped| AskError::Gone)?;
        drop(place);
        answer.map_err(AskError::Failed)
    }
}

impl<W: Work> Clone for Asker<W> {
    fn clone(&self) -> Self {
        Self {
            address: self.address.clone(),
            waiting: Arc::clone(&self.waiting),
            shed: self.shed.clone(),
        }
    }
}

impl<W: Work> Actor for Batcher<W> {
    type Msg = Message<W>;
    type State = Pending<W>;
    type Arguments = ();

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        (): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let mut lanes = Vec::with_capacity(W::IN_FLIGHT);
        for number in 0..W::IN_FLIGHT {
            lanes.push(self.lane(number, &myself).await?);
        }
        let idle = (0..W::IN_FLIGHT).rev().collect();
        Ok(Pending {
            queue: VecDeque::new(),
            weight: 0,
            flush_sent: false,
            timer_set: false,
            lanes,
            idle,
            waited_for: None,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        pending: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Ask(item, questioner) => {
                pending.weight += W::weight(&item);
                pending.queue.push_back((item, questioner));
            }
            Message::Flush => {
                pending.flush_sent = false;
                pending.hand_out()?;
            }
            Message::Late => pending.timer_set = false,
            Message::Done(lane) => pending.is_idle(lane),
        }
        pending.flush_soon(&myself);
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        pending: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let lane = match event {
            SupervisionEvent::ActorFailed(lane, _)
            | SupervisionEvent::ActorTerminated(lane, _, _) => lane,
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {
                return Ok(());
            }
        };
        let known = pending.lanes.iter().position(|known| known.get_id() == lane.get_id());
        let Some(number) = known else { return Ok(()) };
        pending.lanes[number] = self.lane(number, &myself).await?;
        pending.is_idle(number);
        // The root counts it, so that a service that fails too often ends.
        if let Some(root) = myself.try_get_supervisor() {
            root.send_message(RootMessage::Restarted(self.name))?;
        }
        pending.flush_soon(&myself);
        Ok(())
    }

    /// Answers the rest: while the batcher drains, no message of its lanes or to itself arrives.
    async fn post_stop(
        &self,
        _myself: ActorRef<Self::Msg>,
        pending: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        for number in (0..W::IN_FLIGHT).cycle() {
            let batch = pending.take();
            if batch.is_empty() {
                break;
            }
            pending.lanes[number].send_message(batch)?;
        }
        for lane in &pending.lanes {
            // Without a bound of its own: the root gives a child only so long to stop.
            lane.drain_and_wait(None).await?;
        }
        Ok(())
    }
}

/// Where an answer goes, and the span that waits for it.
pub struct Questioner<W: Work> {
    reply: oneshot::Sender<Result<W::Answer, W::Error>>,
    span: Parent,
}

impl<W: Work> Batcher<W> {
    async fn lane(
        &self,
        number: usize,
        myself: &ActorRef<Message<W>>,
    ) -> Result<ActorRef<Batch<W>>, SpawnErr> {
        let lane = Lane {
            name: self.name,
            sizes: histogram!("latchkey_batch_size", "batcher" => self.name),
            number,
            work: Arc::clone(&self.work),
            batcher: myself.clone(),
        };
        let (lane, _) = Actor::spawn_linked(None, lane, (), myself.get_cell()).await?;
        Ok(lane)
    }
}

impl<W: Work> Pending<W> {
    /// Gives idle lanes a batch each, as long as there is one to give.
    fn hand_out(&mut self) -> Result<(), ActorProcessingErr> {
        while self.is_due()
            && let Some(number) = self.idle.pop()
        {
            let batch = self.take();
            if batch.is_empty() {
                self.idle.push(number);
                break;
            }
            self.waited_for = Some((number, Instant::now()));
            self.lanes[number].send_message(batch)?;
        }
        Ok(())
    }

    /// Whether what waits goes now: no batch is waited for, or it is late, or there is enough for another.
    fn is_due(&self) -> bool {
        !self.queue.is_empty()
            && (self.weight >= W::MAX_WEIGHT
                || self.waited_for.is_none_or(|(_, since)| since.elapsed() >= LATE))
    }

    fn is_idle(&mut self, lane: usize) {
        self.idle.push(lane);
        if self.waited_for.is_some_and(|(number, _)| number == lane) {
            self.waited_for = None;
        }
    }

    /// Sees to it that questions which wait are handed out as soon as they are due and a lane is idle.
    fn flush_soon(&mut self, myself: &ActorRef<Message<W>>) {
        if self.flush_sent || self.queue.is_empty() || self.idle.is_empty() {
            return;
        }
        if self.is_due() {
            // It fails while the batcher drains; then what waits is answered at the end.
            self.flush_sent = myself.send_message(Message::Flush).is_ok();
        } else if !self.timer_set {
            self.timer_set = true;
            // It ends by itself, and a message to a batcher that has ended is nothing.
            drop(myself.send_after(LATE, || Message::Late));
        }
    }

    /// The next batch, without those whose asker has given up.
    fn take(&mut self) -> Batch<W> {
        let mut batch = Batch { items: Vec::new(), questioners: Vec::new() };
        let mut weight = 0;
        while let Some((item, questioner)) = self.queue.pop_front() {
            let own = W::weight(&item);
            if questioner.reply.is_closed() {
                self.weight -= own;
                continue;
            }
            if weight + own > W::MAX_WEIGHT && !batch.is_empty() {
                self.queue.push_front((item, questioner));
                break;
            }
            self.weight -= own;
            weight += own;
            batch.items.push(item);
            batch.questioners.push(questioner);
        }
        batch
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
