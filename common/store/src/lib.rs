//! One SQL text, two databases: services write a statement once and run it with [`on!`].
//!
//! Where SQLite and Postgres truly differ, the difference has one named place:
//! an identity column in [`migrate`], a set of values as one argument in [`batch`], and how a
//! database is opened in [`sqlite`] and [`postgres`].
//!
//! **RETURNING.** A write that returns rows is run with `fetch_all`. `fetch_one` and `fetch_optional`
//! stop reading at the first row, and an implicit transaction is committed only after the last: on a
//! full disk SQLite then fails to commit after the row was taken for a success.

pub mod batch;
pub mod config;
pub mod migrate;
pub mod postgres;
pub mod sqlite;

mod observe;
mod on;
mod watched;

pub use batch::{Batched, BatchedPairs};
pub use migrate::{Migration, MigrationError};
pub use postgres::Postgres;
pub use sqlite::Sqlite;
#[doc(hidden)]
pub use sqlx;
pub use watched::Watched;

use latchkey_runtime::{Exit, StartError};

/// A database that is open. Clones share its connections.
#[derive(Clone, Debug)]
pub enum Db {
    /// One file, one process.
    Sqlite(Sqlite),
    /// A server that any number of processes share.
    Postgres(Postgres),
}

/// Why a database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The address is neither kind's.
    #[error(
        "not a database address: `sqlite://FILE` and `postgres://USER:PASSWORD@HOST/NAME` are accepted"
    )]
    Address,
    /// A part of the address after the question mark.
    #[error("the database address' parameter {name:?}: {fault}")]
    Parameter {
        /// Its name.
        name: String,
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
            OpenError::Address | OpenError::Parameter { .. } => {
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

    /// Asks the database whether it answers.
    ///
    /// # Errors
    /// What the database, or the way to it, said instead.
    pub async fn ping(&self) -> Result<(), sqlx::Error> {
        on!(read self, |at| sqlx::query(PING).execute(at).await.map(drop))
    }

    /// Closes all connections after the statements in hand.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(sqlite) => sqlite.close().await,
            Self::Postgres(postgres) => postgres.pool.close().await,
        }
    }
}

const PING: &str = "SELECT 1";
