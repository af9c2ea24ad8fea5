//! The root actor of a service: it starts the others, restarts one that failed, and gives up when
//! that happens too often. Callers hold an [`Address`], which outlives restarts.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use metrics::counter;
use ractor::{
    Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, Message, RpcReplyPort, SpawnErr,
    SupervisionEvent,
};
use tokio::time::Instant;

use crate::stop::Stop;

/// Restarts within [`BUDGET_WINDOW`] at most; beyond, the service ends and whoever runs it decides.
pub const BUDGET: usize = 20;
/// The time in which [`BUDGET`] restarts are too many.
pub const BUDGET_WINDOW: Duration = Duration::from_mins(1);
/// How long one child may take to finish when the service ends.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a supervised actor can be reached, whichever of its lives it is in.
pub struct Address<M: Message> {
    current: Arc<RwLock<Option<ActorRef<M>>>>,
}

/// The actor is between two lives, or the service has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the actor is not there")]
pub struct Absent;

type Starting = Pin<Box<dyn Future<Output = Result<ActorCell, SpawnErr>> + Send>>;

/// How to start one actor, again and again if need be.
pub struct Child {
    name: &'static str,
    start: Box<dyn Fn(ActorCell) -> Starting + Send + Sync>,
}

/// Supervises a service's actors.
pub struct Root;

/// What a root knows.
pub struct RootState {
    children: Vec<Child>,
    alive: HashMap<ActorId, (usize, ActorCell)>,
    restarts: VecDeque<Instant>,
}

/// What a root is told.
pub enum RootMessage {
    /// Stop every child, the one started last first, and answer when all have finished.
    Stop(RpcReplyPort<()>),
    /// A part of the actor `actor` failed and was started again by that actor: it counts as a restart.
    Restarted(&'static str),
}

impl Child {
    /// A child that `make` builds for each of its lives, reached through `address`.
    pub fn new<A, F>(name: &'static str, address: Address<A::Msg>, make: F) -> Self
    where
        A: Actor,
        F: Fn() -> (A, A::Arguments) + Send + Sync + 'static,
    {
        let start = move |root: ActorCell| {
            let (actor, arguments) = make();
            let address = address.clone();
            let starting: Starting = Box::pin(async move {
                // Never a name: names are global to the process.
                let (child, _) = Actor::spawn_linked(None, actor, arguments, root).await?;
                address.set(child.clone());
                Ok(child.get_cell())
            });
            starting
        };
        Self { name, start: Box::new(start) }
    }
}

impl Root {
    /// Starts a root with its children, in order.
    ///
    /// # Errors
    /// Where a child does not start.
    pub async fn start(children: Vec<Child>) -> Result<Running, SpawnErr> {
        let (root, handle) = Actor::spawn(None, Self, children).await?;
        Ok(Running { root, handle })
    }
}

/// A service's actors while they run.
pub struct Running {
    root: ActorRef<RootMessage>,
    handle: tokio::task::JoinHandle<()>,
}

impl Running {
    /// Stops all children, the one started last first, each after the work it has in hand.
    pub async fn stop(self) {
        // An error means that the root is gone, and its children with it.
        let _ = self.root.call(RootMessage::Stop, None).await;
        let _ = self.root.stop_and_wait(None, Some(STOP_TIMEOUT)).await;
    }

    /// The same until what is in hand is to be given up: then whoever still has something is ended as it is.
    pub async fn stop_by(self, stop: &Stop) {
        let root = self.root.clone();
        tokio::select! {
            () = self.stop() => {}
            () = stop.given_up() => {
                tracing::warn!("some actors do not finish in time");
                // Its children end with it.
                root.kill();
            }
        }
    }

    /// Returns when the root has given up.
    pub async fn failed(&mut self) {
        let _ = (&mut self.handle).await;
    }
}

impl Actor for Root {
    type Msg = RootMessage;
    type State = RootState;
    type Arguments = Vec<Child>;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        children: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let mut state = RootState { children, alive: HashMap::new(), restarts: VecDeque::new() };
        for index in 0..state.children.len() {
            state.start(index, &myself).await?;
        }
        Ok(state)
    }

    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let done = match message {
            RootMessage::Stop(done) => done,
            RootMessage::Restarted(actor) => return state.count_restart(actor),
        };
        let mut children: Vec<_> = state.alive.drain().map(|(_, child)| child).collect();
        children.sort_by_key(|(index, _)| Reverse(*index));
        for (index, child) in children {
            if child.drain_and_wait(Some(STOP_TIMEOUT)).await.is_err() {
                tracing::warn!(
                    actor = state.children[index].name,
                    "an actor does not finish in time and is stopped"
                );
                child.kill();
            }
        }
        // Whoever asked may have given up.
        let _ = done.send(());
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        // The cause of a failure is not repeated: a panic is logged by the panic hook, and an actor
        // that returns an error has logged it.
        let child = match event {
            SupervisionEvent::ActorFailed(child, _)
            | SupervisionEvent::ActorTerminated(child, ..) => child,
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {
                return Ok(());
            }
        };
        // A child that was stopped on purpose is no longer in the table.
        let Some((index, _)) = state.alive.remove(&child.get_id()) else { return Ok(()) };
        state.count_restart(state.children[index].name)?;
        state.start(index, &myself).await?;
        Ok(())
    }
}

impl RootState {
    async fn start(
        &mut self,
        index: usize,
        root: &ActorRef<RootMessage>,
    ) -> Result<(), ActorProcessingErr> {
        // So that the first restart is seen as a rise.
        counter!("latchkey_actor_restarts_total", "actor" => self.children[index].name)
            .increment(0);
        let child = (self.children[index].start)(root.get_cell()).await?;
        self.alive.insert(child.get_id(), (index, child));
        Ok(())
    }

    fn count_restart(&mut self, actor: &'static str) -> Result<(), ActorProcessingErr> {
        counter!("latchkey_actor_restarts_total", "actor" => actor).increment(1);
        if !self.may_restart(Instant::now()) {
            tracing::error!(actor, "an actor failed too often: the service ends");
            return Err("too many restarts".into());
        }
        tracing::warn!(actor, "an actor failed and is started again");
        Ok(())
    }

    fn may_restart(&mut self, now: Instant) -> bool {
        while self.restarts.front().is_some_and(|at| now.duration_since(*at) > BUDGET_WINDOW) {
            self.restarts.pop_front();
        }
        self.restarts.push_back(now);
        self.restarts.len() <= BUDGET
    }
}

impl<M: Message> Address<M> {
    /// An address at which nobody is yet.
    #[must_use]
    pub fn new() -> Self {
        Self { current: Arc::default() }
    }

    /// Sends `message` to the actor's present life.
    ///
    /// # Errors
    /// [`Absent`] where it has none.
    pub fn send(&self, message: M) -> Result<(), Absent> {
        let current = self.get().ok_or(Absent)?;
        current.send_message(message).map_err(|_gone| Absent)
    }

    /// The actor's present life, if it has one.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "each change is one assignment")]
    pub fn get(&self) -> Option<ActorRef<M>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    #[expect(clippy::disallowed_methods, reason = "each change is one assignment")]
    fn set(&self, actor: ActorRef<M>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(actor);
    }
}

impl<M: Message> Default for Address<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: Message> Clone for Address<M> {
    fn clone(&self) -> Self {
        Self { current: Arc::clone(&self.current) }
    }
}
