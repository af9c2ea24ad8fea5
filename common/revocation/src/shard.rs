//! The rules of an edge's memory, over one shard of it. The caller holds the shard's lock, so what is
//! checked here still holds when it is acted on; what shards share is in [`SharedTags`].

use std::hash::{BuildHasher, Hash};

use latchkey_contract::Timestamp;
use latchkey_contract::lease::{Epoch, MemberId, Revision};

use crate::bounds::Moment;
use crate::rules::{Mutant, Rules};
use crate::table::{Table, Weigh};
use crate::tags::SharedTags;
use crate::tombstones::Tombstones;
use crate::verdict::{CacheableVerdict, Kept, Question, RejectReason, Reply};

/// What one shard holds at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShardCapacity {
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
    pub(crate) refusals: usize,
    pub(crate) tombstones: usize,
}

/// Whose answers a shard holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Membership {
    pub(crate) member: MemberId,
    pub(crate) epoch: Epoch,
}

/// What a reader saw before it looks: it is taken after the request arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadView {
    pub(crate) now: Moment,
    pub(crate) lease: Option<Moment>,
    /// Up to here every change was applied (P).
    pub(crate) reached: Revision,
}

/// An answer. What it depends on, and when it ends, is the verdict's to say.
#[derive(Clone, Debug)]
pub(crate) struct Entry<V> {
    pub(crate) verdict: V,
    /// When its question was sent.
    pub(crate) stamp: Moment,
    /// The last change that the answer knew of.
    pub(crate) read_at: Revision,
    /// The count of changes up to which it was looked at.
    pub(crate) seen: u64,
}

#[derive(Clone)]
pub(crate) struct Shard<C, V, S> {
    pub(crate) rules: Rules,
    pub(crate) membership: Option<Membership>,
    /// Replies from before it are not taken: a tombstone that would speak against them may be gone.
    pub(crate) floor: Revision,
    pub(crate) entries: Table<C, Entry<V>, S>,
    /// Apart from the entries, so that a flood of unknown keys evicts nothing valid.
    pub(crate) refusals: Table<C, Entry<V>, S>,
    pub(crate) tombstones: Tombstones<C, S>,
}

impl<V: Weigh> Weigh for Entry<V> {
    fn heap_bytes(&self) -> usize {
        self.verdict.heap_bytes()
    }
}

impl<V: CacheableVerdict> Entry<V> {
    /// Whether it may be relied on at `wall` by a reader that saw `view`, as far as clocks and leases go.
    fn is_live(&self, rules: Rules, view: &ReadView, wall: Timestamp, span: u64) -> bool {
        let live = is_live(rules, view.now, view.lease, span)
            || is_live(rules, view.now, Some(self.stamp), span);
        live && self.verdict.holds_at(wall)
    }

    /// Whether nothing that it depends on has changed. It is looked at once after each change.
    fn is_current<S: BuildHasher>(&mut self, tags: &SharedTags<S>) -> bool {
        if tags.is_seen(self.seen) {
            return true;
        }
        let seen = tags.judge(&self.verdict, self.read_at);
        self.seen = seen.unwrap_or(self.seen);
        seen.is_ok()
    }
}

impl<C, V, S> Shard<C, V, S>
where
    C: Copy + Eq + Hash,
    V: CacheableVerdict,
    S: BuildHasher + Clone,
{
    /// A shard of nobody: it takes nothing.
    pub(crate) fn new(capacity: ShardCapacity, rules: Rules, hasher: &S) -> Self {
        Self {
            rules,
            membership: None,
            floor: Revision::default(),
            entries: Table::new(capacity.entries, capacity.bytes, hasher.clone()),
            refusals: Table::new(capacity.refusals, usize::MAX, hasher.clone()),
            tombstones: Tombstones::new(capacity.tombstones, hasher.clone()),
        }
    }

    /// Forgets everything; from now on it is that member's, and takes replies from `floor` on.
    pub(crate) fn begin(&mut self, membership: Option<Membership>, floor: Revision) {
        self.membership = membership;
        self.floor = floor;
        self.entries.clear();
        self.refusals.clear();
        self.tombstones.clear();
    }

    /// Takes out what is known of a credential, and remembers that. `reached` is the revision up to which
    /// the edge has applied everything (P).
    pub(crate) fn invalidate(&mut self, credential: C, at: Revision, reached: Revision) {
        self.entries.remove(&credential);
        if self.refusals.get(&credential).is_some_and(|it| it.verdict.kept() != Kept::AsFact) {
            self.refusals.remove(&credential);
        }
        if self.rules.breaks(Mutant::AcknowledgeWithoutTombstone) {
            return;
        }
        if let Some(forgotten) = self.tombstones.evict(&credential, |_| true)
            && !self.rules.breaks(Mutant::EvictionKeepsFloor)
        {
            self.floor = self.floor.max(forgotten).max(reached);
        }
        self.tombstones.set(credential, at);
    }

    /// What is known of a credential, for a reader that saw `view`.
    pub(crate) fn look(
        &mut self,
        credential: &C,
        view: &ReadView,
        wall: Timestamp,
        min_revision: Revision,
        (span, tags): (u64, &SharedTags<S>),
    ) -> Option<V> {
        let rules = self.rules;
        for table in [&mut self.entries, &mut self.refusals] {
            let Some(entry) = table.get(credential) else { continue };
            if entry.read_at.max(view.reached) < min_revision {
                return None;
            }
            if entry.verdict.kept() == Kept::AsFact {
                return Some(entry.verdict.clone());
            }
            if !entry.is_live(rules, view, wall, span) {
                return None;
            }
            if entry.is_current(tags) {
                return Some(entry.verdict.clone());
            }
            table.remove(credential);
            return None;
        }
        None
    }

    /// Judges a reply, and keeps what may be kept of it.
    pub(crate) fn take(
        &mut self,
        question: &Question,
        credential: C,
        reply: Reply<V>,
        (now, wall): (Moment, Timestamp),
        (span, tags): (u64, &SharedTags<S>),
    ) -> Result<(), RejectReason> {
        if let Some(reason) = self.objection(question, credential, &reply, now, span) {
            return Err(reason);
        }
        let Reply { read_at, verdict } = reply;
        let read_at = read_at.revision;
        let seen = if self.rules.breaks(Mutant::ReplyByCredentialAlone) {
            tags.applied()
        } else {
            tags.judge(&verdict, read_at)?
        };
        let kept = verdict.kept();
        if kept == Kept::AsGood && !verdict.holds_at(wall) {
            return Err(RejectReason::Expired);
        }
        self.entries.remove(&credential);
        self.refusals.remove(&credential);
        let stamp = if self.rules.breaks(Mutant::StampAtReceipt) { now } else { question.sent };
        let entry = Entry { verdict, stamp, read_at, seen };
        match kept {
            Kept::AsGood => self.entries.insert(credential, entry),
            Kept::AsRefusal | Kept::AsFact => self.refusals.insert(credential, entry),
            Kept::Not => {}
        }
        Ok(())
    }

    /// Why a reply may not be relied on, if it may not, as far as shards know.
    fn objection(
        &self,
        question: &Question,
        credential: C,
        reply: &Reply<V>,
        now: Moment,
        span: u64,
    ) -> Option<RejectReason> {
        let is_mine = |membership: &Membership| membership.member == question.member;
        let Some(membership) = self.membership.filter(is_mine) else {
            return Some(RejectReason::OtherMember);
        };
        if reply.read_at.epoch != membership.epoch {
            return Some(RejectReason::OtherEpoch);
        }
        if now.since(question.sent) >= span && !self.rules.breaks(Mutant::NoBoundOnAge) {
            return Some(RejectReason::TooOld);
        }
        if reply.read_at.revision < self.floor {
            return Some(RejectReason::BelowFloor);
        }
        let at = self.tombstones.get(&credential);
        let buried = at.is_some_and(|at| at > reply.read_at.revision)
            && !self.rules.breaks(Mutant::IgnoreTombstone);
        buried.then_some(RejectReason::Invalidated)
    }
}

/// Whether what was granted at `stamp` may be relied on at `now`.
fn is_live(rules: Rules, now: Moment, stamp: Option<Moment>, span: u64) -> bool {
    stamp.is_some_and(|stamp| now.since(stamp) < span) || rules.breaks(Mutant::LeaseOff)
}
