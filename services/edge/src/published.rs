//! The keys that anybody may check tokens by, as identity says: remembered for a moment, so that many who ask are one
//! question. What is over by the clock is not shown, whenever it was read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use latchkey_bus::{Bus, Context};
use latchkey_contract::signing::{PublishedKey, PublishedKeys, ReadSigningKeys};
use latchkey_contract::{CallError, Timestamp};
use latchkey_runtime::Clock;

/// How long an answer is remembered.
const REMEMBERED: Duration = Duration::from_secs(1);

/// The keys, as they were read last.
pub(crate) struct Published {
    bus: Bus,
    clock: Clock,
    last: Mutex<Option<Last>>,
}

#[derive(Clone)]
struct Last {
    /// When it was asked for, by the clock of leases.
    asked: u64,
    keys: Arc<PublishedKeys>,
}

impl Published {
    /// Nothing was read yet.
    pub(crate) fn new(bus: Bus, clock: Clock) -> Self {
        Self { bus, clock, last: Mutex::default() }
    }

    /// What identity says, or said a moment ago.
    ///
    /// # Errors
    /// [`CallError`] where it does not answer.
    pub(crate) async fn read(&self, context: &Context) -> Result<Arc<PublishedKeys>, CallError> {
        let asked = self.clock.lease_nanos();
        let last = self.lock().clone();
        if let Some(last) = last.filter(|last| is_fresh(last, asked)) {
            return Ok(last.keys);
        }
        let keys = Arc::new(self.bus.call(context, &ReadSigningKeys).await?);
        let newer = Last { asked, keys: Arc::clone(&keys) };
        let mut last = self.lock();
        // Answers may come in any order.
        if last.as_ref().is_none_or(|last| last.asked < asked) {
            *last = Some(newer);
        }
        Ok(keys)
    }

    /// Those of them that are published at this moment.
    pub(crate) fn present<'a>(
        &self,
        published: &'a PublishedKeys,
    ) -> impl Iterator<Item = &'a PublishedKey> {
        let now = Timestamp(self.clock.unix_millis());
        published.keys.iter().filter(move |key| key.until.is_none_or(|until| now < until))
    }

    #[expect(clippy::disallowed_methods, reason = "each change is one assignment")]
    fn lock(&self) -> MutexGuard<'_, Option<Last>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_fresh(last: &Last, now: u64) -> bool {
    Duration::from_nanos(now.saturating_sub(last.asked)) < REMEMBERED
}
