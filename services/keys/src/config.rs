//! The service's own variables.

use latchkey_revocation::config::{self as revocation, Settings};
use latchkey_runtime::config::{Number, Preset};
use latchkey_runtime::{ConfigError, Environment, Table, Variable};

/// How long a key lives whose maker does not say.
pub const API_KEY_EXPIRE_DAYS: Variable<Number<i64>> = Variable {
    name: "API_KEY_EXPIRE_DAYS",
    kind: Number { min: 1, max: 3_650, note: "" },
    default: Preset::Value("365"),
    help: "how long a key lives whose maker does not say, in days",
};

/// The variables of this service.
#[must_use]
pub fn tables() -> Vec<Table> {
    vec![
        Table::new("Keys", &[&API_KEY_EXPIRE_DAYS]),
        latchkey_audit::config::table(),
        revocation::table(),
    ]
}

/// How the service works.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long a key lives whose maker does not say, in days.
    pub expire_days: i64,
    /// How the audit log is sealed.
    pub audit: latchkey_audit::config::Settings,
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
            expire_days: environment.read(&API_KEY_EXPIRE_DAYS)?,
            audit: latchkey_audit::config::Settings::read(environment)?,
            revocation: Settings::read(environment)?,
        })
    }
}
