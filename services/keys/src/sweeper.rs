//! Deletes keys that nobody can use or wants to see any more, and answers that are kept no longer, a bounded number at a time.
//!
//! One replica at a time does it. Two that do it side by side delete the same rows once: whether a key is deleted its own
//! row says, whose expiry never changes.

use std::time::Duration;

use latchkey_contract::Timestamp;
use latchkey_runtime::Clock;
use latchkey_runtime::periodic::PeriodicTask;
use latchkey_store::{Db, StoreError};

use crate::store::idempotency;
use crate::{NAME, store};

/// How long a key stays in its owner's list after it expired, in milliseconds.
pub const RETENTION: i64 = 90 * Timestamp::DAY;
/// Rows that one statement deletes at most.
const BATCH: i64 = 500;
/// Statements of one run at most.
const BATCHES: usize = 20;

/// Sweeps the service's table.
pub struct Sweeper {
    /// Where the table is.
    pub db: Db,
    /// What time it is.
    pub clock: Clock,
}

impl PeriodicTask for Sweeper {
    /// A release that lengthens it is robbed of the row by replicas of the release before: to them a hold that is
    /// longer than theirs was stamped before the clock was set back.
    const PAUSE: Duration = Duration::from_mins(1);
    const AT_THE_END: bool = false;

    async fn run(&self) {
        if let Err(error) = self.sweep().await {
            tracing::warn!(service = NAME, %error, "expired keys cannot be deleted: the next sweep tries again");
        }
        if let Err(error) = self.sweep_answers().await {
            tracing::warn!(service = NAME, %error, "kept answers cannot be deleted: the next sweep tries again");
        }
    }
}

impl Sweeper {
    /// One sweep; the number of rows it deleted.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn sweep(&self) -> Result<u64, StoreError> {
        let before = Timestamp(self.clock.unix_millis()).plus(-RETENTION);
        let mut swept = 0;
        for _ in 0..BATCHES {
            let deleted = store::delete_expired(&self.db, before, BATCH).await?;
            swept += deleted;
            if deleted == 0 {
                break;
            }
        }
        Ok(swept)
    }

    /// One sweep of the answers that were kept for whoever might ask again; the number of rows it deleted.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn sweep_answers(&self) -> Result<u64, StoreError> {
        let until = Timestamp(self.clock.unix_millis()).plus(-idempotency::RETENTION);
        let mut swept = 0;
        for _ in 0..BATCHES {
            let deleted = idempotency::delete_old(&self.db, until, BATCH).await?;
            swept += deleted;
            if deleted == 0 {
                break;
            }
        }
        Ok(swept)
    }
}
