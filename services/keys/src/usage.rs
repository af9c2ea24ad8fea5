//! When keys were last used: counted in memory, written in batches, so that no request writes.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use latchkey_bus::Context;
use latchkey_contract::keys::RecordUses;
use latchkey_contract::{Failure, FieldError, KeyId, Refusal, Timestamp};
use latchkey_runtime::periodic::PeriodicTask;
use latchkey_store::Db;

use crate::{Keys, NAME, store};

/// Keys whose uses wait to be written at most; beyond, uses of further keys are told to come later.
const MAX_WAITING: usize = 100_000;
/// How late a use may be told, in milliseconds. What is written repairs what lies further ahead than this and
/// [`MAX_SKEW`]: `store::RECORD_USES` has the sum.
const MAX_AGE: i64 = 60 * 60 * Timestamp::SECOND;
/// How far the clock of whoever tells may be ahead, in milliseconds.
const MAX_SKEW: i64 = 10 * Timestamp::SECOND;
/// Rows that one statement writes at most.
const BATCH: usize = 500;

/// The latest uses that are not written yet.
pub struct UsageLedger {
    db: Db,
    waiting: Mutex<HashMap<KeyId, Timestamp>>,
}

impl UsageLedger {
    /// Nothing waits yet.
    #[must_use]
    pub fn new(db: Db) -> Self {
        Self { db, waiting: Mutex::default() }
    }

    /// Takes what is told at `now`. No use lies in the future, and none is told so late that it is of interest:
    /// a reporter whose clock is wrong pins nothing.
    fn report(&self, uses: Vec<(KeyId, Timestamp)>, now: Timestamp) -> Result<(), Failure> {
        self.note(believed(uses, now))
    }

    fn note(&self, uses: Vec<(KeyId, Timestamp)>) -> Result<(), Failure> {
        let mut waiting = self.table();
        if waiting.len() + uses.len() > MAX_WAITING {
            return Err(Failure::Overloaded);
        }
        for (key, at) in uses {
            let latest = waiting.entry(key).or_insert(at);
            *latest = at.max(*latest);
        }
        Ok(())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "each change is one step of a map: it is whole after a panic, too"
    )]
    fn table(&self) -> MutexGuard<'_, HashMap<KeyId, Timestamp>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PeriodicTask for UsageLedger {
    const PAUSE: Duration = Duration::from_secs(3);
    const AT_THE_END: bool = true;

    async fn run(&self) {
        let mut uses: Vec<_> = mem::take(&mut *self.table()).into_iter().collect();
        // So that replicas that write the same keys seldom wait for each other.
        uses.sort_unstable_by_key(|(key, _)| *key);
        for batch in uses.chunks(BATCH) {
            if let Err(error) = store::record_uses(&self.db, batch).await {
                tracing::warn!(service = NAME, %error, "the latest uses of keys cannot be written yet: they are written later");
                // Uses that do not fit beside newer ones are lost: they are a convenience.
                drop(self.note(batch.to_vec()));
            }
        }
    }
}

/// What is believed at `now` of a report.
fn believed(uses: Vec<(KeyId, Timestamp)>, now: Timestamp) -> Vec<(KeyId, Timestamp)> {
    let (oldest, latest) = (now.plus(-MAX_AGE), now.plus(MAX_SKEW));
    let recent = uses.into_iter().filter(|(_, at)| *at >= oldest);
    recent.map(|(key, at)| (key, at.min(latest))).collect()
}

/// Takes an edge's report.
pub(crate) async fn record(
    keys: Arc<Keys>,
    _: Context,
    request: RecordUses,
) -> Result<(), Failure> {
    if request.uses.len() > RecordUses::MAX {
        let fault = FieldError::new("uses", format!("must be at most {}", RecordUses::MAX));
        return Err(Refusal::Invalid(vec![fault]).into());
    }
    keys.usage.report(request.uses, keys.now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_lies_neither_in_the_future_nor_long_ago() {
        let now = Timestamp(1_764_975_600_000);
        let told = |at: Timestamp| believed(vec![(KeyId(1), at)], now);
        for at in [now, now.plus(-MAX_AGE), now.plus(MAX_SKEW)] {
            assert_eq!(told(at), [(KeyId(1), at)]);
        }
        for at in [now.plus(MAX_SKEW + 1), now.plus(1_000 * Timestamp::DAY), Timestamp(i64::MAX)] {
            assert_eq!(told(at), [(KeyId(1), now.plus(MAX_SKEW))]);
        }
        for at in [now.plus(-MAX_AGE - 1), Timestamp(0), Timestamp(i64::MIN)] {
            assert_eq!(told(at), []);
        }
    }
}
