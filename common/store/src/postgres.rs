//! A Postgres server: the pool, and the bound on every wait for it.
//!
//! The server ends a statement that takes too long. A server that has vanished (its machine lost, a
//! firewall that drops) ends nothing, and the library then waits for ever, also while it gives a
//! connection back; so each wait has a bound here as well.

use std::fs::File;
use std::future::Future;
use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use metrics::{Histogram, histogram};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{Connection, PgPool};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};

use crate::{OpenError, watched};

/// Connections of one process, unless it says otherwise.
pub const CONNECTIONS: u32 = 8;
/// How long a request waits for a connection, be it a free one or a new one.
const ACQUIRE_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a statement or a transaction may take, with the way there and back. Longer than the
/// server's own bound on a statement, which comes first where the server lives.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(4);
/// How long a connection may take to be ready for the next one.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(4);
/// A connection that is older is replaced, so that the processes spread over servers again after one
/// of them was away.
const MAX_LIFETIME: Duration = Duration::from_mins(10);
/// How long making a connection may take where nobody waits for it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What the server does for every connection: it ends statements and waits that take too long (in
/// milliseconds), and notices within a minute when a client has vanished (in seconds).
///
/// Every statement finds its rows by an index. A plan that was made while a table was small would read all of
/// it for as long as the table's statistics are old, so reading all of a table is made a last resort. That
/// is done by a cost so high that the server would compile such a plan to machine code, for far longer than
/// the statement takes.
const SETTINGS: [(&str, &str); 9] = [
    ("enable_seqscan", "off"),
    ("jit", "off"),
    ("statement_timeout", "2000"),
    ("lock_timeout", "1000"),
    ("idle_in_transaction_session_timeout", "5000"),
    ("tcp_keepalives_idle", "30"),
    ("tcp_keepalives_interval", "10"),
    ("tcp_keepalives_count", "3"),
    ("client_min_messages", "warning"),
];
/// The same while tables are changed, where it differs: a step may take long, but must not stand in
/// the queue for a table's lock with every other statement behind it.
const MIGRATION_SETTINGS: [(&str, &str); 3] = [
    ("statement_timeout", "600000"),
    ("lock_timeout", "5000"),
    ("idle_in_transaction_session_timeout", "60000"),
];
/// What an address may say after the question mark. The library passes over anything else, also over
/// a misspelt `sslmode`.
const PARAMETERS: [&str; 8] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "port",
    "application_name",
    "statement-cache-capacity",
];

/// A pool of connections to one server.
#[derive(Clone, Debug)]
pub struct Postgres {
    /// The connections.
    pub pool: PgPool,
    waits: Histogram,
    migrations: Arc<PgConnectOptions>,
}

/// One connection of the pool, for one statement or one transaction.
#[derive(Debug)]
pub struct Lease {
    connection: PoolConnection<sqlx::Postgres>,
}

impl Postgres {
    /// Takes the address; the first connection is made when it is needed.
    pub(crate) fn open(url: &str, name: &str, connections: u32) -> Result<Self, OpenError> {
        let options = options(url)?;
        let options = match options.get_application_name() {
            Some(_) => options,
            None => options.application_name(name),
        };
        let migrations = options.clone().options(SETTINGS).options(MIGRATION_SETTINGS);
        // No `min_connections`: while the server is away the library would keep places of the pool
        // for attempts that wait for up to a minute, and be slow to notice that it is back.
        // Connections that were made are kept.
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(None)
            .max_lifetime(MAX_LIFETIME)
            .connect_lazy_with(options.options(SETTINGS));
        let waits = histogram!("latchkey_db_pool_wait_seconds", "pool" => "postgres");
        Ok(Self { pool, waits, migrations: Arc::new(migrations) })
    }

    /// A connection for one statement or transaction.
    ///
    /// # Errors
    /// Where none is free in time, or none can be made.
    pub async fn lease(&self) -> Result<Lease, sqlx::Error> {
        let begun = Instant::now();
        let connection = self.pool.acquire().await.inspect_err(watched::count);
        self.waits.record(begun.elapsed());
        Ok(Lease { connection: connection? })
    }

    /// A connection of its own for changing tables.
    pub(crate) async fn connect_for_migrations(&self) -> Result<PgConnection, sqlx::Error> {
        let connecting = PgConnection::connect_with(&self.migrations);
        timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or_else(|_late| Err(late()))
    }
}

impl Lease {
    /// The connection.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

/// Gives the connection back. The library asks the server first whether it still answers; one that
/// does not is closed after a few seconds, and its place is free again.
impl Drop for Lease {
    fn drop(&mut self) {
        // Outside the runtime nobody is left to use the pool.
        if let Ok(runtime) = Handle::try_current() {
            let release = timeout(RELEASE_TIMEOUT, self.connection.return_to_pool());
            drop(runtime.spawn(release));
        }
    }
}

/// What `work` on a connection gives, if it gives it in time.
///
/// # Errors
/// What the database said instead, or that it said nothing.
pub async fn in_time<T>(
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    timeout(ANSWER_TIMEOUT, work).await.unwrap_or_else(|_late| {
        let error = late();
        watched::count(&error);
        Err(error)
    })
}

pub(crate) fn late() -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, "the database does not answer"))
}

/// What the address says, where every part of it is known.
pub(crate) fn options(url: &str) -> Result<PgConnectOptions, OpenError> {
    check_parameters(url)?;
    PgConnectOptions::from_str(url).map_err(|error| {
        tracing::debug!(%error, "Postgres address refused");
        OpenError::Address
    })
}

fn check_parameters(url: &str) -> Result<(), OpenError> {
    let Some((_, query)) = url.split_once('?') else { return Ok(()) };
    for part in query.split('&') {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        if !PARAMETERS.contains(&name) {
            let fault = format!("not known; known are {}", PARAMETERS.join(", "));
            return Err(OpenError::Parameter { name: name.to_owned(), fault });
        }
        let is_file = matches!(name, "sslrootcert" | "sslcert" | "sslkey");
        if is_file && !value.contains('%') {
            File::open(value).map_err(|error| OpenError::Parameter {
                name: name.to_owned(),
                fault: format!("{value:?} cannot be read: {error}"),
            })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_parameter_or_a_missing_certificate_is_named_and_no_password_shown() {
        let refused = |query: &str| {
            let url = format!("postgres://user:hunter2@db.example/latchkey?{query}");
            Postgres::open(&url, "test", 1).unwrap_err().to_string()
        };
        for (query, part) in [
            ("sslmod=verify-full", "sslmod"),
            ("sslmode=require&pasword=hunter2", "pasword"),
            ("sslrootcert=/nowhere/ca.pem", "/nowhere/ca.pem"),
            ("sslmode=perhaps", "not a database address"),
        ] {
            let message = refused(query);
            assert!(message.contains(part) && !message.contains("hunter2"), "{message}");
        }
    }
}
