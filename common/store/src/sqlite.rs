//! A SQLite file: one connection that writes, a few that read, one process.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use crate::connection::Connections;
use crate::statement::READS;
use crate::{OpenError, address};

/// Connections that read. Two were as fast as four.
const READERS: u32 = 2;
/// Pages in the log at which a commit moves them itself, 64 MiB: only where the chore that does it does
/// not come to it.
const AUTOCHECKPOINT: &str = "16384";
/// Bytes that the log keeps of the disk when it is begun anew.
const LOG_LIMIT: &str = "16777216";
/// How long a statement waits for a lock that another process holds.
const BUSY_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a request waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(1);

/// An open file. Writes wait for each other; reads wait for nobody (WAL).
#[derive(Clone, Debug)]
pub struct Sqlite {
    /// The only connection that writes.
    pub(crate) writer: Connections<sqlx::Sqlite>,
    /// The connections that read.
    pub(crate) readers: Connections<sqlx::Sqlite>,
    /// The connection that moves the log into the file.
    pub(crate) checkpoints: Connections<sqlx::Sqlite>,
    /// Whether somebody does what has to be done again and again.
    has_upkeep: Arc<AtomicBool>,
    /// Held for as long as the file is open, so that no second process opens it.
    _lock: Arc<File>,
}

impl Sqlite {
    pub(crate) async fn open(url: &str) -> Result<Self, OpenError> {
        let options = SqliteConnectOptions::from_str(url)
            // What the library says may repeat what it could not read.
            .map_err(|_secret| OpenError::Address)?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // FULL: an acknowledged write is on disk, also after the machine loses power.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .pragma("wal_autocheckpoint", AUTOCHECKPOINT)
            .pragma("journal_size_limit", LOG_LIMIT);
        // Every path to one file is one file: by its own name it is locked, opened and logged beside.
        let file = options.get_filename();
        let file = address::found(file).map_err(|source| unusable(file, source))?;
        let lock = lock(&file)?;
        let options = options.filename(&file);
        let path = file.display().to_string();
        let unopened = |source| OpenError::Database { path: path.clone(), source };
        let pool = SqlitePoolOptions::new().acquire_timeout(ACQUIRE_TIMEOUT);
        // The writer first: it makes the file and switches it to WAL.
        let writer = pool.clone().max_connections(1).min_connections(1);
        let writer = writer.connect_with(options.clone()).await.map_err(unopened)?;
        let checkpoints = pool.clone().max_connections(1);
        let checkpoints = checkpoints.connect_lazy_with(options.clone().create_if_missing(false));
        let readers = pool.max_connections(READERS).min_connections(READERS);
        let readers = readers
            .connect_with(options.create_if_missing(false).pragma("query_only", "ON"))
            .await
            .map_err(unopened)?;
        let writer = Connections::exclusive(writer, "writer");
        let readers = Connections::new(readers, "readers");
        let checkpoints = Connections::new(checkpoints, "checkpoints");
        let has_upkeep = Arc::default();
        Ok(Self { writer, readers, checkpoints, has_upkeep, _lock: Arc::new(lock) })
    }

    pub(crate) async fn close(&self) {
        self.readers.pool().close().await;
        self.checkpoints.pool().close().await;
        self.writer.pool().close().await;
    }

    /// Whether nobody asked this before: only one does what has to be done again and again.
    pub(crate) fn is_first_upkeep(&self) -> bool {
        !self.has_upkeep.swap(true, Ordering::AcqRel)
    }

    /// The connections for a statement: what only reads waits for nobody.
    pub(crate) fn connections_for(&self, sql: &str) -> &Connections<sqlx::Sqlite> {
        if sql.starts_with(READS) { &self.readers } else { &self.writer }
    }
}

/// Makes the folder where it is missing and takes the lock file beside the database.
fn lock(file: &Path) -> Result<File, OpenError> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    let unusable = |source| unusable(folder, source);
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unusable)?;
    let mut name = file.as_os_str().to_owned();
    name.push(".lock");
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(PathBuf::from(name))
        .map_err(unusable)?;
    match lock.try_lock() {
        Ok(()) if fs::metadata(file).is_ok_and(|found| found.nlink() > 1) => {
            Err(OpenError::Linked(file.display().to_string()))
        }
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(folder.display().to_string())),
        Err(TryLockError::Error(source)) => Err(unusable(source)),
    }
}

fn unusable(path: &Path, source: io::Error) -> OpenError {
    OpenError::Folder { path: path.display().to_string(), source }
}
