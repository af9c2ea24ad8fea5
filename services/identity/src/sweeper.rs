//! Deletes what has no meaning any more: expired sessions and old failed logins, a bounded number at
//! a time, so that no sweep holds the database for long.

use std::time::Duration;

use latchkey_contract::Timestamp;
use latchkey_runtime::Clock;
use latchkey_runtime::periodic::Chore;
use latchkey_store::Db;

use crate::NAME;
use crate::store::{session, throttle};
use crate::throttle::FORGET_AFTER;

/// Rows that one statement deletes at most.
pub const BATCH: i64 = 500;
/// Statements of one run at most, of each kind.
const BATCHES: usize = 20;

/// Sweeps the service's tables.
pub struct Sweeper {
    /// Where the tables are.
    pub db: Db,
    /// What time it is.
    pub clock: Clock,
}

impl Chore for Sweeper {
    const PAUSE: Duration = Duration::from_mins(1);
    const AT_THE_END: bool = false;

    async fn run(&self) {
        if let Err(error) = self.sweep().await {
            tracing::warn!(service = NAME, %error, "expired rows stay until the next sweep");
        }
    }
}

impl Sweeper {
    /// One sweep; the number of rows it deleted.
    ///
    /// # Errors
    /// What the database said instead.
    pub async fn sweep(&self) -> Result<u64, sqlx::Error> {
        let now = Timestamp(self.clock.unix_millis());
        let mut swept = 0;
        for _ in 0..BATCHES {
            let sessions = session::delete_expired(&self.db, now, BATCH).await?;
            let failures = throttle::delete_old(&self.db, now.plus(-FORGET_AFTER), BATCH).await?;
            swept += sessions + failures;
            if sessions + failures == 0 {
                break;
            }
        }
        Ok(swept)
    }
}
