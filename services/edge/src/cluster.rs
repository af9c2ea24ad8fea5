//! The edge as a process of its own, on a NATS bus.

use clap::{Parser, Subcommand};
use latchkey_bus::{Bus, NatsOptions};
use latchkey_runtime::process::{self, Signals};
use latchkey_runtime::telemetry::Telemetry;
use latchkey_runtime::{
    Clock, Entropy, Environment, Monitor, Readiness, StartError, Variable, monitor, telemetry,
    trace,
};

use crate::handler::health;
use crate::{Config, Deps, NAME, Server, config};

/// The process' name, in traces and metrics.
const PROCESS: &str = "latchkey-edge";
/// Where metrics and health checks are served.
pub const MONITOR_ADDR: Variable = monitor::variable("127.0.0.1:9100");

/// Latchkey's public HTTP API.
///
/// Asks the other services over a NATS bus. Any number of replicas may run.
#[derive(Parser)]
#[command(name = "latchkey-edge", version, after_help = help())]
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
    /// Ask the running edge whether it is ready: exit code 0 or 1
    Healthcheck,
}

fn help() -> String {
    let shared = [&MONITOR_ADDR, &process::WORKER_THREADS, &telemetry::RUST_LOG];
    let all: Vec<&Variable> = shared
        .into_iter()
        .chain(latchkey_bus::config::VARIABLES)
        .chain(config::VARIABLES.iter().copied())
        .chain(trace::VARIABLES.iter().copied())
        .collect();
    Variable::help(&all)
}

/// Starts the edge, and returns when the process is asked to end.
///
/// # Errors
/// [`StartError`] where something cannot be used, or failed too often.
pub async fn run(arguments: Arguments, environment: Environment) -> Result<(), StartError> {
    if let Some(Command::Healthcheck) = arguments.command {
        return monitor::healthcheck(&environment, &MONITOR_ADDR).await;
    }
    let mut telemetry = telemetry::start(&environment, PROCESS, env!("CARGO_PKG_VERSION"))?;
    let outcome = serve(arguments, &environment, &mut telemetry).await;
    telemetry.end().await;
    outcome
}

async fn serve(
    arguments: Arguments,
    environment: &Environment,
    telemetry: &mut Telemetry,
) -> Result<(), StartError> {
    let config = Config::read(environment)?;
    let monitor_address = monitor::address(environment, &MONITOR_ADDR)?;
    let entropy = Entropy::System;
    let nats = NatsOptions::read(environment, NAME, &entropy)?;
    if arguments.check_config {
        process::say("The configuration is good.");
        return Ok(());
    }
    let mut signals = Signals::listen()?;
    let server = Server::bind(config.listen).await?;
    let render = telemetry.metrics(monitor_address.is_some()).await?;
    let (monitor, readiness) = (Monitor::bind(monitor_address).await?, Readiness::default());
    let shown = monitor.shown();
    let _monitoring = monitor.serve(render, readiness.clone());
    let started = signals.unless_ended(Box::pin(async {
        let bus = Bus::connect(nats).await?;
        let deps = Deps { bus: bus.clone(), clock: Clock::System, entropy: entropy.clone() };
        Ok::<_, StartError>((crate::start(&config, deps).await?, bus))
    }));
    let Some(started) = started.await else { return Ok(()) };
    let (mut started, bus) = started?;
    readiness.decide(move || {
        let bus = bus.clone();
        async move { health::everyone_is_ready(&bus).await }
    });
    let address = server.address().unwrap_or(config.listen);
    let address = format!("http://{address}");
    tracing::info!(service = NAME, address, monitor = shown, "ready");
    let mut outcome = Ok(());
    let ended = async {
        outcome = signals.ended_or_failed(&mut started.running).await;
        readiness.withdraw();
    };
    server.serve(started.service, ended).await;
    started.running.stop().await;
    outcome
}
