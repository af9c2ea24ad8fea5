//! Start and signals of a Latchkey process.

use std::future::Future;
use std::io::{self, Write};
use std::process::ExitCode;
use std::thread::available_parallelism;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::{Environment, Number, Preset, Variable};
use crate::exit::{Exit, StartError};
use crate::telemetry::LastLines;

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
    let mut lines = LastLines::default();
    latchkey_os::raise_open_files_limit();
    let outcome = runtime(flags).and_then(|(runtime, environment)| {
        let outcome = runtime.block_on(work(environment));
        // Nothing is waited for any more: what had to be finished is, or was given up.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(name, &error, &mut lines),
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
fn fail(name: &str, error: &StartError, lines: &mut LastLines) -> ExitCode {
    lines.end_with(&format!("{name}: {}", error.message));
    error.exit.into()
}

/// Writes `text` to standard output; a reader that went away is no error.
pub fn print_line(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// Writes `text` as it is to standard output; whether there is still somebody who reads.
#[must_use]
pub fn print_text(text: &str) -> bool {
    io::stdout().lock().write_all(text.as_bytes()).is_ok()
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
