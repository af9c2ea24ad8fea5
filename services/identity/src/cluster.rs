//! The service as a process of its own, on a NATS bus and a Postgres database.

use std::time::Duration;

use clap::{Parser, Subcommand};
use latchkey_bus::{Bus, NatsOptions};
use latchkey_runtime::process::{self, Signals};
use latchkey_runtime::telemetry::Telemetry;
use latchkey_runtime::{
    Clock, Entropy, Environment, Exit, Monitor, Readiness, StartError, Variable, monitor,
    telemetry, trace,
};
use latchkey_store::config::{self as database, DATABASE_POOL, DATABASE_URL};

use crate::operator::{self, UserCommand};
use crate::{Config, Deps, NAME, config, store};

/// The process' name: in traces and metrics, and to the database.
const PROCESS: &str = "latchkey-identity";
/// How long `migrate` waits for a database that is away.
const PATIENCE: Duration = Duration::from_secs(30);
/// Where metrics and health checks are served.
pub const MONITOR_ADDR: Variable = monitor::variable("127.0.0.1:9101");

/// Latchkey's identity service.
///
/// Answers on a NATS bus and keeps its data in Postgres. Any number of replicas may run.
#[derive(Parser)]
#[command(name = "latchkey-identity", version, after_help = help())]
#[command(disable_help_subcommand = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Check the variables, say whether they are good, and end
    #[arg(long)]
    check_config: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Bring the tables up to date, say what was done, and end
    Migrate,
    /// Ask the running service whether it is ready: exit code 0 or 1
    Healthcheck,
    /// Deactivate or reactivate a user, over the bus, as its user `operator`
    #[command(subcommand)]
    User(UserCommand),
}

fn help() -> String {
    let shared = [
        &DATABASE_URL,
        &DATABASE_POOL,
        &MONITOR_ADDR,
        &process::WORKER_THREADS,
        &telemetry::RUST_LOG,
    ];
    let all: Vec<&Variable> = shared
        .into_iter()
        .chain(latchkey_bus::config::VARIABLES)
        .chain(config::VARIABLES.iter().copied())
        .chain(trace::VARIABLES.iter().copied())
        .collect();
    Variable::help(&all)
}

/// Starts the service, and returns when the process is asked to end.
///
/// # Errors
/// [`StartError`] where something cannot be used, or failed too often.
pub async fn run(arguments: Arguments, environment: Environment) -> Result<(), StartError> {
    if let Some(Command::Healthcheck) = arguments.command {
        return monitor::healthcheck(&environment, &MONITOR_ADDR).await;
    }
    let mut telemetry = telemetry::start(&environment, PROCESS, env!("CARGO_PKG_VERSION"))?;
    let outcome = match arguments.command {
        Some(Command::Migrate) => migrate(&environment).await,
        Some(Command::User(ref command)) => set_user(&environment, command.clone()).await,
        _ => serve(&arguments, &environment, &mut telemetry).await,
    };
    telemetry.end().await;
    outcome
}

async fn serve(
    arguments: &Arguments,
    environment: &Environment,
    telemetry: &mut Telemetry,
) -> Result<(), StartError> {
    let secret = config::secret_key(environment)?;
    let secret = secret.ok_or_else(|| config::SECRET_KEY.wrong("not set"))?;
    let config = Config::read(environment, secret)?;
    let database = database::Config::read(environment)?;
    let monitor_address = monitor::address(environment, &MONITOR_ADDR)?;
    let entropy = Entropy::System;
    let nats = NatsOptions::read(environment, NAME, &entropy)?;
    if arguments.check_config {
        process::say("The configuration is good.");
        return Ok(());
    }
    let mut signals = Signals::listen()?;
    let render = telemetry.metrics(monitor_address.is_some()).await?;
    let (monitor, readiness) = (Monitor::bind(monitor_address).await?, Readiness::default());
    let shown = monitor.shown();
    let _monitoring = monitor.serve(render, readiness.clone());
    let db = database.open(PROCESS).await?;
    let started = signals.unless_ended(Box::pin(async {
        let connecting = Bus::connect(nats);
        let ((), bus) = tokio::try_join!(crate::prepare(&db), connecting)?;
        let (clock, entropy) = (Clock::System, entropy.clone());
        let deps = Deps { bus: bus.clone(), db: db.clone(), clock, entropy };
        Ok::<_, StartError>((crate::start(config, deps).await?, bus))
    }));
    let Some(started) = started.await else { return Ok(()) };
    let (mut running, bus) = started?;
    let own = db.clone();
    readiness.decide(move || {
        let (bus, db) = (bus.clone(), own.clone());
        async move { bus.is_connected() && db.ping().await.is_ok() }
    });
    tracing::info!(service = NAME, monitor = shown, "ready");
    let outcome = signals.ended_or_failed(&mut running).await;
    readiness.withdraw();
    running.stop().await;
    db.close().await;
    outcome
}

async fn set_user(environment: &Environment, command: UserCommand) -> Result<(), StartError> {
    let options = NatsOptions::read(environment, operator::NAME, &Entropy::System)?;
    let bus = Bus::connect(options).await?;
    process::say(&operator::ask(&bus, &command.request()).await?);
    Ok(())
}

async fn migrate(environment: &Environment) -> Result<(), StartError> {
    let db = database::Config::read(environment)?.open(PROCESS).await?;
    let mut signals = Signals::listen()?;
    let prepared = db.prepare(NAME, store::MIGRATIONS, Some(PATIENCE));
    let taken = signals.unless_ended(prepared).await.ok_or_else(|| {
        StartError::new(Exit::Unavailable, "asked to end before the tables were up to date")
    })??;
    for step in store::MIGRATIONS {
        let state = if taken.contains(&step.version) { "applied now" } else { "was there" };
        process::say(&format!("{NAME} {:04} {}: {state}", step.version, step.description));
    }
    process::say(&format!("The {NAME} tables are up to date."));
    Ok(())
}
