//! What an edge remembers of one authority's answers. Every verified request looks here, from many
//! threads; the [`Keeper`](crate::Keeper) writes what the authority says of leases and invalidations.
//!
//! Credentials are spread over shards, each under a lock of its own, so that a reply is checked against
//! the tombstones and kept in one step. An acknowledgement goes out after the lock was held.
//!
//! Of the edge's gate: [`Cache::look`] first; where it says [`Found::Ask`], [`Cache::ask`] *before* the
//! question is sent, and [`Cache::take`] with the reply. Everybody who waits for a shared reply calls
//! `take` for himself, with the question's token: nobody believes an answer that he did not check.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use latchkey_contract::lease::{Epoch, MemberId, Position, ReadAt, Subject};
use latchkey_contract::{Timestamp, UserId};

use crate::bounds::{Bounds, Moment};
use crate::rules::Rules;
use crate::shard::{Shard, ShardCapacity, Sight, Tenure};

pub use crate::table::Weigh;

/// How much a cache holds at most. Each bound is split evenly among the shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Shards; a power of two serves best.
    pub shards: usize,
    /// Positive answers.
    pub entries: usize,
    /// Bytes of positive answers, with what their values hold.
    pub bytes: usize,
    /// Credentials known to be revoked or unknown.
    pub facts: usize,
    /// Credentials whose invalidation is remembered. One that is evicted costs a few questions.
    pub tombstones: usize,
    /// Owners whose invalidation is remembered, in each shard.
    pub owners: usize,
}

/// A question to the authority, from before it is sent until its reply is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// On whose behalf: it goes with the question, and the authority answers none but members.
    pub member: MemberId,
    /// Tells this question's reply from any other.
    pub nonce: u64,
    pub(crate) sent: Moment,
}

/// What the authority answers to a member about one credential.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reply<V> {
    /// The snapshot that it was read from.
    pub read_at: ReadAt,
    /// What it says.
    pub ruling: Ruling<V>,
}

/// What an authority says of a credential, as far as a cache is concerned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ruling<V> {
    /// It is good.
    Valid {
        /// Who it stands for.
        value: V,
        /// Whose it is, for invalidations that name the owner.
        owner: UserId,
        /// When it ends by itself.
        expires_at: Timestamp,
    },
    /// It was revoked, and stays so.
    Revoked,
    /// There is none such. One that is made later is random, so nobody can have asked for it before.
    Unknown,
    /// It is refused now, but that can change: expired, its owner deactivated. Not remembered.
    NotNow,
}

/// What a cache knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<V> {
    /// Accept.
    Valid(V),
    /// Refuse: it was revoked.
    Revoked,
    /// Refuse: there is none such.
    Unknown,
    /// Nothing that may be relied on: ask the authority.
    Ask,
}

/// What a reply comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken<V> {
    /// Accept.
    Accept(V),
    /// Refuse, as the reply says.
    Refuse,
    /// The reply decides nothing: ask again, a bounded number of times, then answer 503.
    Again(Why),
}

/// Why a reply decides nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// The edge has joined anew since it asked, or is no member.
    OtherMember,
    /// It is of another epoch: tell [`Keeper::other_epoch`](crate::Keeper::other_epoch).
    OtherEpoch,
    /// Its question was sent a lease ago.
    TooOld,
    /// Its snapshot is older than what the edge remembers one by one.
    BelowFloor,
    /// The credential or its owner was invalidated after the snapshot.
    Invalidated,
    /// It says "valid" of what has expired by the edge's wall clock: refuse it as expired, and do not
    /// ask again.
    Expired,
}

/// The cache. `C` names a credential, `V` is who it stands for.
pub struct Cache<C, V, S = RandomState> {
    lease_span: u64,
    shards: Box<[Mutex<Shard<C, V, S>>]>,
    hasher: S,
    /// When the question behind the lease was sent, and 1: 0 is no lease.
    lease: AtomicU64,
    /// P, for readers that ask for a least position.
    applied: AtomicI64,
    tenure: Mutex<Option<Tenure>>,
    nonces: AtomicU64,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            shards: 64,
            entries: 1_000_000,
            bytes: 192 << 20,
            facts: 65_536,
            tombstones: 65_536,
            owners: 256,
        }
    }
}

impl<C: Copy + Eq + Hash, V: Clone + Weigh> Cache<C, V> {
    /// An empty cache of nobody: it says [`Found::Ask`] and [`Cache::ask`] says `None` until the edge has
    /// joined.
    #[must_use]
    pub fn new(bounds: &Bounds, capacity: Capacity) -> Self {
        Self::build(bounds, capacity, RandomState::new(), Rules::default())
    }

    /// A cache that uses its entries without a lease: the fault tests must notice. Not in release builds.
    #[cfg(all(debug_assertions, not(test)))]
    #[must_use]
    pub fn without_lease(bounds: &Bounds, capacity: Capacity) -> Self {
        Self::build(bounds, capacity, RandomState::new(), Rules::without_lease())
    }
}

impl<C, V, S> Cache<C, V, S>
where
    C: Copy + Eq + Hash,
    V: Clone + Weigh,
    S: BuildHasher + Clone,
{
    pub(crate) fn build(bounds: &Bounds, capacity: Capacity, hasher: S, rules: Rules) -> Self {
        let shards = capacity.shards.max(1);
        let each = ShardCapacity {
            entries: capacity.entries / shards,
            bytes: capacity.bytes / shards,
            facts: capacity.facts / shards,
            tombstones: capacity.tombstones / shards,
            owners: capacity.owners,
        };
        let shard = |_| Mutex::new(Shard::new(each, rules, &hasher));
        Self {
            lease_span: bounds.lease(),
            shards: (0..shards).map(shard).collect(),
            hasher,
            lease: AtomicU64::new(0),
            applied: AtomicI64::new(0),
            tenure: Mutex::new(None),
            nonces: AtomicU64::new(0),
        }
    }

    /// What is known of a credential. `now` must have been read after the request arrived; `wall` is for
    /// expiry alone. What is answered is not older than `revision` (0: as old as the lease allows).
    pub fn look(
        &self,
        credential: &C,
        now: Moment,
        wall: Timestamp,
        revision: Position,
    ) -> Found<V> {
        let sight = self.sight(now);
        self.look_with(&sight, credential, wall, revision)
    }

    /// Stamps a question that is about to be sent; `None` while the edge is no member.
    pub fn ask(&self, now: Moment) -> Option<Question> {
        let tenure = (*self.tenure())?;
        let nonce = self.nonces.fetch_add(1, Ordering::Relaxed);
        Some(Question { member: tenure.member, nonce, sent: now })
    }

    /// Judges the reply to `question` about `credential`, and keeps what may be kept.
    pub fn take(
        &self,
        question: &Question,
        credential: C,
        reply: Reply<V>,
        now: Moment,
        wall: Timestamp,
    ) -> Taken<V> {
        self.shard(&credential).take(question, credential, reply, now, wall, self.lease_span)
    }

    /// Positive answers, and their bytes.
    pub fn size(&self) -> (usize, usize) {
        let add = |(entries, bytes), shard: &Mutex<Shard<C, V, S>>| {
            let shard = lock(shard);
            (entries + shard.entries.len(), bytes + shard.entries.bytes())
        };
        self.shards.iter().fold((0, 0), add)
    }

    /// Whether there is a lease at `now`.
    pub fn is_live(&self, now: Moment) -> bool {
        self.sight(now).lease.is_some_and(|stamp| now.since(stamp) < self.lease_span)
    }

    /// Under which membership it is filled, and which history that is of.
    pub fn membership(&self) -> Option<(MemberId, Epoch)> {
        (*self.tenure()).map(|tenure| (tenure.member, tenure.epoch))
    }

    /// The first of a reader's steps: the lease, before the entry.
    pub(crate) fn sight(&self, now: Moment) -> Sight {
        let lease = self.lease.load(Ordering::Acquire).checked_sub(1).map(Moment);
        let applied = Position(self.applied.load(Ordering::Acquire));
        Sight { now, lease, applied }
    }

    /// The second of a reader's steps.
    pub(crate) fn look_with(
        &self,
        sight: &Sight,
        credential: &C,
        wall: Timestamp,
        revision: Position,
    ) -> Found<V> {
        self.shard(credential).look(credential, sight, wall, revision, self.lease_span)
    }

    /// Forgets everything: the edge is no member.
    pub(crate) fn leave(&self) {
        *self.tenure() = None;
        self.lease.store(0, Ordering::Release);
        self.applied.store(0, Ordering::Release);
        for shard in &self.shards {
            lock(shard).begin(None, Position::default());
        }
    }

    /// Begins empty, as a member that has applied everything up to `position`.
    pub(crate) fn enter(&self, tenure: Tenure, position: Position) {
        self.leave();
        for shard in &self.shards {
            shard.clear_poison();
            lock(shard).begin(Some(tenure), position);
        }
        self.applied.store(position.0, Ordering::Release);
        *self.tenure() = Some(tenure);
    }

    /// Applies one change. When it returns, every shard has.
    pub(crate) fn invalidate(&self, subject: Subject<C>, at: Position, applied: Position) {
        match &subject {
            Subject::Credential(credential) => {
                self.shard(credential).invalidate(subject, at, applied);
            }
            Subject::Owner(_) => {
                for shard in &self.shards {
                    lock(shard).invalidate(subject, at, applied);
                }
            }
        }
    }

    /// Drops every positive answer. When it returns, every shard has.
    pub(crate) fn drop_all(&self, position: Position) {
        for shard in &self.shards {
            lock(shard).drop_all(position);
        }
    }

    /// Extends the lease; everything up to `applied` must have been applied before.
    pub(crate) fn extend(&self, stamp: Moment, applied: Position) {
        self.applied.fetch_max(applied.0, Ordering::AcqRel);
        self.lease.fetch_max(stamp.0.saturating_add(1), Ordering::AcqRel);
    }

    fn shard(&self, credential: &C) -> MutexGuard<'_, Shard<C, V, S>> {
        // The index inside a shard uses the hash's other half.
        let hash = self.hasher.hash_one(credential) >> 32;
        let at = usize::try_from(hash).unwrap_or(0) % self.shards.len();
        lock(&self.shards[at])
    }

    /// A cache of its own with the same content, for the model.
    #[cfg(test)]
    pub(crate) fn copy(&self) -> Self {
        Self {
            lease_span: self.lease_span,
            shards: self.shards.iter().map(|shard| Mutex::new(lock(shard).clone())).collect(),
            hasher: self.hasher.clone(),
            lease: AtomicU64::new(self.lease.load(Ordering::Acquire)),
            applied: AtomicI64::new(self.applied.load(Ordering::Acquire)),
            tenure: Mutex::new(*self.tenure()),
            nonces: AtomicU64::new(self.nonces.load(Ordering::Relaxed)),
        }
    }

    /// Shows each shard to `see`, for the model's fingerprint of a state.
    #[cfg(test)]
    pub(crate) fn inspect(&self, mut see: impl FnMut(&Shard<C, V, S>)) {
        self.shards.iter().for_each(|shard| see(&lock(shard)));
    }

    fn tenure(&self) -> MutexGuard<'_, Option<Tenure>> {
        self.tenure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Locks a shard. One that a panic left half-written knows nothing and takes nothing until the edge
/// joins anew.
fn lock<C, V, S>(shard: &Mutex<Shard<C, V, S>>) -> MutexGuard<'_, Shard<C, V, S>>
where
    C: Copy + Eq + Hash,
    V: Weigh,
    S: BuildHasher + Clone,
{
    shard.lock().unwrap_or_else(|poisoned| {
        let mut shard = poisoned.into_inner();
        shard.begin(None, Position::default());
        shard
    })
}

#[cfg(test)]
mod tests;
