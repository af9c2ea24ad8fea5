//! A revoke, step by step.

use super::*;

const EPOCH: Epoch = Epoch { made: 1, timeline: 1 };

fn committed() -> Revocation {
    let (is_confirmed, early_from) = (false, Moment(0));
    let commit =
        Commit { revision: Revision(1), epoch: EPOCH, already: false, is_confirmed, early_from };
    let mut revocation = Revocation::new(&Bounds::default(), true);
    revocation.committed(Moment(0), commit);
    revocation
}

fn ids(count: usize) -> impl Iterator<Item = MemberId> {
    (0..count as u128).map(|id| MemberId(id.to_le_bytes()))
}

#[test]
fn more_members_than_are_kept_apart_are_waited_out() {
    for (count, is_known) in [(MAX_MEMBERS - 1, true), (MAX_MEMBERS, false)] {
        let mut revocation = committed();
        revocation.members(Some((EPOCH, ids(count))));
        assert_eq!(revocation.members != Members::Unknown, is_known, "{count}");
        for id in ids(count + 1) {
            revocation.acknowledged(id, EPOCH, Revision(1));
        }
        assert_eq!(revocation.acknowledged.len(), MAX_MEMBERS, "there is a bound");
        assert_eq!(matches!(revocation.next(Moment(1)), Step::Return(_)), is_known);
    }
}

#[test]
fn only_who_has_applied_this_very_change_counts() {
    let mut revocation = committed();
    revocation.members(Some((EPOCH, ids(1))));
    let other = Epoch { made: 2, timeline: 1 };
    for (epoch, revision, counted) in [(other, 1, 0), (EPOCH, 2, 0), (EPOCH, 1, 1)] {
        for id in ids(1) {
            revocation.acknowledged(id, epoch, Revision(revision));
        }
        assert_eq!(revocation.receipt(Moment(1)).edges_confirmed, counted);
    }
}

#[test]
fn what_is_published_is_repeated_to_the_silent_and_to_nobody_else() {
    let (end, repeat) = (Bounds::default().wait(), Bounds::default().repeat());
    for early in [true, false] {
        let mut revocation = committed();
        revocation.early = early;
        assert_eq!(revocation.next(Moment(0)), Step::ReadMembers);
        revocation.members(Some((EPOCH, ids(1))));
        assert_eq!(revocation.next(Moment(0)), Step::Publish);
        revocation.published(Moment(7));
        for now in [7, 7 + repeat - 1] {
            assert_eq!(revocation.next(Moment(now)), Step::Wait(Moment(7 + repeat)));
        }
        assert_eq!(revocation.next(Moment(7 + repeat)), Step::Publish);
        revocation.published(Moment(end - 1));
        assert_eq!(revocation.next(Moment(end - 1)), Step::Wait(Moment(end)), "it ends first");
        for id in ids(1) {
            revocation.acknowledged(id, EPOCH, Revision(1));
        }
        revocation.published(Moment(7));
        for now in [8, 7 + repeat] {
            let step = revocation.next(Moment(now));
            let returns = matches!(step, Step::Return(_));
            assert!(returns == early && (returns || step == Step::Wait(Moment(end))), "{step:?}");
        }
    }
}

#[test]
fn only_who_was_silent_through_the_whole_wait_is_retired() {
    let end = Bounds::default().wait();
    let mut revocation = committed();
    revocation.members(Some((EPOCH, ids(2))));
    for id in ids(1) {
        revocation.acknowledged(id, EPOCH, Revision(1));
    }
    let silent: Vec<_> = ids(2).skip(1).collect();
    for (now, retire) in [(end - 1, Vec::new()), (end, silent.clone()), (end + 1, silent)] {
        let aftermath = Aftermath { retire, delete: Vec::new(), mark_confirmed: true };
        assert_eq!(revocation.aftermath(Moment(now)), aftermath, "{now}");
    }
}

#[test]
fn a_history_that_nobody_has_watched_is_watched_for_a_wait_since_it_was_first_seen() {
    let (bounds, other) = (Bounds::default(), Epoch { made: 2, timeline: 1 });
    let wait = bounds.wait();
    let mut watch = EpochWatch::default();
    for (now, epoch, proved, from) in [
        (1, EPOCH, true, 1),
        (3, EPOCH, false, 3 + wait),
        (9, EPOCH, false, 3 + wait),
        (10, other, false, 10 + wait),
        (11, other, true, 11),
        (12, other, false, 10 + wait),
        (13, EPOCH, false, 13 + wait),
    ] {
        let early = watch.early_from(Moment(now), epoch, proved, &bounds);
        assert_eq!(early, Moment(from), "{now}");
    }
}
