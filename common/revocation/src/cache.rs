//! What an edge remembers of one authority's answers. Every verified request looks here, from many
//! threads; the [`Keeper`](crate::Keeper) writes what the authority says of leases and invalidations.
//!
//! Credentials are spread over shards, each under a lock of its own, so that a reply is checked against
//! the tombstones and kept in one step. An acknowledgement goes out after the lock was held. What many answers
//! share is in `SharedTags`, and a change of it touches no shard.
//!
//! Of the edge's gate: [`Cache::look`] first; where it knows nothing, [`Cache::ask`] *before* the
//! question is sent, and [`Cache::take`] with the reply. Everybody who waits for a shared reply calls
//! `take` for himself, with the question's token: nobody believes an answer that he did not check.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use latchkey_contract::Timestamp;
use latchkey_contract::lease::{Epoch, MemberId, Revision, Tag};

use crate::bounds::{Bounds, Moment};
use crate::rules::{Mutant, Rules};
use crate::shard::{Membership, ReadView, Shard, ShardCapacity};
use crate::tags::SharedTags;
use crate::verdict::{CacheableVerdict, Question, RejectReason, Reply};

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
    /// Negative answers.
    pub refusals: usize,
    /// Credentials whose invalidation is remembered. One that is evicted costs a few questions.
    pub tombstones: usize,
    /// Shared tags whose invalidation is remembered, all told. Where one is evicted, whatever was read before its
    /// change is asked for again.
    pub tags: usize,
}

/// The cache. `C` names a credential, `V` is what is said of it.
pub struct Cache<C, V, S = RandomState> {
    rules: Rules,
    lease_span: u64,
    shards: Box<[Mutex<Shard<C, V, S>>]>,
    hasher: S,
    /// When the question behind the lease was sent, and 1: 0 is no lease.
    lease: AtomicU64,
    /// P, for readers that ask for a least revision.
    reached: AtomicI64,
    tags: SharedTags<S>,
    membership: Mutex<Option<Membership>>,
    nonces: AtomicU64,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            shards: 64,
            entries: 1_000_000,
            bytes: 192 << 20,
            refusals: 65_536,
            tombstones: 65_536,
            tags: 16_384,
        }
    }
}

impl<C: Copy + Eq + Hash, V: CacheableVerdict> Cache<C, V> {
    /// An empty cache of nobody: it knows nothing, and [`Cache::ask`] says `None`, until the edge has joined.
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
    V: CacheableVerdict,
    S: BuildHasher + Clone,
{
    pub(crate) fn build(bounds: &Bounds, capacity: Capacity, hasher: S, rules: Rules) -> Self {
        let shards = capacity.shards.max(1);
        let each = ShardCapacity {
            entries: capacity.entries / shards,
            bytes: capacity.bytes / shards,
            refusals: capacity.refusals / shards,
            tombstones: capacity.tombstones / shards,
        };
        let shard = |_| Mutex::new(Shard::new(each, rules, &hasher));
        Self {
            rules,
            lease_span: bounds.lease(),
            shards: (0..shards).map(shard).collect(),
            tags: SharedTags::new(capacity.tags, rules, hasher.clone()),
            hasher,
            lease: AtomicU64::new(0),
            reached: AtomicI64::new(0),
            membership: Mutex::new(None),
            nonces: AtomicU64::new(0),
        }
    }

    /// What is known of a credential; `None`: nothing that may be relied on. `now` must have been read after the
    /// request arrived; `wall` is for expiry alone. What is answered is not older than `min_revision` (0: as old as the
    /// lease allows).
    pub fn look(
        &self,
        credential: &C,
        now: Moment,
        wall: Timestamp,
        min_revision: Revision,
    ) -> Option<V> {
        let view = self.view(now);
        self.look_with(&view, credential, wall, min_revision)
    }

    /// Stamps a question that is about to be sent; `None` while the edge is no member.
    pub fn ask(&self, now: Moment) -> Option<Question> {
        let membership = (*self.lock_membership())?;
        let nonce = self.nonces.fetch_add(1, Ordering::Relaxed);
        Some(Question { member: membership.member, nonce, sent: now })
    }

    /// Judges the reply to `question` about `credential`, and keeps what may be kept. Where it is taken, what it
    /// says is to be answered.
    ///
    /// # Errors
    /// [`RejectReason`]
    pub fn take(
        &self,
        question: &Question,
        credential: C,
        reply: Reply<V>,
        now: Moment,
        wall: Timestamp,
    ) -> Result<(), RejectReason> {
        let shared = (self.lease_span, &self.tags);
        self.shard(&credential).take(question, credential, reply, (now, wall), shared)
    }

    /// Positive answers, and their bytes. Some may be of no use any more, and go when they are looked up.
    pub fn size(&self) -> (usize, usize) {
        let add = |(entries, bytes), shard: &Mutex<Shard<C, V, S>>| {
            let shard = lock(shard);
            (entries + shard.entries.len(), bytes + shard.entries.bytes())
        };
        self.shards.iter().fold((0, 0), add)
    }

    /// Whether there is a lease at `now`.
    pub fn is_live(&self, now: Moment) -> bool {
        self.view(now).lease.is_some_and(|stamp| now.since(stamp) < self.lease_span)
    }

    /// Under which membership it is filled, and which history that is of.
    pub fn membership(&self) -> Option<(MemberId, Epoch)> {
        (*self.lock_membership()).map(|it| (it.member, it.epoch))
    }

    /// Whether a panic left a part of it half-written. That part knows nothing and takes nothing; whoever keeps the
    /// membership is to leave, and to join anew.
    pub fn is_torn(&self) -> bool {
        let shards = self.shards.iter().any(Mutex::is_poisoned);
        shards || self.membership.is_poisoned() || self.tags.is_torn()
    }

    /// The tests' own: leaves a part of it as a panic in the middle of a change would.
    #[cfg(debug_assertions)]
    pub fn tear(&self) {
        let change = || {
            let _held = self.shards.first().map(lock);
            std::panic::resume_unwind(Box::new("torn by a test"))
        };
        let _torn: Result<(), _> = std::panic::catch_unwind(std::panic::AssertUnwindSafe(change));
    }

    /// The first of a reader's steps: the lease, before the entry.
    pub(crate) fn view(&self, now: Moment) -> ReadView {
        let lease = self.lease.load(Ordering::Acquire).checked_sub(1).map(Moment);
        let reached = Revision(self.reached.load(Ordering::Acquire));
        ReadView { now, lease, reached }
    }

    /// The second of a reader's steps.
    pub(crate) fn look_with(
        &self,
        view: &ReadView,
        credential: &C,
        wall: Timestamp,
        min_revision: Revision,
    ) -> Option<V> {
        let shared = (self.lease_span, &self.tags);
        self.shard(credential).look(credential, view, wall, min_revision, shared)
    }

    /// Forgets everything: the edge is no member.
    pub(crate) fn leave(&self) {
        *self.lock_membership() = None;
        self.lease.store(0, Ordering::Release);
        self.reached.store(0, Ordering::Release);
        for shard in &self.shards {
            lock(shard).begin(None, Revision::default());
        }
    }

    /// Begins empty, as a member that has applied everything up to `revision`.
    pub(crate) fn enter(&self, membership: Membership, revision: Revision) {
        // From here until a shard begins anew it holds nothing and takes nothing.
        self.leave();
        self.tags.begin(revision);
        for shard in &self.shards {
            shard.clear_poison();
            lock(shard).begin(Some(membership), revision);
        }
        self.reached.store(revision.0, Ordering::Release);
        self.membership.clear_poison();
        *self.lock_membership() = Some(membership);
    }

    /// Applies one change. When it returns, it may be acknowledged. `reached` is P.
    pub(crate) fn invalidate(&self, tag: Tag<C>, at: Revision, reached: Revision) {
        match tag {
            Tag::Credential(credential) => {
                self.shard(&credential).invalidate(credential, at, reached);
            }
            Tag::Shared(tag) => self.tags.apply(Some(tag), at),
            Tag::Unknown(_) if self.rules.breaks(Mutant::UnknownKindIgnored) => {}
            Tag::All | Tag::Unknown(_) => self.tags.apply(None, at),
        }
    }

    /// Drops every answer but those that stay true: changes up to `revision` are not known one by one.
    pub(crate) fn drop_all(&self, revision: Revision) {
        let at = if self.rules.breaks(Mutant::DropKeepsFloor) { Revision(0) } else { revision };
        self.tags.apply(None, at);
    }

    /// Extends the lease; everything up to `reached` must have been applied before.
    pub(crate) fn extend(&self, stamp: Moment, reached: Revision) {
        self.reached.fetch_max(reached.0, Ordering::AcqRel);
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
            reached: AtomicI64::new(self.reached.load(Ordering::Acquire)),
            tags: self.tags.copy(),
            membership: Mutex::new(*self.lock_membership()),
            rules: self.rules,
            nonces: AtomicU64::new(self.nonces.load(Ordering::Relaxed)),
        }
    }

    /// Shows each shard to `see`, for the model's fingerprint of a state.
    #[cfg(test)]
    pub(crate) fn inspect(&self, mut see: impl FnMut(&Shard<C, V, S>)) {
        self.shards.iter().for_each(|shard| see(&lock(shard)));
    }

    /// What shards share, for the same.
    #[cfg(test)]
    pub(crate) fn shared_tags(&self) -> &SharedTags<S> {
        &self.tags
    }

    /// Where a panic left it half-written, the edge is no member until it joins anew.
    #[expect(clippy::disallowed_methods, reason = "what is begun anew is there afterwards")]
    fn lock_membership(&self) -> MutexGuard<'_, Option<Membership>> {
        self.membership.lock().unwrap_or_else(|poisoned| {
            let mut membership = poisoned.into_inner();
            *membership = None;
            membership
        })
    }
}

/// Locks a shard. One that a panic left half-written knows nothing and takes nothing until the edge
/// joins anew.
#[expect(clippy::disallowed_methods, reason = "what is begun anew is there afterwards")]
fn lock<C, V, S>(shard: &Mutex<Shard<C, V, S>>) -> MutexGuard<'_, Shard<C, V, S>>
where
    C: Copy + Eq + Hash,
    V: CacheableVerdict,
    S: BuildHasher + Clone,
{
    shard.lock().unwrap_or_else(|poisoned| {
        let mut shard = poisoned.into_inner();
        shard.begin(None, Revision::default());
        shard
    })
}

#[cfg(test)]
mod tests;
