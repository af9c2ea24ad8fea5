//! Logs: readable on a terminal, JSON lines everywhere else; one line a failure, none a success.

use std::any::Any;
use std::io::{self, IsTerminal};
use std::panic::{self, PanicHookInfo};

use tracing_subscriber::EnvFilter;

use crate::config::{ConfigError, Environment, Variable};

/// What is logged.
pub const RUST_LOG: Variable = Variable {
    name: "RUST_LOG",
    default: "info",
    help: "what is logged",
    accepted: "a filter such as `info` or `latchkey_edge=debug,warn`",
};

/// Added to every filter: below `info` the NATS client logs whole messages, with the secrets in them.
const NO_MESSAGES: &str = "async_nats=info";

/// Starts logging to standard error. Called once, before anything else is started.
///
/// # Errors
/// [`ConfigError`] where `RUST_LOG` is no filter.
pub fn start(environment: &Environment) -> Result<(), ConfigError> {
    let filter = environment.text(&RUST_LOG).unwrap_or("info");
    let filter = EnvFilter::try_new(format!("{filter},{NO_MESSAGES}"))
        .map_err(|error| RUST_LOG.wrong(format!("{filter:?} is no filter ({error})")))?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // A second start in one process (tests do that) keeps the first one's logs.
    let _first = if io::stderr().is_terminal() {
        logs.with_target(false).try_init()
    } else {
        logs.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    };
    log_panics();
    Ok(())
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
