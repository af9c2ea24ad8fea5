//! What must not happen, judged by the true time, which nobody in the simulation knows.

use std::collections::BTreeMap;

/// What has happened so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Oracle {
    /// When the first revoke of a credential was sent, and when the first returned.
    sent: BTreeMap<u32, u64>,
    returned: BTreeMap<u32, u64>,
    pub(super) faults: Vec<String>,
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

    pub(super) fn fault(&mut self, what: String) {
        self.faults.push(what);
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.cached += other.cached;
        self.asked += other.asked;
        self.refused += other.refused;
        self.unavailable += other.unavailable;
        self.discarded += other.discarded;
        self.revokes += other.revokes;
        self.early += other.early;
        self.late += other.late;
        self.crashes += other.crashes;
    }
}
