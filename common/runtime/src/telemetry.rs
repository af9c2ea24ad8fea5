//! Logs: readable on a terminal, JSON lines everywhere else; one line a failure, none a success, and of many
//! failures of one kind a few and a count. And the one call that starts logs and traces.

mod bursts;
mod format;
pub(crate) mod logs;
mod output;

use std::any::Any;
use std::io::{self, IsTerminal};
use std::panic::{self, PanicHookInfo};
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use crate::config::{ConfigError, Environment, Preset, Text, Variable};
use crate::entropy::Entropy;
use crate::exit::StartError;
use crate::metrics::Metrics;
use crate::monitor::Render;
use crate::trace::{self, Exporting};
use bursts::AUDIT;
use format::{Traced, TracedFields};
use logs::Logs;

pub(crate) use logs::LastLines;

/// What is logged.
pub const RUST_LOG: Variable<Text> = Variable {
    name: "RUST_LOG",
    kind: Text { accepted: "a filter such as `info` or `latchkey_edge=debug,warn`" },
    default: Preset::Value("info"),
    help: "what is logged",
};

/// How long the end of what the process tells others may take, all told. It comes after everything else, and with that
/// has to be below what a container runtime waits before it kills.
pub const END_TIMEOUT: Duration = Duration::from_secs(1);

/// Added to every filter: below `info` the NATS client logs whole messages, with the secrets in them; at
/// `info` each of its attempts to connect, where the bus says once that it is away and once that it is back. What is
/// said about lines that are left out is wanted where the lines are, and the anchors of the audit log are its proof.
const ALWAYS: &str = "async_nats=warn,latchkey_log=info,latchkey_anchor=info";

/// What the process tells others about itself, for as long as it runs.
#[must_use = "end it, so that the last spans are sent"]
pub struct Telemetry {
    service: &'static str,
    version: &'static str,
    exporting: Option<Exporting>,
    metrics: Option<Metrics>,
}

/// Starts logging to standard error, and sending spans where there is a collector. Called once, before
/// anything else is started, by the program `service` in `version`.
///
/// # Errors
/// [`ConfigError`] where `RUST_LOG` is no filter, or a variable about traces cannot be used.
pub fn start(
    environment: &Environment,
    service: &'static str,
    version: &'static str,
) -> Result<Telemetry, ConfigError> {
    start_logs(environment)?;
    let exporting = trace::start(environment, service, version, &Entropy::System)?;
    Ok(Telemetry { service, version, exporting, metrics: None })
}

impl Telemetry {
    /// Starts to keep metrics, if somebody can ask for them, and gives what writes them down. Called
    /// before anything that counts is started.
    ///
    /// # Errors
    /// [`StartError`] where that does not start.
    pub async fn metrics(&mut self, wanted: bool) -> Result<Render, StartError> {
        let metrics = Metrics::start(wanted, self.service, self.version).await?;
        let render = metrics.render();
        self.metrics = Some(metrics);
        Ok(render)
    }

    /// Sends the last spans, within [`END_TIMEOUT`]. Called after the servers and actors have ended.
    pub async fn end(self) {
        let metrics = async {
            if let Some(metrics) = self.metrics {
                // Nothing is left to be done then: nothing is lost where it takes longer.
                let _late = tokio::time::timeout(END_TIMEOUT, metrics.end()).await;
            }
        };
        let spans = async {
            if let Some(exporting) = self.exporting {
                exporting.end_within(END_TIMEOUT).await;
            }
        };
        tokio::join!(metrics, spans);
    }
}

fn start_logs(environment: &Environment) -> Result<(), ConfigError> {
    let asked = environment.read(&RUST_LOG)?;
    let filter = EnvFilter::try_new(format!("{asked},{ALWAYS}"))
        .map_err(|error| RUST_LOG.wrong(format!("{asked:?} is no filter ({error})")))?;
    let (gate, lines) = Logs::ends(is_limited(&asked));
    // What it cannot write is counted; it would say so on standard error, and wait for that.
    let logs = fmt::layer().with_writer(lines).log_internal_errors(false);
    let logs: Box<dyn Layer<_> + Send + Sync> = if io::stderr().is_terminal() {
        logs.with_target(false).fmt_fields(TracedFields::default()).boxed()
    } else {
        let logs = logs.json().flatten_event(true).with_current_span(false).with_span_list(false);
        logs.map_event_format(Traced).boxed()
    };
    // A second start in one process (tests do that) keeps the first one's logs.
    let _first = Registry::default().with(filter).with(logs).with(gate).try_init();
    log_panics();
    Ok(())
}

/// Whether many lines of one kind become few: not for whoever asks for more than `info`. An audit is written whole in
/// any case: to ask for more of it asks for no more of others.
fn is_limited(asked: &str) -> bool {
    let is_audit = |part: &&str| part.split(['=', '[']).next() == Some(AUDIT);
    let others = asked.split(',').filter(|part| !is_audit(part)).collect::<Vec<_>>().join(",");
    let others = EnvFilter::try_new(others).ok().and_then(|others| others.max_level_hint());
    others.is_some_and(|max| max <= LevelFilter::INFO)
}

/// From now on a panic becomes one log line, with its cause and place. Whoever catches it says what it
/// does about it, and does not repeat the cause.
pub fn log_panics() {
    panic::set_hook(Box::new(log_panic));
}

fn log_panic(info: &PanicHookInfo<'_>) {
    let location = info.location().map(ToString::to_string);
    tracing::error!(location, cause = panic_text(info.payload()), "a panic");
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    literal.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests;
