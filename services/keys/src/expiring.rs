//! Counts keys that are in use and expire soon, so that none ends without anybody expecting it: a metric, and its alarm.
//!
//! One replica at a time counts, and the others say 0. Two that do it side by side say the same.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use latchkey_contract::Timestamp;
use latchkey_runtime::Clock;
use latchkey_runtime::periodic::PeriodicTask;
use latchkey_store::{Db, StoreError};
use metrics::{Gauge, gauge};

use crate::NAME;
use crate::store::expiring::{Expiring, Horizon, count};

/// How soon is soon, in milliseconds.
const WEEK: i64 = 7 * Timestamp::DAY;
/// How soon is soon to whoever plans ahead, in milliseconds.
const MONTH: i64 = 30 * Timestamp::DAY;
/// A key is in use that was used this long ago, in milliseconds.
const IN_USE: i64 = 30 * Timestamp::DAY;
/// Keys that one count looks at, those that expire next first: where more expire within a month it is too low.
pub const MAX_KEYS: i64 = 100_000;
/// How long a count holds, in nanoseconds: 5 minutes.
const HOLDS: u64 = 300_000_000_000;

/// The chore.
pub struct ExpiryCounter {
    db: Db,
    clock: Clock,
    week: Gauge,
    month: Gauge,
    /// When was counted last, by the clock of leases; 0 where another replica counts.
    counted_at: AtomicU64,
}

impl ExpiryCounter {
    /// A counter of the keys in `db`.
    #[must_use]
    pub fn new(db: Db, clock: Clock) -> Self {
        let within = |days: &'static str| gauge!("latchkey_keys_expiring", "within" => days);
        let counter = Self {
            db,
            clock,
            week: within("7d"),
            month: within("30d"),
            counted_at: AtomicU64::new(0),
        };
        counter.show(Expiring::default());
        counter
    }

    /// Counts them now.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn count(&self) -> Result<Expiring, StoreError> {
        let now = Timestamp(self.clock.unix_millis());
        let horizon = Horizon {
            now,
            week: now.plus(WEEK),
            month: now.plus(MONTH),
            used_since: now.plus(-IN_USE),
            max: MAX_KEYS,
        };
        count(&self.db, horizon).await
    }

    #[expect(clippy::cast_precision_loss, reason = "a metric is a float")]
    fn show(&self, expiring: Expiring) {
        self.week.set(expiring.week as f64);
        self.month.set(expiring.month as f64);
    }
}

impl PeriodicTask for ExpiryCounter {
    /// Longer than a count takes and shorter than it `HOLDS`, so that soon after its start, or the end of another
    /// replica, this one has counted.
    const PAUSE: Duration = Duration::from_secs(10);
    const AT_THE_END: bool = false;

    async fn run(&self) {
        let (now, last) = (self.clock.lease_nanos(), self.counted_at.load(Ordering::Relaxed));
        if last != 0 && now.saturating_sub(last) < HOLDS {
            return;
        }
        match self.count().await {
            Ok(expiring) => {
                self.show(expiring);
                self.counted_at.store(now.max(1), Ordering::Relaxed);
            }
            Err(error) => {
                tracing::warn!(service = NAME, %error, "keys that expire soon are counted later");
            }
        }
    }

    fn stand_by(&self) {
        self.counted_at.store(0, Ordering::Relaxed);
        self.show(Expiring::default());
    }
}
