//! Token buckets in memory, one a client: a bounded number of them, and a bounded amount of work for each
//! request, whoever floods the table.
//!
//! A bucket is the moment at which it is full again (the generic cell rate algorithm). One that is full is
//! the same as none, and only such a one gives its place to another client: being forgotten gives nobody
//! a fresh one. Where none is found, clients share buckets by their group, which are a fixed number: a
//! flood gets no free tries from it, and others who come meanwhile are not turned away for it.
//!
//! governor's own table can be bounded only by sweeping all of it, and a store that is put in its place is
//! not told the time.

use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use latchkey_contract::UserId;
use latchkey_runtime::Bounded;

use crate::address::ClientAddress;

/// Parts of a table, each under a lock of its own. They are many so that each is small: a part that
/// grows copies itself, within one request.
const SHARDS: usize = 256;
/// Clients in one part at most: some 100,000 in all.
const PER_SHARD: usize = 400;
/// Buckets that clients share while the table is full.
const SHARED: usize = 4_096;

/// How much is allowed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quota {
    /// So many at once,
    pub(super) burst: u64,
    /// and one more after each so many milliseconds.
    pub(super) interval: NonZeroU64,
}

/// What a limit counts by.
pub(super) trait Grouped: Copy + Eq + Hash {
    /// Clients that share a bucket while the table is full.
    fn group(&self) -> impl Hash;
}

/// The buckets of one limit.
pub(super) struct Buckets<K> {
    quota: Quota,
    /// When each client's bucket is full again, in milliseconds on the clock of every `now`.
    shards: Box<[Mutex<Bounded<K, u64>>]>,
    /// The same of those that are shared.
    shared: Box<[AtomicU64]>,
    /// Keyed afresh in each process: nobody can choose with whom they share.
    hasher: RandomState,
}

impl Quota {
    /// When a bucket that is full at `full_at` is full after `count` more requests at `now`, or for how many
    /// milliseconds there are none.
    fn take(self, full_at: u64, count: u64, now: u64) -> Result<u64, u64> {
        let taken = self.interval.get().saturating_mul(count);
        let after = full_at.max(now).saturating_add(taken);
        let max = now.saturating_add(self.burst.saturating_mul(self.interval.get()));
        if after > max { Err(after - max) } else { Ok(after) }
    }
}

impl<K: Grouped> Buckets<K> {
    pub(super) fn new(quota: Quota) -> Self {
        let shard = || Mutex::new(Bounded::new(PER_SHARD));
        Self {
            quota,
            shards: (0..SHARDS).map(|_| shard()).collect(),
            shared: (0..SHARED).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
        }
    }

    /// Counts so many requests of `client` at `now`, in milliseconds: all of them, or none.
    ///
    /// # Errors
    /// For how many milliseconds there are not so many more.
    pub(super) fn take(&self, client: K, count: u64, now: u64) -> Result<(), u64> {
        let Some(shard) = self.shards.get(self.place(client, SHARDS)) else { return Ok(()) };
        #[expect(
            clippy::disallowed_methods,
            reason = "nothing panics while plain values are changed; one begun anew would give fresh tries"
        )]
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(full_at) = shard.find(&client) {
            *full_at = self.quota.take(*full_at, count, now)?;
            return Ok(());
        }
        if shard.insert(client, self.quota.take(0, count, now)?, |full_at| *full_at <= now) {
            return Ok(());
        }
        drop(shard);
        self.take_shared(&client, count, now)
    }

    fn take_shared(&self, client: &K, count: u64, now: u64) -> Result<(), u64> {
        let Some(bucket) = self.shared.get(self.place(client.group(), SHARED)) else {
            return Ok(());
        };
        let taken = |full_at: u64| self.quota.take(full_at, count, now).ok();
        match bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken) {
            Ok(_before) => Ok(()),
            Err(full_at) => self.quota.take(full_at, count, now).map(drop),
        }
    }

    fn place(&self, value: impl Hash, of: usize) -> usize {
        // Below `of`, which is a usize.
        usize::try_from(self.hasher.hash_one(value) % of as u64).unwrap_or_default()
    }
}

/// Whole networks, which cost more than the addresses in them.
impl Grouped for ClientAddress {
    fn group(&self) -> impl Hash {
        self.provider()
    }
}

impl Grouped for UserId {
    fn group(&self) -> impl Hash {
        self.0
    }
}

#[cfg(test)]
mod tests;
