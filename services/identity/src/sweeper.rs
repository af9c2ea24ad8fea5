//! Deletes what has no meaning any more: expired sessions and refresh tokens, old failed logins and clients, a bounded number at
//! a time, so that no sweep holds the database for long. Names that a replica of the release before wrote
//! without their folded forms get them here.
//!
//! One replica at a time does it. Two that do it side by side do no harm: each statement decides by the rows as they are
//! and by a moment that lies the further back the longer a sweeper was paused, and a name is folded only where it is not.

use std::time::Duration;

use latchkey_contract::Timestamp;
use latchkey_runtime::Clock;
use latchkey_runtime::periodic::PeriodicTask;
use latchkey_store::{Db, StoreError};

use crate::NAME;
use crate::store::{client, names, refresh, session, throttle};
use crate::throttle::{FORGET_AFTER, FORGET_BLOCKED_AFTER, FORGET_CLIENT_AFTER};

/// Rows that one statement deletes, and accounts whose names are folded, at most.
pub const BATCH: i64 = 500;
/// Statements of one run at most, of each kind.
const BATCHES: usize = 20;
/// How long a session's row stays after it expired, in milliseconds: a late or repeated message about it
/// still finds what was done.
const KEPT: i64 = 60 * 60 * Timestamp::SECOND;

/// Sweeps the service's tables.
pub struct Sweeper {
    /// Where the tables are.
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
            tracing::warn!(service = NAME, %error, "expired rows cannot be deleted: the next sweep tries again");
        }
        if let Err(error) = names::fold(&self.db, BATCH).await {
            tracing::warn!(service = NAME, %error, "usernames cannot be folded: the next sweep tries again");
        }
    }
}

impl Sweeper {
    /// One sweep; the number of rows it deleted.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn sweep(&self) -> Result<u64, StoreError> {
        let now = Timestamp(self.clock.unix_millis());
        let mut swept = 0;
        for _ in 0..BATCHES {
            let tokens = refresh::delete_expired(&self.db, now.plus(-KEPT), BATCH).await?;
            let sessions = session::delete_expired(&self.db, now.plus(-KEPT), BATCH).await?;
            let sessions = sessions + tokens;
            let (quiet, blocked) = (now.plus(-FORGET_AFTER), now.plus(-FORGET_BLOCKED_AFTER));
            let failures = throttle::delete_old(&self.db, quiet, blocked, BATCH).await?;
            let before = now.plus(-FORGET_CLIENT_AFTER);
            let clients = client::delete_old(&self.db, before, BATCH).await?;
            swept += sessions + failures + clients;
            if sessions + failures + clients == 0 {
                break;
            }
        }
        Ok(swept)
    }
}
