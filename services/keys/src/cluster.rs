//! The service as a process of its own, on a NATS bus and a Postgres database.

use clap::Parser;
use latchkey_bus::Bus;
use latchkey_bus::config::NATS_URL;
use latchkey_runtime::{
    Clock, Entropy, Environment, Exit, StartError, Variable, process, telemetry,
};
use latchkey_store::Db;
use latchkey_store::config::{DATABASE_URL, postgres_url};

use crate::{Config, Deps, NAME, config};

/// Latchkey's key service.
///
/// Answers on a NATS bus and keeps its data in Postgres. Any number of replicas may run.
#[derive(Parser)]
#[command(name = "latchkey-keys", version, after_help = help())]
pub struct Arguments {
    /// Check the variables, say whether they are good, and end
    #[arg(long)]
    check_config: bool,
}

fn help() -> String {
    let shared = [&DATABASE_URL, &NATS_URL, &telemetry::RUST_LOG];
    let all: Vec<&Variable> = shared.into_iter().chain(config::VARIABLES.iter().copied()).collect();
    Variable::help(&all)
}

/// Reads the variables, starts the service, and returns when the process is asked to end.
///
/// # Errors
/// [`StartError`] where something cannot be used, or failed too often.
pub async fn run(arguments: Arguments) -> Result<(), StartError> {
    let environment = Environment::load()?;
    telemetry::start(&environment)?;
    let config = Config::read(&environment)?;
    let database_url = postgres_url(&environment)?;
    if arguments.check_config {
        process::say("The configuration is good.");
        return Ok(());
    }
    let unavailable =
        |error: latchkey_store::OpenError| StartError::new(Exit::Unavailable, error.to_string());
    let db = Db::open(&database_url).await.map_err(unavailable)?;
    let entropy = Entropy::System;
    let bus = Bus::connect(&environment, NAME, &entropy).await?;
    let deps = Deps { bus, db: db.clone(), clock: Clock::System, entropy };
    let mut running = crate::start(config, deps).await?;
    tracing::info!(service = NAME, "ready");
    let outcome = process::ended_or_failed(&mut running).await;
    running.stop().await;
    db.close().await;
    outcome
}
