//! The service's own variables.

use latchkey_revocation::config::{self as revocation, Settings};
use latchkey_runtime::{ConfigError, Environment, Variable};

/// How long a key lives whose maker does not say.
pub const API_KEY_EXPIRE_DAYS: Variable = Variable {
    name: "API_KEY_EXPIRE_DAYS",
    default: "365",
    help: "how long a key lives whose maker does not say, in days",
    accepted: "a whole number from 1 to 3650",
};

/// Every variable of this service.
pub const VARIABLES: &[&Variable] = &[
    &API_KEY_EXPIRE_DAYS,
    &revocation::LEASE_MS,
    &revocation::RENEWAL_MS,
    &revocation::REVOKE_WAIT_MS,
    &revocation::CLOCK_DRIFT,
    &revocation::REVOKE_EARLY,
];

/// How the service works.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long a key lives whose maker does not say, in days.
    pub expire_days: i64,
    /// How a revoke waits for the edges.
    pub revocation: Settings,
}

impl Config {
    /// Reads the service's variables.
    ///
    /// # Errors
    /// [`ConfigError`] names the first variable that cannot be used.
    pub fn read(environment: &Environment) -> Result<Self, ConfigError> {
        Ok(Self {
            expire_days: environment.number(&API_KEY_EXPIRE_DAYS, 365, 1, 3_650)?,
            revocation: Settings::read(environment)?,
        })
    }
}
