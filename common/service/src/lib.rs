//! The one start of a service: what identity, keys, the edge and the standalone do alike.
//!
//! ```text
//! main -> run -> command line -> telemetry -> a command, or:
//!         configure -> (--check-config ends here) -> monitor -> open -> start -> serve -> close
//! ```
//!
//! It knows no database: what a service needs is behind [`Resource`], so that the edge links none.

mod arguments;
pub mod limits;
mod process;
mod start;

use std::future::Future;

use latchkey_runtime::monitor::MonitorAddress;
use latchkey_runtime::{Environment, Resource, StartError, Table};

pub use arguments::{Command, NoCommand, tables};
pub use process::{Actors, Process, failed_too_often};
pub use start::run;

/// A service that can be a process of its own. The value is its configuration, read and checked, and nothing more:
/// to make one touches nothing outside the process.
pub trait Service: Sized + Send + 'static {
    /// Its name: on the bus, in the database and in logs.
    const NAME: &'static str;
    /// The process' name: of the program, in traces and metrics, and to the database.
    const PROCESS: &'static str;
    /// What it is, in a few words.
    const ABOUT: &'static str;
    /// What it does, in a sentence or two.
    const DETAIL: &'static str;
    /// Where its metrics and health checks are served.
    const MONITOR_ADDR: &'static MonitorAddress;
    /// The commands that no other service has.
    type Command: Command;
    /// What it needs outside the process.
    type Needs: Resource;
    /// The rest of what is opened, for [`Self::start`].
    type Opened: Send;
    /// What runs once it is started.
    type Running: Running;

    /// The settings that it reads, beside those of every process: a flag each, but for secrets.
    fn tables() -> Vec<Table>;

    /// Reads and checks the configuration. `--check-config` does this, and a start does nothing else before it
    /// touches something outside.
    ///
    /// # Errors
    /// [`StartError`] names the first variable that cannot be used.
    fn configure(environment: &Environment) -> Result<Self, StartError>;

    /// Takes what can be taken only once, and opens what it needs. It may wait without end: a process that is asked
    /// to end meanwhile ends.
    ///
    /// # Errors
    /// [`StartError`] where something cannot be used.
    fn open(self) -> impl Future<Output = Result<(Self::Needs, Self::Opened), StartError>> + Send;

    /// Starts what it is made of.
    ///
    /// # Errors
    /// [`StartError`] where something does not start.
    fn start(
        opened: Self::Opened,
        needs: Self::Needs,
    ) -> impl Future<Output = Result<Self::Running, StartError>> + Send;
}

/// A service while it runs.
pub trait Running: Send {
    /// Serves until the process is asked to end, and then finishes what is in hand.
    ///
    /// # Errors
    /// [`StartError`] where it failed too often and gave up.
    fn serve(self, process: &Process) -> impl Future<Output = Result<(), StartError>> + Send;
}
