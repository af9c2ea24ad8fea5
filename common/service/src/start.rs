//! From the command line to the exit code.

use std::process::ExitCode;
use std::time::Duration;

use latchkey_runtime::process::{self, Signals};
use latchkey_runtime::telemetry::Telemetry;
use latchkey_runtime::{
    Environment, Exit, Monitor, Readiness, Resource, StartError, Stop, monitor, telemetry,
};

use crate::arguments::{self, AnyCommand, CommandLine};
use crate::{Command, Process, Running, Service};

/// How long what is in hand may take when the process is asked to end: container runtimes kill it after 10 s. The
/// edge bounds its requests below that, so that the services' own work has some of it, too.
const GRACE: Duration = Duration::from_secs(8);
/// How long it may take after that to give up. What the process tells others about itself ends after that, and has a
/// bound of its own ([`telemetry::END_TIMEOUT`]): together they are below those 10 s.
const GIVE_UP: Duration = Duration::from_millis(500);

/// The whole of a service's `main`.
#[must_use]
pub fn run<S: Service>() -> ExitCode {
    let CommandLine { command, check_config, flags } = arguments::read::<S>();
    if let Some(AnyCommand::Completions { shell }) = command {
        process::print_line(arguments::completions::<S>(shell).trim_end());
        return ExitCode::SUCCESS;
    }
    process::run(S::PROCESS, flags, |environment| {
        carry_out::<S>(command, check_config, environment)
    })
}

async fn carry_out<S: Service>(
    command: Option<AnyCommand<S::Command>>,
    check_config: bool,
    environment: Environment,
) -> Result<(), StartError> {
    if let Some(AnyCommand::Healthcheck) = command {
        return monitor::healthcheck(&environment, S::MONITOR_ADDR).await;
    }
    let telemetry = telemetry::start(&environment, S::PROCESS, env!("CARGO_PKG_VERSION"))?;
    match command {
        Some(AnyCommand::Own(command)) => {
            let outcome = Box::pin(command.carry_out(&environment)).await;
            telemetry.end().await;
            outcome
        }
        _ => Box::pin(serve::<S>(check_config, &environment, telemetry)).await,
    }
}

async fn serve<S: Service>(
    check_config: bool,
    environment: &Environment,
    mut telemetry: Telemetry,
) -> Result<(), StartError> {
    let service = S::configure(environment)?;
    let monitor_address = environment.read(S::MONITOR_ADDR)?;
    if check_config {
        process::print_line("The configuration is good.");
        return Ok(());
    }
    let (mut signals, stop) = (Signals::listen()?, Stop::new());
    let render = telemetry.metrics(monitor_address.is_some()).await?;
    let (monitor, readiness) = (Monitor::bind(monitor_address).await?, Readiness::default());
    let process = Process::new(S::NAME, stop, readiness.clone(), monitor.shown());
    let looking = readiness.clone();
    let monitoring = Box::pin(monitor.serve(render, readiness));
    tokio::select! {
        outcome = Box::pin(run_to_the_end(service, &process, telemetry, &mut signals)) => outcome,
        never = monitoring => match never {},
        never = looking.refresh() => match never {},
    }
}

/// Runs the service until it has ended or is not waited for any more, and sends the last spans.
async fn run_to_the_end<S: Service>(
    service: S,
    process: &Process,
    telemetry: Telemetry,
    signals: &mut Signals,
) -> Result<(), StartError> {
    let outcome = tokio::select! {
        outcome = Box::pin(work(service, process)) => outcome,
        ended = ask_to_end(signals, process.stop()) => ended,
    };
    let outcome = end(telemetry, signals, outcome).await;
    // A service that failed and is asked to end meanwhile has failed.
    process.failure().map_or(outcome, Err)
}

/// From the first thing that is touched outside to the last.
async fn work<S: Service>(service: S, process: &Process) -> Result<(), StartError> {
    let stop = process.stop();
    let Some(opened) = stop.unless_asked(Box::pin(service.open())).await else { return Ok(()) };
    let (needs, opened) = opened?;
    let started = stop.unless_asked(Box::pin(S::start(opened, needs.clone()))).await;
    let outcome = match started {
        Some(Ok(running)) => Box::pin(running.serve(process)).await,
        Some(Err(error)) => Err(error),
        None => Ok(()),
    };
    process.ends(&outcome);
    needs.close().await;
    outcome
}

/// Passes on what signals ask for: the first one to end in good order and within a bound, the second one at once. It
/// returns where there is nothing left to wait for.
///
/// # Errors
/// [`StartError`] at the second one.
async fn ask_to_end(signals: &mut Signals, stop: &Stop) -> Result<(), StartError> {
    signals.ended().await;
    stop.ask();
    let ending = async {
        tokio::time::sleep(GRACE).await;
        tracing::warn!(
            seconds = GRACE.as_secs(),
            "requests in progress take too long and are given up"
        );
        stop.give_up();
        tokio::time::sleep(GIVE_UP).await;
    };
    signals.unless_ended(ending).await.ok_or_else(asked_again)
}

/// Sends the last spans, within a bound, unless the process is asked to end meanwhile, or was asked twice before.
async fn end(
    telemetry: Telemetry,
    signals: &mut Signals,
    outcome: Result<(), StartError>,
) -> Result<(), StartError> {
    if matches!(&outcome, Err(error) if error.exit == Exit::Interrupted) {
        return outcome;
    }
    let sent = signals.unless_ended(telemetry.end()).await;
    outcome.and(sent.ok_or_else(asked_again))
}

fn asked_again() -> StartError {
    let message = "asked to end a second time: what was in hand is given up";
    StartError::new(Exit::Interrupted, message)
}

#[cfg(test)]
mod tests;
