//! The edge as a process of its own, on a NATS bus.

use clap::Parser;
use latchkey_bus::Bus;
use latchkey_bus::config::NATS_URL;
use latchkey_runtime::{Clock, Entropy, Environment, StartError, Variable, process, telemetry};

use crate::{Config, Deps, NAME, Server, config};

/// Latchkey's public HTTP API.
///
/// Asks the other services over a NATS bus. Any number of replicas may run.
#[derive(Parser)]
#[command(name = "latchkey-edge", version, after_help = help())]
pub struct Arguments {
    /// Check the variables, say whether they are good, and end
    #[arg(long)]
    check_config: bool,
}

fn help() -> String {
    let shared = [&NATS_URL, &telemetry::RUST_LOG];
    let all: Vec<&Variable> = shared.into_iter().chain(config::VARIABLES.iter().copied()).collect();
    Variable::help(&all)
}

/// Reads the variables, starts the edge, and returns when the process is asked to end.
///
/// # Errors
/// [`StartError`] where something cannot be used, or failed too often.
pub async fn run(arguments: Arguments) -> Result<(), StartError> {
    let environment = Environment::load()?;
    telemetry::start(&environment)?;
    let config = Config::read(&environment)?;
    if arguments.check_config {
        process::say("The configuration is good.");
        return Ok(());
    }
    let server = Server::bind(config.listen).await?;
    let entropy = Entropy::System;
    let bus = Bus::connect(&environment, NAME, &entropy).await?;
    let deps = Deps { bus, clock: Clock::System, entropy };
    let mut started = crate::start(&config, deps).await?;
    let address = server.address().unwrap_or(config.listen);
    tracing::info!(service = NAME, address = format!("http://{address}"), "ready");
    let mut outcome = Ok(());
    let ended = async { outcome = process::ended_or_failed(&mut started.running).await };
    server.serve(started.service, ended).await;
    started.running.stop().await;
    outcome
}
