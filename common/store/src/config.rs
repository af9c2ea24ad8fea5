//! Where a service that is a process of its own has its data.

use latchkey_runtime::{ConfigError, Environment, Variable};

/// The Postgres server.
pub const DATABASE_URL: Variable = Variable {
    name: "DATABASE_URL",
    default: "required",
    help: "where the data is",
    accepted: "postgres://USER:PASSWORD@HOST/NAME",
};

/// The address of the Postgres server that the environment names.
///
/// # Errors
/// [`ConfigError`] where there is none, or it is another kind's. It is never shown: it may hold a password.
pub fn postgres_url(environment: &Environment) -> Result<String, ConfigError> {
    match environment.secret(&DATABASE_URL)? {
        Some(url) if url.starts_with("postgres://") || url.starts_with("postgresql://") => Ok(url),
        Some(_other) => Err(DATABASE_URL.wrong("not the address of a Postgres server")),
        None => Err(DATABASE_URL.wrong("not set")),
    }
}
