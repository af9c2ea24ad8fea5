//! Moves what SQLite's write-ahead log holds into the file, on a connection of its own, so that no
//! commit does it while everybody waits for the connection that writes.
//!
//! A log is begun anew where all of it was moved and nothing was written since. Where writes never
//! pause that moment does not come by itself: then the last, short part is moved while the writing
//! connection is held.

use std::sync::Arc;
use std::time::Duration;

use latchkey_runtime::Child;
use latchkey_runtime::periodic::{self, PeriodicTask};

use crate::{Db, Sqlite, StoreError};

/// Moves what it can without holding anybody up: log frames in all, and those moved so far.
const MOVE: &str = "PRAGMA wal_checkpoint(PASSIVE)";
/// Pages in the log from which on it is to be begun anew: 16 MiB.
const LONG: i64 = 4_096;
/// Pages that are moved at most while the writing connection is held: 1 MiB, a few milliseconds.
const SHORT: i64 = 256;
/// Moves of one run at most.
const MOVES: usize = 4;

/// The chore.
struct Checkpointer(Sqlite);

/// How many pages the log holds, and how many of them are in the file as well.
#[derive(sqlx::FromRow)]
struct Moved {
    #[sqlx(rename = "log")]
    all: i64,
    #[sqlx(rename = "checkpointed")]
    moved: i64,
}

impl Db {
    /// What has to be done for the database again and again: for SQLite, and once for each that is open.
    #[must_use]
    pub fn upkeep(&self) -> Option<Child> {
        let Self::Sqlite(sqlite) = self else { return None };
        let chore = Arc::new(Checkpointer(sqlite.clone()));
        sqlite.is_first_upkeep().then(|| periodic::child("checkpoints", chore))
    }
}

impl Checkpointer {
    async fn checkpoint(&self) -> Result<(), StoreError> {
        let Self(sqlite) = self;
        for _ in 0..MOVES {
            let Moved { all, moved } = sqlite.checkpoints.moved().await?;
            match all - moved {
                // Nothing is left, or the log is short: the next run is soon.
                left if left <= 0 || all < LONG => return Ok(()),
                left if left <= SHORT => {
                    sqlite.writer.moved().await?;
                    return Ok(());
                }
                // As much again was written meanwhile.
                _ => {}
            }
        }
        Ok(())
    }
}

impl crate::connection::Connections<sqlx::Sqlite> {
    /// Moves what it can.
    async fn moved(&self) -> Result<Moved, StoreError> {
        let moved = self.fetch(MOVE, Ok(sqlx::sqlite::SqliteArguments::default())).await?;
        moved.into_iter().next().ok_or(StoreError::Unexpected("a checkpoint without an answer"))
    }
}

impl PeriodicTask for Checkpointer {
    const PAUSE: Duration = Duration::from_secs(1);
    const AT_THE_END: bool = false;

    async fn run(&self) {
        if let Err(error) = self.checkpoint().await {
            tracing::warn!(%error, "the write-ahead log cannot be moved into the database: the next checkpoint tries again");
        }
    }
}
