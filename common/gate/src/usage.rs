//! Tells the key service when keys were used: counted in memory, reported in batches, so that no
//! request waits for it. What is not reported when the process dies is lost: it is a convenience.

use std::collections::HashMap;
use std::mem;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use latchkey_bus::{Context, RequestId};
use latchkey_contract::keys::RecordUses;
use latchkey_contract::{KeyId, KeyPrincipal, Rpc, Timestamp};
use latchkey_runtime::periodic::Chore;

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

    /// Counts a use of `key` at `now`. The first in each report is enough.
    pub fn note(&self, key: &Remembered<KeyPrincipal>, now: Timestamp) {
        if !key.is_first_in(self.report.load(Ordering::Relaxed)) {
            return;
        }
        let key = key.key;
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < MAX_WAITING || waiting.contains_key(&key) {
            waiting.insert(key, now);
        }
    }

    fn take(&self) -> Vec<(KeyId, Timestamp)> {
        self.report.fetch_add(1, Ordering::Relaxed);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        mem::take(&mut *waiting).into_iter().collect()
    }
}

impl Chore for UsageReporter {
    const PAUSE: Duration = Duration::from_secs(2);
    const AT_THE_END: bool = true;

    async fn run(&self) {
        let uses = self.take();
        for batch in uses.chunks(RecordUses::MAX) {
            let id = format!("usage-{:016x}", u64::from_ne_bytes(self.deps.entropy.bytes()));
            let context = Context::new(RequestId::new(&id), RecordUses::TIMEOUT);
            let report = RecordUses { uses: batch.to_vec() };
            if let Err(error) = self.deps.bus.call(&context, &report).await {
                tracing::warn!(service = self.deps.name, request_id = id, %error, "uses are not reported");
            }
        }
    }
}
