//! Whether a database takes writes: what became of the last ones, and, where that is long ago, of a write
//! that changes nothing. Readiness asks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use latchkey_contract::Unavailable;
use tokio::time::Instant;

use crate::connection::Connections;
use crate::{Db, StoreError, error};

/// What a write has shown is not asked again for as long.
const FRESH: Duration = Duration::from_secs(1);
/// How long a server is taken for full after a write found it so: nothing is written there to find out.
const REMEMBERED: Duration = Duration::from_secs(5);
/// A write of a page that changes nothing: nobody reads this number.
const PROBE: &str = "PRAGMA user_version = 1";

/// What became of the last writes.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    last: Mutex<Option<Last>>,
    is_probed: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    at: Instant,
    is_done: bool,
}

/// The one write at a time that finds out.
struct Probe<'a>(&'a AtomicBool);

impl Writes {
    /// Takes the end of a write; errors that say nothing of the disk are passed over.
    #[expect(clippy::disallowed_methods, reason = "each change is one assignment")]
    pub(crate) fn note(&self, outcome: Result<(), &StoreError>) {
        let is_done = match outcome {
            Ok(()) => true,
            Err(StoreError::Away { cause, .. }) if error::is_no_room(cause) => false,
            Err(_) => return,
        };
        let last = Last { at: Instant::now(), is_done };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
    }

    /// The last write, if it was not long ago.
    fn lately(&self, span: Duration) -> Option<bool> {
        #[expect(clippy::disallowed_methods, reason = "each change is one assignment")]
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.filter(|last| last.at.elapsed() < span).map(|last| last.is_done)
    }

    fn probe(&self) -> Option<Probe<'_>> {
        (!self.is_probed.swap(true, Ordering::AcqRel)).then_some(Probe(&self.is_probed))
    }
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Db {
    /// Whether the database answers and takes writes. A SQLite file is written to where nobody has
    /// done that for a second.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn check_ready(&self) -> Result<(), StoreError> {
        self.ping().await?;
        match self {
            Self::Sqlite(sqlite) => check_writes(&sqlite.writer).await,
            Self::Postgres(postgres) => match postgres.connections.writes().lately(REMEMBERED) {
                Some(false) => Err(StoreError::NoRoom(Unavailable)),
                Some(true) | None => Ok(()),
            },
        }
    }
}

async fn check_writes(writer: &Connections<sqlx::Sqlite>) -> Result<(), StoreError> {
    let state = writer.writes();
    let known = state.lately(FRESH);
    if known.is_none()
        && let Some(_probing) = state.probe()
    {
        let none = Ok(sqlx::sqlite::SqliteArguments::default());
        let written = writer.execute(PROBE, none).await.map(drop);
        state.note(written.as_ref().copied());
        return written;
    }
    // Somebody else may be about to know: until then what was known before.
    let known = known.or_else(|| state.lately(Duration::MAX));
    if known == Some(false) { Err(StoreError::NoRoom(Unavailable)) } else { Ok(()) }
}
