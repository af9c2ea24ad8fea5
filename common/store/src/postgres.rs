//! A Postgres server: the pool, and the bound on every wait for it.
//!
//! The server ends a statement that takes too long. A server that has vanished (its machine lost, a
//! firewall that drops) ends nothing, and the library then waits for ever, also while it gives a
//! connection back; so each wait has a bound here as well.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{Connection, raw_sql};
use tokio::time::timeout;

use crate::OpenError;
use crate::address::{self, PostgresAddress};
use crate::connection::Connections;
use crate::driver::ANSWER_TIMEOUT;
use crate::error::late;
use crate::release::{self, Release};

/// How long a request waits for a connection, be it a free one or a new one.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(1);
/// Connections that are made at the start: the first requests find them, and wait for none to be made.
const WARM: u32 = 4;
/// A connection that is older is replaced, so that the processes spread over servers again after one
/// of them was away.
const MAX_LIFETIME: Duration = Duration::from_mins(10);
/// What the server does for every connection: it ends statements and waits that take too long (in
/// milliseconds), and notices within a minute when a client has vanished (in seconds).
///
/// Every statement finds its rows by an index. A plan that was made while a table was small would read all of
/// it for as long as the table's statistics are old, so reading all of a table is made a last resort. That
/// is done by a cost so high that the server would compile such a plan to machine code, for far longer than
/// the statement takes.
///
/// They are set by a statement, not when the connection begins: a pooler between passes on the statement alone.
const SETTINGS: &str = "SET enable_seqscan = off; SET jit = off; \
    SET statement_timeout = 2000; SET lock_timeout = 1000; \
    SET idle_in_transaction_session_timeout = 5000; \
    SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3; \
    SET client_min_messages = warning";
/// The same while tables are changed, where it differs: a step may take long, but must not stand in
/// the queue for a table's lock with every other statement behind it.
const MIGRATION_SETTINGS: &str = "SET statement_timeout = 600000; SET lock_timeout = 5000; \
    SET idle_in_transaction_session_timeout = 60000";

/// A pool of connections to one server.
#[derive(Clone, Debug)]
pub struct Postgres {
    /// The connections.
    pub(crate) connections: Connections<sqlx::Postgres>,
    /// What each connection of the pool says of this process.
    pub(crate) release: Arc<Release>,
    /// How many of the newest steps this process is to play not to know: none, but in a test.
    pub(crate) unknown_steps: usize,
    alone: Arc<PgConnectOptions>,
    connect_timeout: Duration,
}

impl Postgres {
    /// Takes the address; the first connection is made when it is needed.
    pub(crate) fn open(url: &str, name: &str, connections: u32) -> Result<Self, OpenError> {
        let PostgresAddress { options, connect_timeout } = address::postgres(url)?;
        // Nothing here is a fraction, and poolers do not know the setting.
        let options = options.extra_float_digits(None);
        let options = match options.get_application_name() {
            Some(_) => options,
            None => options.application_name(name),
        };
        let alone = Arc::new(options.clone());
        let release = Arc::new(Release::default());
        let (on_new, on_old) = (Arc::clone(&release), Arc::clone(&release));
        // No `min_connections`: while the server is away the library would keep places of the pool
        // for attempts that wait for up to a minute, and be slow to notice that it is back.
        // Connections that were made are kept.
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(None)
            .max_lifetime(MAX_LIFETIME)
            .after_connect(move |connection, _| {
                let release = Arc::clone(&on_new);
                Box::pin(async move {
                    raw_sql(SETTINGS).execute(&mut *connection).await?;
                    release.tell(connection).await
                })
            })
            .before_acquire(move |_, connection| {
                let is_told = on_old.was_told_by(connection.age);
                Box::pin(async move { Ok(is_told) })
            })
            .connect_lazy_with(options);
        let connections = Connections::of_release(pool, "postgres", Arc::clone(&release));
        Ok(Self { connections, release, unknown_steps: 0, alone, connect_timeout })
    }

    /// Makes the first connections. Those that cannot be made now are made when they are needed.
    pub(crate) async fn warm(&self) {
        let pool = self.connections.pool();
        let count = WARM.min(pool.options().get_max_connections());
        let mut held = Vec::new();
        for _ in 0..count {
            match pool.acquire().await {
                Ok(connection) => held.push(connection),
                Err(error) => {
                    tracing::debug!(%error, "connections to the database are made later");
                    break;
                }
            }
        }
    }

    /// From now on this process uses the tables of `service` as one that knows their steps up to `version`. Connections that
    /// have not said so are closed.
    pub(crate) async fn uses(&self, service: &'static str, version: i64) {
        if !self.release.uses(service, version) {
            return;
        }
        let pool = self.connections.pool();
        for _ in 0..pool.size() {
            let Some(connection) = pool.try_acquire() else { return };
            // The server ends a connection that is not closed in good order.
            drop(timeout(ANSWER_TIMEOUT, connection.close()).await);
        }
    }

    /// A connection of its own, without settings.
    pub(crate) async fn connect_alone(&self) -> Result<PgConnection, sqlx::Error> {
        self.in_time(PgConnection::connect_with(&self.alone)).await
    }

    /// A connection of its own for changing tables, which says that it knows the steps of `service` up to `version`.
    pub(crate) async fn connect_for_migrations(
        &self,
        service: &str,
        version: i64,
    ) -> Result<PgConnection, sqlx::Error> {
        let mut connection = self.connect_alone().await?;
        self.in_time(raw_sql(SETTINGS).execute(&mut connection)).await?;
        self.in_time(raw_sql(MIGRATION_SETTINGS).execute(&mut connection)).await?;
        timeout(ANSWER_TIMEOUT * 2, release::share(&mut connection, service, version))
            .await
            .unwrap_or_else(|_late| Err(late()))?;
        Ok(connection)
    }

    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        timeout(self.connect_timeout, work).await.unwrap_or_else(|_late| Err(late()))
    }
}
