//! Tells the key service when keys were used: counted in memory, reported in batches, so that no
//! request waits for it. What is not reported when the process dies is lost: it is a convenience.

use std::collections::HashMap;
use std::mem;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use latchkey_bus::{Context, RequestId};
use latchkey_contract::keys::RecordUses;
use latchkey_contract::{KeyId, Rpc, Timestamp};
use latchkey_runtime::lock::lock_or_begin_anew;
use latchkey_runtime::periodic::PeriodicTask;

use crate::{Deps, Remembered};

/// Keys that wait to be reported at most; uses of further ones are not counted until the next report.
const MAX_WAITING: usize = 100_000;

/// The uses since the last report.
pub struct UsageReporter {
    deps: Deps,
    waiting: Mutex<HashMap<KeyId, Timestamp>>,
    /// Which report is collected. It begins with 1: a key starts with 0.
    report: AtomicU32,
}

impl UsageReporter {
    /// Nothing waits yet.
    #[must_use]
    pub fn new(deps: &Deps) -> Self {
        Self { deps: deps.clone(), waiting: Mutex::default(), report: AtomicU32::new(1) }
    }

    /// Counts a use at this moment, where it is a key's. The first in each report is enough.
    pub fn note(&self, used: &Remembered, now: impl FnOnce() -> Timestamp) {
        if !used.is_first_in(self.report.load(Ordering::Relaxed)) {
            return;
        }
        let Some(key) = used.key().map(|key| key.id) else { return };
        let mut waiting = self.waiting();
        if waiting.len() < MAX_WAITING || waiting.contains_key(&key) {
            waiting.insert(key, now());
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<KeyId, Timestamp>> {
        lock_or_begin_anew(&self.waiting, "uses that wait to be reported", HashMap::clear)
    }

    pub(crate) fn take(&self) -> Vec<(KeyId, Timestamp)> {
        self.report.fetch_add(1, Ordering::Relaxed);
        mem::take(&mut *self.waiting()).into_iter().collect()
    }
}

impl PeriodicTask for UsageReporter {
    const PAUSE: Duration = Duration::from_secs(2);
    const AT_THE_END: bool = true;

    async fn run(&self) {
        let uses = self.take();
        for batch in uses.chunks(RecordUses::MAX) {
            let id = format!("usage-{:016x}", u64::from_ne_bytes(self.deps.entropy.bytes()));
            let context = Context::new(RequestId::new(&id), RecordUses::TIMEOUT);
            let report = RecordUses { uses: batch.to_vec() };
            if let Err(error) = self.deps.bus.call(&context, &report).await {
                tracing::warn!(service = self.deps.name, request_id = id, %error, "the uses of keys cannot be reported");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use latchkey_bus::Bus;
    use latchkey_runtime::{Clock, Entropy};

    use super::*;
    use crate::played::{EXPIRY, Played, person, program};

    fn used(id: i64) -> Remembered {
        Remembered::new(program(id, EXPIRY))
    }

    fn reporter(bus: Bus) -> UsageReporter {
        let (clock, entropy) = (Clock::manual(0), Entropy::seeded(1));
        UsageReporter::new(&Deps { name: "edge", bus, clock, entropy })
    }

    #[tokio::test]
    async fn every_use_is_in_one_report_and_no_report_holds_more_than_a_message() {
        let (bus, played) = (Bus::local(), Played::new());
        let _serving = played.serve_keys(&bus).await;
        let reporter = reporter(bus);
        let keys = i64::try_from(RecordUses::MAX).unwrap() + 1;
        for id in 1..=keys {
            reporter.note(&used(id), || Timestamp(id));
        }
        reporter.note(&Remembered::new(person(true)), || Timestamp(9));
        reporter.run().await;
        reporter.run().await;
        let mut uses = played.script(|it| it.uses.clone());
        uses.sort_unstable_by_key(|(key, _)| *key);
        let expected: Vec<_> = (1..=keys).map(|id| (KeyId(id), Timestamp(id))).collect();
        assert_eq!(uses, expected);
    }

    #[test]
    fn a_key_is_counted_once_for_each_report() {
        let (reporter, key) = (reporter(Bus::local()), used(1));
        for at in [Timestamp(1), Timestamp(2)] {
            reporter.note(&key, || at);
        }
        assert_eq!(reporter.take(), [(KeyId(1), Timestamp(1))]);
        reporter.note(&key, || Timestamp(3));
        assert_eq!(reporter.take(), [(KeyId(1), Timestamp(3))]);
        assert_eq!(reporter.take(), []);
    }

    #[test]
    fn the_keys_that_wait_have_a_bound() {
        let reporter = reporter(Bus::local());
        let max = i64::try_from(MAX_WAITING).unwrap();
        *reporter.waiting.lock().unwrap() = (1..max).map(|id| (KeyId(id), Timestamp(0))).collect();
        // The last for whom there is room, one for whom there is none, and one that waits already.
        for id in [max, max + 1, 1] {
            reporter.note(&used(id), || Timestamp(5));
        }
        let waiting: HashMap<_, _> = reporter.take().into_iter().collect();
        assert_eq!(waiting.len(), MAX_WAITING);
        let at = |id| waiting.get(&KeyId(id)).copied();
        assert_eq!((at(max), at(max + 1)), (Some(Timestamp(5)), None));
        assert_eq!((at(1), at(2)), (Some(Timestamp(5)), Some(Timestamp(0))));
    }
}
