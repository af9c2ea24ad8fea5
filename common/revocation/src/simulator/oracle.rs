//! What must not happen, judged by the true time, which nobody in the simulation knows.

use std::collections::BTreeMap;

/// What has happened so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Oracle {
    /// When the first revoke of a credential was sent, and when the first returned.
    sent: BTreeMap<u32, u64>,
    returned: BTreeMap<u32, u64>,
    /// How often each owner was to be disabled or enabled.
    settings: BTreeMap<i64, u64>,
    /// Whether an owner is enabled, and since when that is certain.
    settled: BTreeMap<i64, (bool, u64)>,
    pub(super) faults: Vec<String>,
    pub(super) disabled: usize,
    pub(super) requests: usize,
    pub(super) cached: usize,
    pub(super) asked: usize,
    pub(super) refused: usize,
    pub(super) unavailable: usize,
    pub(super) discarded: usize,
    pub(super) revokes: usize,
    pub(super) early: usize,
    pub(super) late: usize,
    pub(super) crashes: usize,
}

impl Oracle {
    pub(super) fn revoke_sent(&mut self, credential: u32, now: u64) {
        self.sent.entry(credential).or_insert(now);
    }

    pub(super) fn revoke_returned(&mut self, credential: u32, now: u64) {
        self.returned.entry(credential).or_insert(now);
    }

    /// A credential was accepted; `since` is when its request began, or when it was decided, which is
    /// more than is promised.
    pub(super) fn accepted(&mut self, credential: u32, since: u64, how: &str) {
        if let Some(returned) = self.returned.get(&credential).filter(|at| **at < since) {
            let late = (since - returned) / 1_000;
            self.faults.push(format!("{credential} accepted {late} us after the return, {how}"));
        }
    }

    /// A credential was refused.
    pub(super) fn refused(&mut self, credential: u32, now: u64) {
        self.refused += 1;
        if self.sent.get(&credential).is_none_or(|sent| now < *sent) {
            self.faults.push(format!("{credential} refused before any revoke of it was sent"));
        }
    }

    /// It was asked for an owner to be disabled or enabled: until that has returned nothing is certain of it. The
    /// number tells this change from those before.
    pub(super) fn setting_sent(&mut self, owner: i64) -> u64 {
        self.settled.remove(&owner);
        let settings = self.settings.entry(owner).or_default();
        *settings += 1;
        *settings
    }

    /// That change has returned; it counts unless another one was sent since.
    pub(super) fn setting_returned(&mut self, owner: i64, setting: u64, enabled: bool, now: u64) {
        if self.settings.get(&owner) == Some(&setting) {
            self.settled.insert(owner, (enabled, now));
        }
    }

    /// A credential was accepted whose owner is this; `since` as above.
    pub(super) fn accepted_of(&mut self, owner: i64, since: u64, how: &str) {
        let settled = self.settled.get(&owner).filter(|(enabled, at)| !enabled && *at < since);
        if let Some((_, returned)) = settled {
            let late = (since - returned) / 1_000;
            let fault = format!("of owner {owner} accepted {late} us after the return, {how}");
            self.faults.push(fault);
        }
    }

    /// A credential was refused because its owner is disabled; `since` is as for an accept.
    pub(super) fn refused_as_disabled(&mut self, owner: i64, since: u64, how: &str) {
        self.disabled += 1;
        let settled = self.settled.get(&owner).filter(|(enabled, at)| *enabled && *at < since);
        if let Some((_, returned)) = settled {
            let late = (since - returned) / 1_000;
            let fault =
                format!("owner {owner} disabled {late} us after the enable returned, {how}");
            self.faults.push(fault);
        }
    }

    pub(super) fn fault(&mut self, what: String) {
        self.faults.push(what);
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.cached += other.cached;
        self.asked += other.asked;
        self.refused += other.refused;
        self.disabled += other.disabled;
        self.unavailable += other.unavailable;
        self.discarded += other.discarded;
        self.revokes += other.revokes;
        self.early += other.early;
        self.late += other.late;
        self.crashes += other.crashes;
    }
}
