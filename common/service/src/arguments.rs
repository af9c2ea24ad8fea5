//! The command line: what every service takes, a flag for each setting that is no secret, and the commands of one
//! service alone.

mod shown;

use std::future::Future;

use clap::builder::{StringValueParser, TypedValueParser, ValueParser};
use clap::error::{Error, ErrorKind};
use clap::{
    Arg, ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand, ValueHint,
    builder::PossibleValue,
};
use clap_complete::Shell;
use latchkey_runtime::{Environment, Setting, StartError, Table, process, telemetry, trace};

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
#[command(version, disable_help_subcommand = true, subcommand_help_heading = "Commands")]
struct Arguments<C: Command> {
    #[command(subcommand)]
    command: Option<AnyCommand<C>>,
    /// Check the settings as a start does, say whether they are good, and end
    #[arg(long)]
    check_config: bool,
}

#[derive(Subcommand)]
pub(crate) enum AnyCommand<C: Command> {
    #[command(flatten)]
    Own(C),
    /// Ask the running service whether it is ready: exit code 0 or 1
    Healthcheck,
    /// Print a script with which a shell completes commands and flags
    Completions {
        /// Which shell
        shell: Shell,
    },
}

/// What the command line says.
pub(crate) struct CommandLine<C: Command> {
    /// The command, if it is not to serve.
    pub(crate) command: Option<AnyCommand<C>>,
    /// Whether the settings are only to be checked.
    pub(crate) check_config: bool,
    /// The settings, each with the name of its variable.
    pub(crate) flags: Vec<(String, String)>,
}

/// Reads the command line. A faulty one, and one that asks for help or the version, ends the process here.
pub(crate) fn read<S: Service>() -> CommandLine<S::Command> {
    let mut command = command::<S>();
    let matches = command.get_matches_mut();
    let read = Arguments::<S::Command>::from_arg_matches(&matches);
    let Arguments { command: chosen, check_config } =
        read.unwrap_or_else(|error| error.format(&mut command).exit());
    if check_config && chosen.is_some() {
        let message = "--check-config checks what a start reads: it takes no command";
        command.error(ErrorKind::ArgumentConflict, message).exit();
    }
    let settings = tables::<S>().into_iter().flat_map(|table| table.settings);
    let given = settings.filter(|setting| !setting.is_secret()).filter_map(|setting| {
        let value = matches.get_one::<String>(setting.name())?;
        Some((setting.name().to_owned(), value.clone()))
    });
    CommandLine { command: chosen, check_config, flags: given.collect() }
}

/// The script with which `shell` completes the command line.
pub(crate) fn completions<S: Service>(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command::<S>(), S::PROCESS, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// Everything that a service's process reads, in the order of its help text.
#[must_use]
pub fn tables<S: Service>() -> Vec<Table> {
    let process = [S::MONITOR_ADDR as &dyn Setting, &process::WORKER_THREADS, &telemetry::RUST_LOG];
    Table::joined(S::tables().into_iter().chain([Table::new("Process", &process), trace::table()]))
}

fn command<S: Service>() -> clap::Command {
    let tables = tables::<S>();
    let command = Arguments::<S::Command>::command()
        .name(S::PROCESS)
        .about(S::ABOUT)
        .long_about(format!("{}.\n\n{}", S::ABOUT, S::DETAIL))
        .term_width(shown::WIDTH)
        .after_help(shown::NOTE)
        .after_long_help(shown::end(&tables));
    tables.iter().fold(command, |command, table| {
        let flags = table.settings.iter().filter_map(|setting| flag(*setting, table.title));
        command.args(flags)
    })
}

/// The flag of a setting. Its value is judged by whoever reads the setting, wherever it comes from.
fn flag(setting: &'static dyn Setting, title: &'static str) -> Option<Arg> {
    let flag = Arg::new(setting.name())
        .long(setting.flag()?)
        .value_name(setting.placeholder())
        .allow_negative_numbers(true)
        .value_parser(ValueParser::new(Suggested(setting.choices())))
        .hide_possible_values(true)
        .help_heading(title)
        .help(shown::brief(setting))
        .long_help(shown::full(setting));
    let is_file = setting.placeholder() == "FILE";
    Some(if is_file { flag.value_hint(ValueHint::FilePath) } else { flag })
}

/// Takes every text, and suggests some.
#[derive(Clone)]
struct Suggested(&'static [&'static str]);

impl TypedValueParser for Suggested {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<String, Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let Self(words) = *self;
        (!words.is_empty()).then(|| Box::new(words.iter().map(PossibleValue::new)) as Box<_>)
    }
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
