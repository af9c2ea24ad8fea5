//! Where a service that is a process of its own has its data.

use latchkey_runtime::{ConfigError, Environment, StartError, Variable};

use crate::{Db, postgres};

/// The Postgres server.
pub const DATABASE_URL: Variable = Variable {
    name: "DATABASE_URL",
    default: "required",
    help: "where the data is",
    accepted: "postgres://USER:PASSWORD@HOST/NAME, with ?sslmode=verify-full&sslrootcert=FILE for TLS",
};
/// Connections to Postgres.
pub const DATABASE_POOL: Variable = Variable {
    name: "DATABASE_POOL",
    default: "8",
    help: "connections to Postgres at most",
    accepted: "a whole number from 1 to 100",
};

/// Which database a service uses, and how.
#[derive(Clone)]
pub struct Config {
    url: String,
    connections: u32,
}

impl Config {
    /// Reads the variables of a service that is a process of its own.
    ///
    /// # Errors
    /// [`ConfigError`] names the first variable that cannot be used.
    pub fn read(environment: &Environment) -> Result<Self, ConfigError> {
        Ok(Self { url: postgres_url(environment)?, connections: connections(environment)? })
    }

    /// Opens the database; the server sees `name`.
    ///
    /// # Errors
    /// [`StartError`] where the address cannot be used.
    pub async fn open(&self, name: &str) -> Result<Db, StartError> {
        Ok(Db::open(&self.url, name, self.connections).await?)
    }
}

/// Connections to Postgres at most, by `DATABASE_POOL`.
///
/// # Errors
/// [`ConfigError`] where it is no such number.
pub fn connections(environment: &Environment) -> Result<u32, ConfigError> {
    environment.number(&DATABASE_POOL, postgres::CONNECTIONS, 1, 100)
}

/// The address of the Postgres server. It is never shown: it may hold a password.
fn postgres_url(environment: &Environment) -> Result<String, ConfigError> {
    match environment.secret(&DATABASE_URL)? {
        Some(url) if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
            postgres::options(&url).map_err(|error| DATABASE_URL.wrong(error.to_string()))?;
            Ok(url)
        }
        Some(_other) => Err(DATABASE_URL.wrong("not the address of a Postgres server")),
        None => Err(DATABASE_URL.wrong("not set")),
    }
}
