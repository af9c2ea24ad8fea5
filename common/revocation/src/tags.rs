//! What entries share: an owner, and whatever else many answers may depend on. A change of a shared tag, or of
//! everything, is applied without looking at a single entry; whoever uses an entry looks whether it is still good,
//! once after each change. No lock is held around either: the order of the steps is what makes it right (the
//! [crate]'s documentation says why), so the orders stand here as values that production runs, and that the model
//! interleaves step by step.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use latchkey_contract::lease::{Revision, SharedTag};

use crate::rules::{Mutant, Rules};
use crate::tombstones::Tombstones;
use crate::verdict::{CacheableVerdict, RejectReason};

/// The changes of shared tags that a member has applied.
pub(crate) struct SharedTags<S> {
    rules: Rules,
    /// How many changes were applied, whatever their revisions: they may arrive out of order.
    applied: AtomicU64,
    /// What was read before it is not relied on: a tombstone that would speak against it may be gone.
    floor: AtomicI64,
    tombstones: Mutex<Tombstones<SharedTag, S>>,
}

/// A change of one shared tag, or of everything, while it is applied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    /// `None`: everything.
    tag: Option<SharedTag>,
    at: Revision,
    /// The revision of a tombstone that went before the floor was raised: a mutant alone leaves one here.
    evicted: Option<Revision>,
}

/// One step of applying a change: each touches memory once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ApplyStep {
    /// Raise the floor to a change of everything, or to the tombstone that is to make room.
    RaiseFloor,
    /// Make room for a tombstone.
    Evict,
    /// Remember the change.
    Bury,
    /// Count it: whoever looks now sees that there was one.
    Count,
    /// Nothing to do here: from now on the caller may acknowledge the change.
    Acknowledge,
}

/// One step of judging something that was read at a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum JudgeStep {
    /// Read how many changes were applied.
    ReadApplied,
    /// Look each of its tags up.
    LookUp,
    /// Compare its revision with the floor.
    CompareFloor,
}

/// What a judgement has come to so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Judgement {
    seen: u64,
    objection: Option<RejectReason>,
}

impl Change {
    pub(crate) fn of(tag: Option<SharedTag>, at: Revision) -> Self {
        Self { tag, at, evicted: None }
    }

    /// The revision of the tombstone that made room, for the model.
    #[cfg(test)]
    pub(crate) fn evicted(&self) -> Option<Revision> {
        self.evicted
    }
}

impl Judgement {
    /// The count of changes up to which what was judged is good.
    ///
    /// # Errors
    /// Why it may not be relied on.
    pub(crate) fn result(self) -> Result<u64, RejectReason> {
        self.objection.map_or(Ok(self.seen), Err)
    }
}

impl ApplyStep {
    /// The steps of a change, in their order.
    pub(crate) fn order(rules: Rules, everything: bool) -> &'static [Self] {
        use ApplyStep::{Acknowledge, Bury, Count, Evict, RaiseFloor};
        if everything && rules.breaks(Mutant::AllKeepsEntries) {
            return &[Count, Acknowledge];
        }
        if everything && rules.breaks(Mutant::AllDoesNotCount) {
            return &[RaiseFloor, Acknowledge];
        }
        if rules.breaks(Mutant::CountAfterAcknowledgement) {
            return &[RaiseFloor, Evict, Bury, Acknowledge, Count];
        }
        if rules.breaks(Mutant::CountBeforeTombstone) {
            return &[RaiseFloor, Evict, Count, Bury, Acknowledge];
        }
        if rules.breaks(Mutant::TagEvictionKeepsFloor) && !everything {
            return &[Evict, Bury, Count, Acknowledge];
        }
        if rules.breaks(Mutant::TagEvictionBeforeFloor) {
            return &[Evict, RaiseFloor, Bury, Count, Acknowledge];
        }
        &[RaiseFloor, Evict, Bury, Count, Acknowledge]
    }
}

impl JudgeStep {
    /// The steps of a judgement, in their order.
    pub(crate) fn order(rules: Rules) -> &'static [Self] {
        use JudgeStep::{CompareFloor, LookUp, ReadApplied};
        if rules.breaks(Mutant::FloorBeforeTags) {
            return &[ReadApplied, CompareFloor, LookUp];
        }
        if rules.breaks(Mutant::SeenReadAfterLookUp) {
            return &[LookUp, CompareFloor, ReadApplied];
        }
        &[ReadApplied, LookUp, CompareFloor]
    }
}

impl<S: BuildHasher> SharedTags<S> {
    /// Nothing was applied yet; at most `max` tombstones.
    pub(crate) fn new(max: usize, rules: Rules, hasher: S) -> Self {
        Self {
            rules,
            applied: AtomicU64::new(0),
            floor: AtomicI64::new(0),
            tombstones: Mutex::new(Tombstones::new(max, hasher)),
        }
    }

    /// Begins anew as a member that has applied everything up to `floor`. Nothing may be looked up meanwhile.
    pub(crate) fn begin(&self, floor: Revision) {
        self.tombstones.clear_poison();
        self.lock().clear();
        self.floor.store(floor.0, Ordering::Release);
        self.applied.fetch_add(1, Ordering::AcqRel);
    }

    /// Applies a change of `tag`, or of everything, that has this revision. When it returns, it may be
    /// acknowledged.
    pub(crate) fn apply(&self, tag: Option<SharedTag>, at: Revision) {
        let mut change = Change::of(tag, at);
        for step in ApplyStep::order(self.rules, tag.is_none()) {
            self.apply_step(*step, &mut change);
        }
    }

    /// Whether nothing was applied since that count.
    #[inline]
    pub(crate) fn is_seen(&self, seen: u64) -> bool {
        self.applied.load(Ordering::Acquire) == seen
    }

    /// How many changes were applied.
    pub(crate) fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// Whether a verdict that was read at a revision may be relied on, and up to which count of changes.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn judge<V: CacheableVerdict>(
        &self,
        verdict: &V,
        read_at: Revision,
    ) -> Result<u64, RejectReason> {
        let mut judgement = Judgement::default();
        for step in JudgeStep::order(self.rules) {
            self.judge_step(*step, &mut judgement, verdict, read_at);
        }
        judgement.result()
    }

    pub(crate) fn apply_step(&self, step: ApplyStep, change: &mut Change) {
        let Change { tag, at, evicted } = *change;
        match (step, tag) {
            (ApplyStep::RaiseFloor, None) => self.raise(at),
            (ApplyStep::RaiseFloor, Some(tag)) => {
                let goes = evicted.or_else(|| self.lock().oldest_if_full(&tag));
                if let Some(goes) = goes {
                    self.raise(goes);
                }
            }
            (ApplyStep::Evict, Some(tag)) => {
                let ahead = self.rules.breaks(Mutant::TagEvictionBeforeFloor)
                    || self.rules.breaks(Mutant::TagEvictionKeepsFloor);
                let floor = Revision(self.floor.load(Ordering::Acquire));
                change.evicted = self.lock().evict(&tag, |oldest| ahead || oldest <= floor);
            }
            (ApplyStep::Bury, Some(tag)) => self.lock().set(tag, at),
            (ApplyStep::Count, _) if self.rules.breaks(Mutant::SeenIsRevision) => {
                self.applied.fetch_max(at.0.unsigned_abs(), Ordering::AcqRel);
            }
            (ApplyStep::Count, _) => {
                self.applied.fetch_add(1, Ordering::AcqRel);
            }
            (ApplyStep::Evict | ApplyStep::Bury, None) | (ApplyStep::Acknowledge, _) => {}
        }
    }

    pub(crate) fn judge_step<V: CacheableVerdict>(
        &self,
        step: JudgeStep,
        judgement: &mut Judgement,
        verdict: &V,
        read_at: Revision,
    ) {
        match step {
            JudgeStep::ReadApplied => judgement.seen = self.applied(),
            JudgeStep::LookUp => {
                let max = if self.rules.breaks(Mutant::FirstTagOnly) { 1 } else { usize::MAX };
                let tombstones = self.lock();
                let is_newer = |tag| tombstones.get(&tag).is_some_and(|at| at > read_at);
                if verdict.tags().take(max).any(is_newer) {
                    judgement.objection = Some(RejectReason::Invalidated);
                }
            }
            JudgeStep::CompareFloor => {
                if read_at.0 < self.floor.load(Ordering::Acquire) {
                    judgement.objection = Some(RejectReason::BelowFloor);
                }
            }
        }
    }

    /// Whether a panic left the tombstones half-written.
    pub(crate) fn is_torn(&self) -> bool {
        self.tombstones.is_poisoned()
    }

    fn raise(&self, floor: Revision) {
        self.floor.fetch_max(floor.0, Ordering::AcqRel);
    }

    /// Where a panic left it half-written, nothing that was read before is relied on any more.
    #[expect(
        clippy::disallowed_methods,
        reason = "whatever it holds is below the floor afterwards"
    )]
    fn lock(&self) -> MutexGuard<'_, Tombstones<SharedTag, S>> {
        self.tombstones.lock().unwrap_or_else(|poisoned: PoisonError<_>| {
            self.raise(Revision(i64::MAX));
            poisoned.into_inner()
        })
    }

    /// Shows count, floor and tombstones, for the model's fingerprint of a state.
    #[cfg(test)]
    pub(crate) fn inspect(&self) -> (u64, Revision, Vec<(SharedTag, Revision)>) {
        let floor = Revision(self.floor.load(Ordering::Acquire));
        (self.applied(), floor, self.lock().iter().collect())
    }
}

/// Tags of their own with the same content, for the model.
#[cfg(test)]
impl<S: BuildHasher + Clone> SharedTags<S> {
    pub(crate) fn copy(&self) -> Self {
        Self {
            rules: self.rules,
            applied: AtomicU64::new(self.applied()),
            floor: AtomicI64::new(self.floor.load(Ordering::Acquire)),
            tombstones: Mutex::new(self.lock().clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasherDefault, DefaultHasher};

    use latchkey_contract::{Owner, Timestamp, UserId};

    use super::*;
    use crate::cache::Weigh;
    use crate::verdict::Kept;

    const MINE: SharedTag = SharedTag::Owner(Owner::User(UserId(1)));

    /// An answer of one owner's.
    #[derive(Clone)]
    struct Mine;

    impl Weigh for Mine {
        fn heap_bytes(&self) -> usize {
            0
        }
    }

    impl CacheableVerdict for Mine {
        fn kept(&self) -> Kept {
            Kept::AsGood
        }

        fn holds_at(&self, _: Timestamp) -> bool {
            true
        }

        fn tags(&self) -> impl Iterator<Item = SharedTag> {
            std::iter::once(MINE)
        }
    }

    #[test]
    fn what_was_judged_is_not_judged_again_before_the_next_change() {
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        let tags = SharedTags::new(4, Rules::default(), hasher);
        let other = SharedTag::Owner(Owner::User(UserId(2)));
        let mut before = None;
        for (tag, at) in [(other, 3), (other, 2), (other, 2)] {
            tags.apply(Some(tag), Revision(at));
            let seen = tags.judge(&Mine, Revision(0)).unwrap();
            assert!(tags.is_seen(seen) && before.is_none_or(|before| !tags.is_seen(before)));
            before = Some(seen);
        }
        tags.apply(Some(MINE), Revision(5));
        assert_eq!(tags.judge(&Mine, Revision(4)), Err(RejectReason::Invalidated));
        assert!(tags.judge(&Mine, Revision(5)).is_ok());
        tags.apply(None, Revision(6));
        assert_eq!(tags.judge(&Mine, Revision(5)), Err(RejectReason::BelowFloor));
        assert!(tags.judge(&Mine, Revision(6)).is_ok());
    }

    fn of(user: i64) -> SharedTag {
        SharedTag::Owner(Owner::User(UserId(user)))
    }

    fn tags() -> SharedTags<BuildHasherDefault<DefaultHasher>> {
        SharedTags::new(2, Rules::default(), BuildHasherDefault::default())
    }

    #[test]
    fn a_full_memory_has_its_oldest_go_and_the_floor_rises_to_that() {
        let tags = tags();
        for (user, floor, kept) in [
            (1, 0, vec![(of(1), Revision(1))]),
            (2, 0, vec![(of(1), Revision(1)), (of(2), Revision(2))]),
            (3, 1, vec![(of(2), Revision(2)), (of(3), Revision(3))]),
            (4, 2, vec![(of(3), Revision(3)), (of(4), Revision(4))]),
        ] {
            tags.apply(Some(of(user)), Revision(user));
            assert_eq!(tags.inspect(), (user.unsigned_abs(), Revision(floor), kept));
        }
    }

    #[test]
    fn who_begins_anew_knows_of_no_change_and_takes_nothing_for_looked_at() {
        let tags = tags();
        tags.apply(Some(MINE), Revision(8));
        let seen = tags.judge(&Mine, Revision(8)).unwrap();
        tags.begin(Revision(3));
        assert!(!tags.is_seen(seen));
        assert_eq!(tags.inspect(), (2, Revision(3), Vec::new()));
        assert!(tags.judge(&Mine, Revision(3)).is_ok());
        assert_eq!(tags.judge(&Mine, Revision(2)), Err(RejectReason::BelowFloor));
    }

    #[test]
    fn tombstones_that_a_panic_left_half_written_speak_against_everything_until_it_begins_anew() {
        let tags = tags();
        std::thread::scope(|scope| {
            let broken = scope.spawn(|| {
                let _held = tags.tombstones.lock().unwrap();
                std::panic::resume_unwind(Box::new("half-written"));
            });
            assert!(broken.join().is_err());
        });
        assert!(tags.is_torn());
        assert_eq!(tags.judge(&Mine, Revision(9)), Err(RejectReason::BelowFloor));
        tags.begin(Revision(3));
        assert!(!tags.is_torn() && tags.judge(&Mine, Revision(3)).is_ok());
    }
}
