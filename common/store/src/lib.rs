//! One SQL text, two databases: services write a statement once and run it with [`Db::fetch`] or
//! [`Db::execute`], or some of them together in a [`Tx`].
//!
//! Where SQLite and Postgres truly differ, the difference has one named place:
//! an identity column in [`migrate`] and in [`SkipIds`], a set of values as one argument in [`batch`], the time by the
//! database's clock in [`now_sqlite!`] and [`now_postgres!`], and how a database is opened in [`sqlite`] and [`postgres`].
//!
//! **RETURNING.** Rows are read to the last, also where one is wanted. An implicit transaction is
//! committed only after it: on a full disk SQLite fails to commit after a first row, which would be
//! taken for a success.

pub mod address;
pub mod batch;
pub mod chores;
pub mod command;
pub mod config;
pub mod migrate;
pub mod postgres;
pub mod sqlite;

mod checkpoint;
mod connection;
mod driver;
mod error;
mod fitness;
mod ids;
mod observe;
mod readiness;
mod release;
mod resource;
mod statement;
mod time;
mod transaction;
mod value;
mod wait;
mod writes;

pub use batch::{Batched, BatchedPairs};
pub use chores::{ChoreSql, Chores, Exclusive, Holder};
pub use driver::{Driver, FromAnyRow};
pub use error::StoreError;
pub use ids::SkipIds;
pub use migrate::{Backfill, Finished, Migration, MigrationError, Sql};
pub use postgres::Postgres;
pub use resource::Opening;
pub use sqlite::Sqlite;
pub use transaction::{Transaction, Tx};
pub use value::Value;
pub use wait::wait_while_away;

use latchkey_runtime::{Exit, StartError};

/// A database that is open. Clones share its connections.
#[derive(Clone, Debug)]
pub enum Db {
    /// One file, one process.
    Sqlite(Sqlite),
    /// A server that any number of processes share.
    Postgres(Postgres),
}

/// A kind of database, for what is written differently for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// A SQLite file.
    Sqlite,
    /// A Postgres server.
    Postgres,
}

/// What is written otherwise for each kind of database.
#[derive(Clone, Copy, Debug)]
pub struct PerEngine<T> {
    /// For SQLite.
    pub sqlite: T,
    /// For Postgres.
    pub postgres: T,
}

impl<T> PerEngine<T> {
    /// That for one kind of database.
    #[must_use]
    pub const fn of(&self, engine: Engine) -> &T {
        match engine {
            Engine::Sqlite => &self.sqlite,
            Engine::Postgres => &self.postgres,
        }
    }
}

/// Why a database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The address is neither kind's.
    #[error(
        "not a database address: `sqlite://FILE` and `postgres://USER:PASSWORD@HOST/NAME` are accepted"
    )]
    Address,
    /// A part of the address cannot be read; the text repeats none of it.
    #[error("not a database address: {0}")]
    Part(String),
    /// A parameter of the address, after its question mark.
    #[error("the database address' parameter {name} {fault}")]
    Parameter {
        /// Its name.
        name: &'static str,
        /// What is wrong with it.
        fault: String,
    },
    /// The folder or file cannot be made, read or written.
    #[error("the data folder {path} cannot be used: {source}")]
    Folder {
        /// The folder or file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process has the file.
    #[error("the data folder {0} is in use by another Latchkey process")]
    InUse(String),
    /// The file has further names, by each of which another process could open it.
    #[error(
        "the database {0} has hard links: each name of it would be another database's log; leave one"
    )]
    Linked(String),
    /// The file holds something else.
    #[error("the database {0} cannot be opened: the file is no SQLite database")]
    NoDatabase(String),
    /// The database does not answer, or not as a database.
    #[error("the database {path} cannot be opened: {source}")]
    Database {
        /// The file.
        path: String,
        /// What the database said.
        source: sqlx::Error,
    },
}

impl From<OpenError> for StartError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Address | OpenError::Part(_) | OpenError::Parameter { .. } => {
                Self::new(Exit::Config, format!("DATABASE_URL: {error}"))
            }
            _ => Self::new(Exit::Data, error.to_string()),
        }
    }
}

impl Db {
    /// Opens the database at `url`, and makes it where it is a SQLite file that does not exist. A
    /// server is asked for its first connection later, and sees `name`; at most `connections` are made.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong with the address or the file.
    pub async fn open(url: &str, name: &str, connections: u32) -> Result<Self, OpenError> {
        let db = match url.split_once(':') {
            Some(("sqlite", _)) => Sqlite::open(url).await.map(Self::Sqlite),
            Some(("postgres" | "postgresql", _)) => {
                Postgres::open(url, name, connections).map(Self::Postgres)
            }
            _ => Err(OpenError::Address),
        }?;
        db.observe();
        Ok(db)
    }

    /// Opens the database at `url` for reading what services keep there, whose tables are not touched: a SQLite file may
    /// be in use by another process meanwhile.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong with the address or the file.
    pub async fn open_to_read(url: &str, name: &str) -> Result<Self, OpenError> {
        match url.split_once(':') {
            Some(("sqlite", _)) => Sqlite::open_to_read(url).await.map(Self::Sqlite),
            _ => Self::open(url, name, READING).await,
        }
    }

    /// From now on this process says on every connection that it knows the tables of `service` up to the last of these
    /// steps: what is for later releases alone is not read.
    pub async fn reads(&self, service: &'static str, migrations: &[Migration]) {
        if let Self::Postgres(postgres) = self {
            postgres.uses(service, migrate::newest(self.known(migrations))).await;
        }
    }

    /// Which kind of database it is.
    #[must_use]
    pub fn engine(&self) -> Engine {
        match self {
            Self::Sqlite(_) => Engine::Sqlite,
            Self::Postgres(_) => Engine::Postgres,
        }
    }

    /// Every row of a statement.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn fetch<T: FromAnyRow>(
        &self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<T>, StoreError> {
        match self {
            Self::Sqlite(sqlite) => {
                sqlite.connections_for(sql).fetch(sql, sqlx::Sqlite::arguments(values)).await
            }
            Self::Postgres(postgres) => {
                postgres.connections.fetch(sql, sqlx::Postgres::arguments(values)).await
            }
        }
    }

    /// Every row of a statement that reads a list for somebody: such statements have half of the connections at most, so that
    /// they never keep everything else waiting.
    ///
    /// # Errors
    /// [`StoreError`]; also where there was no room for one more in time.
    pub async fn list<T: FromAnyRow>(
        &self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<T>, StoreError> {
        match self {
            Self::Sqlite(sqlite) => {
                sqlite.connections_for(sql).list(sql, sqlx::Sqlite::arguments(values)).await
            }
            Self::Postgres(postgres) => {
                postgres.connections.list(sql, sqlx::Postgres::arguments(values)).await
            }
        }
    }

    /// The first row of a statement, if there is one.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn fetch_first<T: FromAnyRow>(
        &self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Option<T>, StoreError> {
        Ok(self.fetch(sql, values).await?.into_iter().next())
    }

    /// How many rows a statement wrote.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn execute(
        &self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<u64, StoreError> {
        match self {
            Self::Sqlite(sqlite) => {
                sqlite.connections_for(sql).execute(sql, sqlx::Sqlite::arguments(values)).await
            }
            Self::Postgres(postgres) => {
                postgres.connections.execute(sql, sqlx::Postgres::arguments(values)).await
            }
        }
    }

    /// Has the database read a statement, without running it.
    ///
    /// # Errors
    /// [`StoreError`] where it does not understand the statement, or its tables are not as it says.
    pub async fn check(&self, sql: &'static str) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(sqlite) => sqlite.readers.prepare(sql).await,
            Self::Postgres(postgres) => postgres.connections.prepare(sql).await,
        }
    }

    /// Asks the database whether it answers.
    ///
    /// # Errors
    /// What the database, or the way to it, said instead.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.execute(PING, &[]).await.map(drop)
    }

    /// Closes all connections after the statements in hand.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(sqlite) => sqlite.close().await,
            Self::Postgres(postgres) => postgres.connections.pool().close().await,
        }
    }
}

/// Connections to a server that is only read.
const READING: u32 = 1;
const PING: &str = "SELECT 1";
