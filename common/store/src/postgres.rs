//! A Postgres server.

use std::str::FromStr;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::OpenError;

/// Connections of one process.
const CONNECTIONS: u32 = 8;
/// How long a request waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_millis(500);
/// How long the server works on one statement, in milliseconds.
const STATEMENT_TIMEOUT_MS: &str = "2000";

/// A pool of connections to one server.
#[derive(Clone, Debug)]
pub struct Postgres {
    /// The connections.
    pub pool: PgPool,
}

impl Postgres {
    /// Takes the address; the first connection is made when it is needed.
    pub(crate) fn open(url: &str) -> Result<Self, OpenError> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|error| {
                tracing::debug!(%error, "Postgres address refused");
                OpenError::Address
            })?
            .options([("statement_timeout", STATEMENT_TIMEOUT_MS)]);
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(options);
        Ok(Self { pool })
    }
}
