//! Password hashing: argon2id, in a factory of workers and nowhere else.
//!
//! One worker a core, each with a thread and with memory of its own, a bounded queue, and load shedding: a job
//! that finds the queue full, or whose caller has given up while it waited, is not worked on.

mod cost;
mod hasher;
mod thread;

use std::sync::Arc;
use std::time::Duration;

use latchkey_bus::limit::Permit;
use latchkey_bus::{Context, Limit};
use latchkey_contract::{Failure, Secret};
use latchkey_runtime::metrics::register_gauge;
use latchkey_runtime::periodic::PeriodicTask;
use latchkey_runtime::trace::{Span, SpanKind};
use latchkey_runtime::{Address, Child, Entropy};
use latchkey_store::{Db, StoreError};
use metrics::{counter, gauge, histogram};
use ractor::factory::discard::{DiscardMode, DiscardSettings};
use ractor::factory::queues::DefaultQueue;
use ractor::factory::routing::QueuerRouting;
use ractor::factory::{
    Factory, FactoryArguments, FactoryMessage, FactoryRef, Job, JobOptions, Worker, WorkerBuilder,
    WorkerId,
};
use ractor::{ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::NAME;
use crate::store::account::costs_in_use;
use cost::Cost;
use hasher::{Hasher, Memory};
use thread::{HashingThread, Room};

pub(crate) use cost::Costs;
pub use cost::MAX_MEMORY_KIB;

/// Jobs that wait for each worker at most: about half a second of work at 15 ms a hash.
const QUEUED_PER_WORKER: usize = 32;

/// What a hash costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub iterations: u32,
    /// Lanes.
    pub parallelism: u32,
}

/// The way to the workers.
#[derive(Clone)]
pub struct Passwords {
    workers: Address<FactoryMessage<(), Task>>,
    places: Limit,
    costs: Costs,
}

/// What a check of a password found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Whether the password is the one that was hashed.
    pub right: bool,
    /// Whether the hash was made with other parameters than are configured now.
    pub outdated: bool,
}

/// One job: work for a worker, and where its result goes. A job that is shed is dropped, which
/// tells whoever waits.
pub struct Task {
    work: Work,
}

enum Work {
    Hash(Secret, oneshot::Sender<Result<String, HashError>>),
    Check(Secret, String, oneshot::Sender<Result<Checked, HashError>>),
    CheckAnybody(Secret, Option<String>, oneshot::Sender<Result<Checked, HashError>>),
}

/// A hash that cannot be made or read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("argon2: {0}")]
pub struct HashError(String);

impl HashError {
    /// By value, so that it stands behind `map_err`.
    fn new<E: ToString>(error: E) -> Self {
        let text = error.to_string();
        drop(error);
        Self(text)
    }
}

/// Refuses parameters that argon2 does not take.
///
/// # Errors
/// [`HashError`] where it does not.
pub(crate) fn check(config: &Config) -> Result<(), HashError> {
    Hasher::new(Costs::new(Cost::configured(config)), Entropy::System).map(drop)
}

/// Makes the workers' child, and the way to them.
///
/// # Errors
/// [`HashError`] where argon2 does not take the configured parameters.
pub fn start(config: &Config, entropy: Entropy) -> Result<(Passwords, Child), HashError> {
    let workers = Address::new();
    let costs = Costs::new(Cost::configured(config));
    let hasher = Arc::new(Hasher::new(costs.clone(), entropy)?);
    let room = Arc::new(Room::default());
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let max = u32::try_from(count * (1 + QUEUED_PER_WORKER)).unwrap_or(u32::MAX);
    let passwords = Passwords { workers: workers.clone(), places: Limit::new(max), costs };
    watch(passwords.places.clone());
    let child = Child::new("password hasher", workers, move || {
        let arguments = FactoryArguments {
            worker_builder: Box::new(Builder {
                hasher: Arc::clone(&hasher),
                room: Arc::clone(&room),
            }),
            num_initial_workers: count,
            router: QueuerRouting::default(),
            queue: DefaultQueue::default(),
            discard_settings: DiscardSettings::Static {
                limit: count * QUEUED_PER_WORKER,
                mode: DiscardMode::Newest,
            },
            discard_handler: None,
            dead_mans_switch: None,
            capacity_controller: None,
            lifecycle_hooks: None,
            stats: None,
        };
        (Workers::default(), arguments)
    });
    Ok((passwords, child))
}

type Queue = DefaultQueue<(), Task>;
type Workers = Factory<(), Task, (), PasswordWorker, QueuerRouting<(), Task>, Queue>;

impl Passwords {
    /// A place among the requests that the workers can serve in time, held from before the first
    /// statement on: a storm of logins is turned away here and does not reach the database.
    ///
    /// # Errors
    /// [`Failure::Overloaded`] at once where all places are taken.
    pub fn place(&self) -> Result<Permit, Failure> {
        self.places.try_enter().ok_or_else(|| {
            shed("places");
            Failure::Overloaded
        })
    }

    /// Hashes a new password into a PHC string.
    ///
    /// # Errors
    /// [`Failure::Overloaded`] where the queue is full or the caller's deadline passes in it.
    pub async fn hash(&self, context: &Context, password: Secret) -> Result<String, Failure> {
        let (reply, hashed) = oneshot::channel();
        self.submit(context, Work::Hash(password, reply))?;
        finished("hash password", hashed).await
    }

    /// Checks a password against an account's PHC string.
    ///
    /// # Errors
    /// [`Failure::Overloaded`] where the queue is full or the caller's deadline passes in it.
    pub async fn check(
        &self,
        context: &Context,
        password: Secret,
        hash: String,
    ) -> Result<Checked, Failure> {
        let (reply, checked) = oneshot::channel();
        self.submit(context, Work::Check(password, hash, reply))?;
        finished("check password", checked).await
    }

    /// The same for a name that may be nobody's, whose password is always wrong: the cost is the same for all
    /// names, whenever their hashes were made.
    ///
    /// # Errors
    /// [`Failure::Overloaded`] where the queue is full or the caller's deadline passes in it.
    pub async fn check_anybody(
        &self,
        context: &Context,
        password: Secret,
        hash: Option<String>,
    ) -> Result<Checked, Failure> {
        let (reply, checked) = oneshot::channel();
        self.submit(context, Work::CheckAnybody(password, hash, reply))?;
        finished("check password", checked).await
    }

    /// What keeps up with what the accounts in `db` cost.
    pub(crate) fn cost_keeper(&self, db: Db) -> CostKeeper {
        CostKeeper { db, costs: self.costs.clone() }
    }

    fn submit(&self, context: &Context, work: Work) -> Result<(), Failure> {
        let patience: Duration = context.remaining();
        let job = Job {
            key: (),
            msg: Task { work },
            options: JobOptions::new(Some(patience)),
            accepted: None,
        };
        self.workers.send(FactoryMessage::Dispatch(job)).map_err(|_absent| Failure::Overloaded)
    }
}

/// Waits for a worker to be done with a password, in a span of that name.
async fn finished<T>(
    name: &'static str,
    working: oneshot::Receiver<Result<T, HashError>>,
) -> Result<T, Failure> {
    let (_span, begun) =
        (Span::child(SpanKind::Internal, || (name.into(), Vec::new())), Instant::now());
    let Ok(done) = working.await else {
        shed("queue");
        return Err(Failure::Overloaded);
    };
    histogram!("latchkey_hash_duration_seconds").record(begun.elapsed());
    Ok(done?)
}

fn shed(reason: &'static str) {
    counter!("latchkey_hasher_shed_total", "reason" => reason).increment(1);
}

/// Has the places in the metrics from now on.
fn watch(places: Limit) {
    gauge!("latchkey_hasher_places_limit").set(f64::from(places.max()));
    let used = gauge!("latchkey_hasher_places_used");
    register_gauge("hasher", move || used.set(f64::from(places.taken())));
    for reason in ["places", "queue"] {
        // So that the first one is seen as a rise.
        counter!("latchkey_hasher_shed_total", "reason" => reason).increment(0);
    }
}

impl Work {
    fn is_wanted(&self) -> bool {
        match self {
            Self::Hash(_, reply) => !reply.is_closed(),
            Self::Check(_, _, reply) | Self::CheckAnybody(_, _, reply) => !reply.is_closed(),
        }
    }
}

/// Does a job, and says how it went to whoever waits. Whoever gave up has dropped its end: the result is
/// nobody's.
fn run(hasher: &Hasher, work: Work, memory: &mut Memory) {
    match work {
        Work::Hash(password, reply) => drop(reply.send(hasher.hash(&password, memory))),
        Work::Check(password, hash, reply) => {
            drop(reply.send(hasher.check(&password, &hash, memory)));
        }
        Work::CheckAnybody(password, hash, reply) => {
            drop(reply.send(hasher.check_anybody(&password, hash.as_deref(), memory)));
        }
    }
}

/// Works on one job at a time, on a thread of its own.
pub struct PasswordWorker {
    hasher: Arc<Hasher>,
    room: Arc<Room>,
}

struct Builder {
    hasher: Arc<Hasher>,
    room: Arc<Room>,
}

impl WorkerBuilder<PasswordWorker, ()> for Builder {
    fn build(&mut self, _: WorkerId) -> (PasswordWorker, ()) {
        (PasswordWorker { hasher: Arc::clone(&self.hasher), room: Arc::clone(&self.room) }, ())
    }
}

/// What a worker holds: its thread, which ends when this is dropped.
pub struct Holds(HashingThread);

impl Worker for PasswordWorker {
    type Key = ();
    type Message = Task;
    type State = Holds;
    type Arguments = ();

    async fn pre_start(
        &self,
        _: WorkerId,
        _: &FactoryRef<(), Task>,
        (): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let thread = HashingThread::start(Arc::clone(&self.hasher), Arc::clone(&self.room))?;
        Ok(Holds(thread))
    }

    async fn handle(
        &self,
        _: WorkerId,
        _: &ActorRef<FactoryMessage<(), Task>>,
        job: Job<(), Task>,
        Holds(thread): &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let work = job.msg.work;
        if work.is_wanted() {
            thread.run(work).await?;
        }
        Ok(())
    }
}

/// Keeps up with what the accounts' hashes cost: it changes when the settings do, and when the last account
/// with an old hash has logged in.
pub(crate) struct CostKeeper {
    pub(crate) db: Db,
    pub(crate) costs: Costs,
}

impl CostKeeper {
    /// Asks the database.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(crate) async fn ask(&self) -> Result<(), StoreError> {
        self.costs.set(&costs_in_use(&self.db).await?);
        Ok(())
    }
}

impl PeriodicTask for CostKeeper {
    const PAUSE: Duration = Duration::from_mins(1);
    const AT_THE_END: bool = false;

    async fn run(&self) {
        if let Err(error) = self.ask().await {
            tracing::warn!(service = NAME, %error, "the costs of the stored password hashes cannot be read: those read last are used");
        }
    }
}
