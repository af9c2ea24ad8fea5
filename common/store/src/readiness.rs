//! Whether a database takes writes: what became of the last ones, and, where that is long ago, of a write
//! that changes nothing.

use std::time::Duration;

use latchkey_contract::Unavailable;

use crate::connection::Connections;
use crate::{Db, StoreError};

/// What a write has shown is not asked again for as long.
const FRESH: Duration = Duration::from_secs(1);
/// How long a server is taken for full after a write found it so: nothing is written there to find out.
const REMEMBERED: Duration = Duration::from_secs(5);
/// A write of a page that changes nothing: nobody reads this number.
const PROBE: &str = "PRAGMA user_version = 1";

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
