//! How a process ends that does not end well: an exit code, and one line for a person.

use std::process::ExitCode;

use crate::config::ConfigError;

/// How a process ends that does not end well, after `sysexits.h`. (A faulty command line ends with 2.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 1: a health check found the process not ready.
    Unready,
    /// 1: what was to be checked is not as it should be.
    Unfit,
    /// 69: the address is in use, or a server it needs is away.
    Unavailable,
    /// 70: a fault of ours.
    Internal,
    /// 73: the data folder or database cannot be used.
    Data,
    /// 78: a variable's value cannot be used.
    Config,
    /// 130: it was asked to end a second time, and gave up what it had in hand.
    Interrupted,
}

/// Why a process did not start, or ended before it was told to: one line for a person.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct StartError {
    /// The exit code.
    pub exit: Exit,
    /// What went wrong, and what to do.
    pub message: String,
}

impl StartError {
    /// An error with this exit code and message.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }
}

impl From<ConfigError> for StartError {
    fn from(error: ConfigError) -> Self {
        Self::new(Exit::Config, error.to_string())
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Unready | Exit::Unfit => 1,
            Exit::Unavailable => 69,
            Exit::Internal => 70,
            Exit::Data => 73,
            Exit::Config => 78,
            Exit::Interrupted => 130,
        })
    }
}
