//! Password hashing: argon2id, in a factory of workers and nowhere else.
//!
//! One worker a core, a bounded queue, and load shedding: a job that finds the queue full, or whose
//! caller has given up while it waited, is not worked on.

use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, PasswordHash, Version};
use latchkey_bus::limit::Permit;
use latchkey_bus::{Context, Limit};
use latchkey_contract::{Failure, Secret};
use latchkey_runtime::metrics::at_scrape;
use latchkey_runtime::trace::{Span, SpanKind};
use latchkey_runtime::{Address, Child, Entropy};
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

/// Jobs that wait for each worker at most: about half a second of work at 15 ms a hash.
const QUEUED_PER_WORKER: usize = 32;
/// Bytes of a salt (RFC 9106 §3.1).
const SALT_LENGTH: usize = 16;
/// How much the workers' threads give way to everything else: a login can wait, a verification not.
const NICE: i32 = 10;

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
    Check(Secret, Option<String>, oneshot::Sender<Result<Checked, HashError>>),
}

/// A hash that cannot be made or read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("argon2: {0}")]
pub struct HashError(String);

/// Does the work; shared by the workers.
struct Hasher {
    argon2: Argon2<'static>,
    entropy: Entropy,
    /// What is checked where there is no such user: a hash of the same cost that no password has.
    nobody: String,
}

/// Makes the workers' child, and the way to them.
///
/// # Errors
/// [`HashError`] where argon2 does not take the configured parameters.
pub fn start(config: &Config, entropy: Entropy) -> Result<(Passwords, Child), HashError> {
    let workers = Address::new();
    let hasher = Arc::new(Hasher::new(config, entropy)?);
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let most = u32::try_from(count * (1 + QUEUED_PER_WORKER)).unwrap_or(u32::MAX);
    let passwords = Passwords { workers: workers.clone(), places: Limit::new(most) };
    watch(passwords.places.clone());
    let child = Child::new("password hasher", workers, move || {
        let arguments = FactoryArguments {
            worker_builder: Box::new(Builder { hasher: Arc::clone(&hasher) }),
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

    /// Checks a password against a PHC string, or against one that nobody's password has: the cost
    /// is the same, and so is the answer to a wrong password.
    ///
    /// # Errors
    /// [`Failure::Overloaded`] where the queue is full or the caller's deadline passes in it.
    pub async fn check(
        &self,
        context: &Context,
        password: Secret,
        hash: Option<String>,
    ) -> Result<Checked, Failure> {
        let (reply, checked) = oneshot::channel();
        self.submit(context, Work::Check(password, hash, reply))?;
        finished("check password", checked).await
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
    gauge!("latchkey_hasher_places_limit").set(f64::from(places.most()));
    let used = gauge!("latchkey_hasher_places_used");
    at_scrape("hasher", move || used.set(f64::from(places.taken())));
    for reason in ["places", "queue"] {
        // So that the first one is seen as a rise.
        counter!("latchkey_hasher_shed_total", "reason" => reason).increment(0);
    }
}

impl Hasher {
    fn new(config: &Config, entropy: Entropy) -> Result<Self, HashError> {
        let Config { memory_kib, iterations, parallelism } = *config;
        let params = Params::new(memory_kib, iterations, parallelism, None)
            .map_err(|error| HashError(error.to_string()))?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let unguessable = Secret::new(format!("{:x?}", entropy.bytes::<32>()));
        let mut hasher = Self { argon2, entropy, nobody: String::new() };
        hasher.nobody = hasher.hash(&unguessable)?;
        Ok(hasher)
    }

    fn hash(&self, password: &Secret) -> Result<String, HashError> {
        let salt = self.entropy.bytes::<SALT_LENGTH>();
        let hash: PasswordHash = self
            .argon2
            .hash_password_with_salt(password.expose().as_bytes(), &salt)
            .map_err(|error| HashError(error.to_string()))?;
        Ok(hash.to_string())
    }

    fn check(&self, password: &Secret, hash: Option<&str>) -> Result<Checked, HashError> {
        let unreadable = |error: argon2::password_hash::phc::Error| HashError(error.to_string());
        let stored = PasswordHash::new(hash.unwrap_or(&self.nobody)).map_err(unreadable)?;
        // The library takes the cost from the stored hash, and compares in constant time.
        let same = self.argon2.verify_password(password.expose().as_bytes(), &stored).is_ok();
        let made_with = Params::try_from(&stored).map_err(|error| HashError(error.to_string()))?;
        Ok(Checked {
            right: same && hash.is_some(),
            outdated: !same_cost(&made_with, self.argon2.params()),
        })
    }

    fn work(&self, work: Work) {
        // Whoever gave up has dropped its end; the result is nobody's.
        match work {
            Work::Hash(password, reply) => drop(reply.send(self.hash(&password))),
            Work::Check(password, hash, reply) => {
                drop(reply.send(self.check(&password, hash.as_deref())));
            }
        }
    }
}

fn same_cost(a: &Params, b: &Params) -> bool {
    (a.m_cost(), a.t_cost(), a.p_cost()) == (b.m_cost(), b.t_cost(), b.p_cost())
}

impl Work {
    fn is_wanted(&self) -> bool {
        match self {
            Self::Hash(_, reply) => !reply.is_closed(),
            Self::Check(_, _, reply) => !reply.is_closed(),
        }
    }
}

/// Works on one job at a time.
pub struct PasswordWorker {
    hasher: Arc<Hasher>,
}

struct Builder {
    hasher: Arc<Hasher>,
}

impl WorkerBuilder<PasswordWorker, ()> for Builder {
    fn build(&mut self, _: WorkerId) -> (PasswordWorker, ()) {
        (PasswordWorker { hasher: Arc::clone(&self.hasher) }, ())
    }
}

impl Worker for PasswordWorker {
    type Key = ();
    type Message = Task;
    type State = ();
    type Arguments = ();

    async fn pre_start(
        &self,
        _: WorkerId,
        _: &FactoryRef<(), Task>,
        (): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: WorkerId,
        _: &ActorRef<FactoryMessage<(), Task>>,
        job: Job<(), Task>,
        (): &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let work = job.msg.work;
        if !work.is_wanted() {
            return Ok(());
        }
        let hasher = Arc::clone(&self.hasher);
        #[expect(clippy::disallowed_methods, reason = "the place where passwords are hashed")]
        let hashing = tokio::task::spawn_blocking(move || {
            give_way();
            hasher.work(work);
        });
        Ok(hashing.await?)
    }
}

/// Lowers the priority of the thread this runs on.
fn give_way() {
    let thread = rustix::thread::gettid();
    if let Err(error) = rustix::process::setpriority_process(Some(thread), NICE) {
        tracing::debug!(%error, "the priority of a password worker stays as it is");
    }
}
