//! A SQLite file: one connection that writes, a few that read, one process.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use latchkey_runtime::os::check_writable;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use crate::connection::Connections;
use crate::statement::READS;
use crate::{OpenError, address};

/// How a file begins that is a database.
const HEAD: &[u8] = b"SQLite format 3\0";
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
    /// Held for as long as the file is open, so that no second process opens it; but where it is only read.
    _lock: Option<Arc<File>>,
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
        check_place(&file)?;
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
        Ok(Self { writer, readers, checkpoints, has_upkeep, _lock: Some(Arc::new(lock)) })
    }

    /// The file as it is, also while another process has it: nothing is made, written or locked.
    pub(crate) async fn open_to_read(url: &str) -> Result<Self, OpenError> {
        let options = SqliteConnectOptions::from_str(url).map_err(|_secret| OpenError::Address)?;
        let file = address::found(options.get_filename());
        let file = file.map_err(|source| unusable(options.get_filename(), source))?;
        let path = file.display().to_string();
        let options = options.filename(&file).read_only(true).create_if_missing(false);
        let options = options.busy_timeout(BUSY_TIMEOUT).pragma("query_only", "ON");
        let pool = SqlitePoolOptions::new().acquire_timeout(ACQUIRE_TIMEOUT).max_connections(1);
        let pool = pool.connect_with(options).await;
        let pool = pool.map_err(|source| OpenError::Database { path, source })?;
        let connections = Connections::new(pool, "readers");
        Ok(Self {
            writer: connections.clone(),
            readers: connections.clone(),
            checkpoints: connections,
            has_upkeep: Arc::default(),
            _lock: None,
        })
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

/// Refuses a place where no database can be opened or made, as far as that can be seen without touching it: a start does
/// this first, and so does a check of the configuration.
///
/// # Errors
/// [`OpenError`] says what is wrong with the file or its folder.
pub fn check_place(file: &Path) -> Result<(), OpenError> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    // The first folder above that is there has to let the next one be made.
    let nearest = folder.ancestors().find(|path| path.symlink_metadata().is_ok());
    let nearest = nearest.unwrap_or(Path::new("/"));
    let is_folder = nearest.is_dir().then_some(()).ok_or(io::ErrorKind::NotADirectory.into());
    is_folder.and_then(|()| check_writable(nearest)).map_err(|source| unusable(folder, source))?;
    for path in [file, &lock_file(file)] {
        if path.symlink_metadata().is_ok() {
            let is_file = path.is_file().then_some(()).ok_or(io::Error::other("it is no file"));
            is_file.and_then(|()| check_writable(path)).map_err(|source| unusable(path, source))?;
        }
    }
    match head(file) {
        Ok(head) if head.is_empty() || head == HEAD => {}
        Ok(_other) => return Err(OpenError::NoDatabase(file.display().to_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(unusable(file, source)),
    }
    // Whoever uses it is told that it is in use, whatever else is wrong.
    if fs::metadata(file).is_ok_and(|found| found.nlink() > 1) && !is_locked(&lock_file(file)) {
        return Err(OpenError::Linked(file.display().to_string()));
    }
    Ok(())
}

/// The first bytes of a file, as many as [`HEAD`] has.
fn head(file: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let length = u64::try_from(HEAD.len()).unwrap_or(u64::MAX);
    File::open(file)?.take(length).read_to_end(&mut head)?;
    Ok(head)
}

fn is_locked(path: &Path) -> bool {
    let shared = File::open(path).map(|lock| lock.try_lock_shared());
    matches!(shared, Ok(Err(TryLockError::WouldBlock)))
}

fn lock_file(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

/// Makes the folder where it is missing and takes the lock file beside the database.
fn lock(file: &Path) -> Result<File, OpenError> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    let unusable = |source| unusable(folder, source);
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unusable)?;
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(lock_file(file))
        .map_err(unusable)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(folder.display().to_string())),
        Err(TryLockError::Error(source)) => Err(unusable(source)),
    }
}

fn unusable(path: &Path, source: io::Error) -> OpenError {
    OpenError::Folder { path: path.display().to_string(), source }
}
