//! The variables of the audit log, which each service that writes one reads.

use latchkey_contract::Secret;
use latchkey_runtime::config::{Confidential, Fault, Parsed, Preset};
use latchkey_runtime::{ConfigError, Environment, Table, Variable};

/// Characters of the shortest `AUDIT_KEY`: 256 bits where each holds 8.
const AUDIT_KEY_MIN: usize = 32;

/// What the chain of audit events is made with.
pub const AUDIT_KEY: Variable<Confidential<Parsed<Secret>>> = Variable {
    name: "AUDIT_KEY",
    kind: Confidential(Parsed {
        read: secret,
        accepted: "at least 32 characters, the same for every replica",
        placeholder: "SECRET",
    }),
    default: Preset::Described(
        "standalone: derived from the secret that is kept beside the database, if there is one; cluster: none",
    ),
    help: "seals audit events (HMAC-SHA-256); without it they are sealed by SHA-256, which whoever writes the database can do",
};

/// How events are sealed.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// What the chain is made with, if it is made with something.
    pub key: Option<Secret>,
}

/// The variables.
#[must_use]
pub fn table() -> Table {
    Table::new("Audit log", &[&AUDIT_KEY])
}

impl Settings {
    /// Reads the variables.
    ///
    /// # Errors
    /// [`ConfigError`] names the one that cannot be used.
    pub fn read(environment: &Environment) -> Result<Self, ConfigError> {
        Ok(Self { key: environment.find(&AUDIT_KEY)? })
    }
}

fn secret(text: &str) -> Result<Secret, Fault> {
    match text.chars().count() {
        length if length < AUDIT_KEY_MIN => {
            Err(Fault::Because(format!("{length} characters are too few")))
        }
        _ => Ok(Secret::new(text.to_owned())),
    }
}
