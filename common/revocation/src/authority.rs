//! What an authority answers, given one snapshot of its database. Every value that goes into one answer
//! must come from **one statement**, on the primary: two statements, or a standby, break the proof.

use latchkey_contract::lease::{
    Epoch, Invalidation, MemberResult, Missed, ReadAt, Renewed, Revision,
};

use crate::rules::{Mutant, Rules};

/// Changes that one renewal tells one by one; beyond, the edge drops everything.
pub const MAX_MISSED: usize = 1_000;

/// The state of a member's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemberState {
    /// It is answered, and revokers wait for it.
    Member,
    /// It is not answered any more, but revokers wait for it until its row is gone.
    Retired,
}

/// What every answer needs of the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The asker's row; `None` where there is none.
    pub membership: Option<MemberState>,
    /// The authority's history.
    pub epoch: Epoch,
    /// The last change.
    pub revision: Revision,
}

/// The rows that a renewal needs besides.
#[derive(Clone, Debug)]
pub struct Changes<C> {
    /// The changes behind the revision that the asker named: all of them, or the first
    /// [`MAX_MISSED`] and one more.
    pub rows: Vec<Invalidation<C>>,
    /// Records of changes up to this revision may have been deleted.
    pub pruned: Revision,
}

/// The answer to a verification: where it was read, and with it `answers`, of the same snapshot.
#[must_use]
pub fn verify<T>(snapshot: &Snapshot, answers: T) -> MemberResult<(ReadAt, T)> {
    verify_by(Rules::default(), snapshot, answers)
}

/// The answer to a renewal by an edge that has applied everything up to `since`.
#[must_use]
pub fn renew<C>(
    snapshot: &Snapshot,
    since: Revision,
    changes: Changes<C>,
) -> MemberResult<Renewed<C>> {
    renew_by(Rules::default(), snapshot, since, changes)
}

pub(crate) fn verify_by<T>(
    rules: Rules,
    snapshot: &Snapshot,
    answers: T,
) -> MemberResult<(ReadAt, T)> {
    if !grants(rules, snapshot.membership) {
        return MemberResult::NotMember;
    }
    MemberResult::Member((ReadAt { epoch: snapshot.epoch, revision: snapshot.revision }, answers))
}

pub(crate) fn renew_by<C>(
    rules: Rules,
    snapshot: &Snapshot,
    since: Revision,
    changes: Changes<C>,
) -> MemberResult<Renewed<C>> {
    if !grants(rules, snapshot.membership) {
        return MemberResult::NotMember;
    }
    let Snapshot { epoch, revision, .. } = *snapshot;
    // An asker that is ahead of the database was answered by another history of it.
    let told = since >= changes.pruned && since <= revision && changes.rows.len() <= MAX_MISSED;
    let missed = if told { Missed::These(changes.rows) } else { Missed::TooMany };
    MemberResult::Member(Renewed { epoch, revision, missed })
}

fn grants(rules: Rules, membership: Option<MemberState>) -> bool {
    match membership {
        Some(MemberState::Member) => true,
        Some(MemberState::Retired) => rules.breaks(Mutant::GrantToRetired),
        None => rules.breaks(Mutant::GrantToStranger),
    }
}

#[cfg(test)]
mod tests {
    use latchkey_contract::lease::Tag;

    use super::*;

    fn rows(count: usize) -> Vec<Invalidation<u8>> {
        vec![Invalidation { revision: Revision(1), tag: Tag::Credential(1) }; count]
    }

    fn missed(since: i64, pruned: i64, count: usize) -> Option<Missed<u8>> {
        let snapshot = Snapshot {
            membership: Some(MemberState::Member),
            epoch: Epoch::default(),
            revision: Revision(9),
        };
        let changes = Changes { rows: rows(count), pruned: Revision(pruned) };
        match renew(&snapshot, Revision(since), changes) {
            MemberResult::Member(renewed) => Some(renewed.missed),
            MemberResult::NotMember => None,
        }
    }

    #[test]
    fn what_cannot_be_told_one_by_one_is_too_many() {
        assert_eq!(missed(5, 5, MAX_MISSED), Some(Missed::These(rows(MAX_MISSED))));
        assert_eq!(missed(5, 5, MAX_MISSED + 1), Some(Missed::TooMany));
        assert_eq!(missed(4, 5, 1), Some(Missed::TooMany), "records are gone");
        assert_eq!(missed(10, 0, 0), Some(Missed::TooMany), "the asker is ahead");
    }

    #[test]
    fn only_a_member_is_answered() {
        for membership in [None, Some(MemberState::Retired)] {
            let snapshot = Snapshot { membership, epoch: Epoch::default(), revision: Revision(0) };
            assert_eq!(verify(&snapshot, ()), MemberResult::NotMember);
            let changes = Changes { rows: rows(0), pruned: Revision(0) };
            assert_eq!(renew(&snapshot, Revision(0), changes), MemberResult::NotMember);
        }
    }
}
