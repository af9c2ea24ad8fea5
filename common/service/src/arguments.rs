//! The command line: what every service takes, and the commands of one service alone.

use std::future::Future;

use clap::error::{Error, ErrorKind};
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use latchkey_runtime::{Environment, StartError, Variable, process, telemetry, trace};

use crate::Service;

/// A service's own commands.
pub trait Command: Subcommand + Send {
    /// Does what the command says, and returns when it is done. Logs and traces are on.
    ///
    /// # Errors
    /// [`StartError`] where it cannot be done.
    fn carry_out(
        self,
        environment: &Environment,
    ) -> impl Future<Output = Result<(), StartError>> + Send;
}

/// The commands of a service that has none of its own.
#[derive(Debug)]
pub enum NoCommand {}

#[derive(Parser)]
#[command(version, disable_help_subcommand = true)]
pub(crate) struct Arguments<C: Command> {
    #[command(subcommand)]
    pub(crate) command: Option<AnyCommand<C>>,
    /// Check the variables, say whether they are good, and end
    #[arg(long)]
    pub(crate) check_config: bool,
}

#[derive(Subcommand)]
pub(crate) enum AnyCommand<C: Command> {
    #[command(flatten)]
    Own(C),
    /// Ask the running service whether it is ready: exit code 0 or 1
    Healthcheck,
}

/// Reads the command line. A faulty one, and one that asks for help or the version, ends the process here.
pub(crate) fn read<S: Service>() -> Arguments<S::Command> {
    let command = Arguments::<S::Command>::command()
        .name(S::PROCESS)
        .about(S::ABOUT)
        .long_about(format!("{}.\n\n{}", S::ABOUT, S::DETAIL))
        .after_help(Variable::help(&S::variables()));
    let read = Arguments::from_arg_matches(&command.clone().get_matches());
    read.unwrap_or_else(|error| error.format(&mut command.clone()).exit())
}

/// The variables of a service in the order of its help text: where its data is, what every process reads, what else
/// it reads, each once.
#[must_use]
pub fn help(
    data: &[&'static Variable],
    monitor: &'static Variable,
    own: &[&[&'static Variable]],
) -> Vec<&'static Variable> {
    let shared: [&[&'static Variable]; 3] =
        [data, &[monitor, &process::WORKER_THREADS, &telemetry::RUST_LOG], trace::VARIABLES];
    let [data, every, traces] = shared;
    let mut all: Vec<&'static Variable> = Vec::new();
    for variable in [data, every].into_iter().chain(own.iter().copied()).chain([traces]).flatten() {
        if !all.iter().any(|known| known.name == variable.name) {
            all.push(variable);
        }
    }
    all
}

impl Command for NoCommand {
    async fn carry_out(self, _environment: &Environment) -> Result<(), StartError> {
        match self {}
    }
}

impl Subcommand for NoCommand {
    fn augment_subcommands(command: clap::Command) -> clap::Command {
        command
    }

    fn augment_subcommands_for_update(command: clap::Command) -> clap::Command {
        command
    }

    fn has_subcommand(_name: &str) -> bool {
        false
    }
}

impl FromArgMatches for NoCommand {
    fn from_arg_matches(_matches: &ArgMatches) -> Result<Self, Error> {
        Err(Error::new(ErrorKind::MissingSubcommand))
    }

    fn update_from_arg_matches(&mut self, _matches: &ArgMatches) -> Result<(), Error> {
        match *self {}
    }
}
