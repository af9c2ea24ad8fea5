//! Where a service that is a process of its own has its data.

use latchkey_runtime::{ConfigError, Environment, StartError, Variable};

use crate::{Db, address, postgres};

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

/// The tests' own: how many of the newest steps a process plays not to know, as a release before does.
#[cfg(debug_assertions)]
const TEST_UNKNOWN_STEPS: Variable = Variable {
    name: "LATCHKEY_TEST_UNKNOWN_STEPS",
    default: "0",
    help: "steps of the tables that are left out, as in a release before; not in release builds",
    accepted: "a whole number from 0 to 9",
};

/// Which database a service uses, and how.
#[derive(Clone)]
pub struct Config {
    url: String,
    connections: u32,
    unknown_steps: usize,
}

impl Config {
    /// Reads the variables of a service that is a process of its own.
    ///
    /// # Errors
    /// [`ConfigError`] names the first variable that cannot be used.
    pub fn read(environment: &Environment) -> Result<Self, ConfigError> {
        Ok(Self {
            url: postgres_url(environment)?,
            connections: connections(environment)?,
            #[cfg(debug_assertions)]
            unknown_steps: environment.number(&TEST_UNKNOWN_STEPS, 0, 0, 9)?,
            #[cfg(not(debug_assertions))]
            unknown_steps: 0,
        })
    }

    /// Opens the database; the server sees `name`.
    ///
    /// # Errors
    /// [`StartError`] where the address cannot be used.
    pub async fn open(&self, name: &str) -> Result<Db, StartError> {
        let mut db = Db::open(&self.url, name, self.connections).await?;
        if let Db::Postgres(postgres) = &mut db {
            postgres.unknown_steps = self.unknown_steps;
        }
        Ok(db)
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
            address::postgres(&url).map_err(|error| DATABASE_URL.wrong(error.to_string()))?;
            Ok(url)
        }
        Some(_other) => Err(DATABASE_URL.wrong("not the address of a Postgres server")),
        None => Err(DATABASE_URL.wrong("not set")),
    }
}
