//! Start, exit codes and signals of a Latchkey process.

use std::future::Future;
use std::io::{self, Write};
use std::process::ExitCode;
use std::thread::available_parallelism;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::{ConfigError, Environment, Number, Preset, Variable};
use crate::telemetry::{self, LastLines};

/// How a process ends that does not end well, after `sysexits.h`. (A faulty command line ends with 2.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 1: a health check found the process not ready.
    Unready,
    /// 69: the address is in use, or a server it needs is away.
    Unavailable,
    /// 70: a fault of ours.
    Internal,
    /// 73: the data folder or database cannot be used.
    Data,
    /// 78: a variable's value cannot be used.
    Config,
    /// 130: it was asked to end a second time, and gave up what it had in hand.
    Interrupted,
}

/// Why a process did not start, or ended before it was told to: one line for a person.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct StartError {
    /// The exit code.
    pub exit: Exit,
    /// What went wrong, and what to do.
    pub message: String,
}

impl StartError {
    /// An error with this exit code and message.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }
}

impl From<ConfigError> for StartError {
    fn from(error: ConfigError) -> Self {
        Self::new(Exit::Config, error.to_string())
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Unready => 1,
            Exit::Unavailable => 69,
            Exit::Internal => 70,
            Exit::Data => 73,
            Exit::Config => 78,
            Exit::Interrupted => 130,
        })
    }
}

/// How many threads answer requests.
///
/// Each further one makes every request dearer: threads take work from each other and wake each other up.
pub const WORKER_THREADS: Variable<Number<usize>> = Variable {
    name: "WORKER_THREADS",
    kind: Number { min: 1, max: 1_024, note: "" },
    default: Preset::Described("half of the cores, rounded up"),
    help: "threads that answer requests; passwords are hashed by others",
};

/// Runs `work` on a runtime, with the process' variables and the command line's `flags`; an error becomes one line on
/// standard error.
pub fn run<F>(
    name: &str,
    flags: Vec<(String, String)>,
    work: impl FnOnce(Environment) -> F,
) -> ExitCode
where
    F: Future<Output = Result<(), StartError>>,
{
    // Also where the work ends in a panic.
    let _written = LastLines;
    latchkey_os::raise_open_files_limit();
    let outcome = runtime(flags).and_then(|(runtime, environment)| {
        let outcome = runtime.block_on(work(environment));
        // Nothing is waited for any more: what had to be finished is, or was given up.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(name, &error),
    }
}

/// How many files the process may have open at the same time; `None` where there is no limit.
#[must_use]
pub fn open_files_limit() -> Option<u64> {
    latchkey_os::open_files_limit()
}

fn runtime(flags: Vec<(String, String)>) -> Result<(Runtime, Environment), StartError> {
    let environment = Environment::load(flags)?;
    let half = available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
    let threads = environment.find(&WORKER_THREADS)?;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.unwrap_or(half))
        .enable_all()
        .build()
        .map(|runtime| (runtime, environment))
        .map_err(|error| StartError::new(Exit::Internal, format!("no runtime: {error}")))
}

/// Says why on standard error, in one line behind the log's, and gives the exit code.
fn fail(name: &str, error: &StartError) -> ExitCode {
    telemetry::write_line(&format!("{name}: {}", error.message));
    error.exit.into()
}

/// Writes `text` to standard output; a reader that went away is no error.
pub fn print_line(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// The signals that ask a process to end: SIGTERM, and SIGINT from a terminal. One that arrives
/// while nobody waits for it is kept.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// [`StartError`] where the system gives no signals.
    pub fn listen() -> Result<Self, StartError> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                StartError::new(Exit::Internal, format!("signals cannot be received: {error}"))
            })
        };
        let (terminate, interrupt) = (SignalKind::terminate(), SignalKind::interrupt());
        Ok(Self { terminate: listen(terminate)?, interrupt: listen(interrupt)? })
    }

    /// Returns when the process is asked to end.
    pub async fn ended(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// What `work` gives; `None` where the process is asked to end before that.
    pub async fn unless_ended<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.ended() => None,
            done = work => Some(done),
        }
    }
}
