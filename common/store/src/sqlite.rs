//! A SQLite file: one connection that writes, a few that read, one process.

use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use crate::OpenError;

/// Connections that read. Two were as fast as four.
const READERS: u32 = 2;
/// How long a statement waits for a lock that another process holds.
const BUSY_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a request waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(1);

/// An open file. Writes wait for each other; reads wait for nobody (WAL).
#[derive(Clone, Debug)]
pub struct Sqlite {
    /// The only connection that writes.
    pub writer: SqlitePool,
    /// The connections that read.
    pub readers: SqlitePool,
    /// Held for as long as the file is open, so that no second process opens it.
    _lock: Arc<File>,
}

impl Sqlite {
    pub(crate) async fn open(url: &str) -> Result<Self, OpenError> {
        let options = SqliteConnectOptions::from_str(url)
            .map_err(|error| {
                tracing::debug!(%error, "SQLite address refused");
                OpenError::Address
            })?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // FULL: an acknowledged write is on disk, also after the machine loses power.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let lock = lock(options.get_filename())?;
        let path = options.get_filename().display().to_string();
        let unopened = |source| OpenError::Database { path: path.clone(), source };
        let pool = SqlitePoolOptions::new().acquire_timeout(ACQUIRE_TIMEOUT);
        // The writer first: it makes the file and switches it to WAL.
        let writer = pool.clone().max_connections(1).min_connections(1);
        let writer = writer.connect_with(options.clone()).await.map_err(unopened)?;
        let readers = pool.max_connections(READERS).min_connections(READERS);
        let readers = readers
            .connect_with(options.create_if_missing(false).pragma("query_only", "ON"))
            .await
            .map_err(unopened)?;
        Ok(Self { writer, readers, _lock: Arc::new(lock) })
    }

    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Makes the folder where it is missing and takes the lock file beside the database.
fn lock(file: &Path) -> Result<File, OpenError> {
    let folder = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let unusable = |source| OpenError::Folder { path: folder.display().to_string(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(unusable)?;
    let mut name = file.as_os_str().to_owned();
    name.push(".lock");
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(PathBuf::from(name))
        .map_err(unusable)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(folder.display().to_string())),
        Err(TryLockError::Error(source)) => Err(unusable(source)),
    }
}
