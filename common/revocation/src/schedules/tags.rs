//! Schedules of changes that name a tag: everything that hangs on an owner, everything at all.

use super::*;

#[test]
fn a_change_of_many_takes_every_entry_of_its_owner_and_no_other() {
    let mut edge = Edge::joined();
    let question = edge.ask(0);
    edge.take(&question, 0, 1).unwrap();
    edge.change(Tag::Shared(owner(71)), 1);
    assert_eq!(edge.look(2), Some(Says::Good));
    edge.change(Tag::Shared(owner(OWNER)), 2);
    assert_eq!(edge.look(2), None);
    assert_eq!(edge.take(&question, 1, 2), Err(RejectReason::Invalidated));
    // Reactivated, or made since.
    assert_eq!(edge.take(&question, 3, 2), Ok(()));
    assert_eq!(edge.look(2), Some(Says::Good));
}

#[test]
fn a_change_that_arrives_after_a_later_one_takes_what_was_looked_at_in_between() {
    let mut edge = Edge::joined();
    let question = edge.ask(0);
    edge.take(&question, 0, 1).unwrap();
    edge.change(Tag::Shared(owner(71)), 2);
    assert_eq!(edge.look(2), Some(Says::Good));
    edge.change(Tag::Shared(owner(OWNER)), 1);
    assert_eq!(edge.look(2), None);
}

#[test]
fn a_change_of_everything_and_one_that_cannot_be_read_take_every_answer_but_facts() {
    for tag in [Tag::All, Tag::Unknown(9)] {
        for verdict in [Says::Good, Says::Disabled, Says::Unknown] {
            let mut edge = Edge::joined();
            let question = edge.ask(0);
            edge.cache.take(&question, KEY, said(verdict, 0), at(1), Timestamp(0)).unwrap();
            assert_eq!(edge.look(1), Some(verdict));
            assert!(edge.change(tag, 1).is_some());
            assert_eq!(edge.look(2), None, "{tag:?} {verdict:?}");
            assert_eq!(edge.take(&question, 0, 2), Err(RejectReason::BelowFloor));
            assert_eq!(edge.take(&question, 1, 2), Ok(()));
            assert_eq!(edge.look(2), Some(Says::Good));
        }
        let mut edge = Edge::joined();
        let question = edge.ask(0);
        edge.cache.take(&question, KEY, said(Says::Revoked, 0), at(1), Timestamp(0)).unwrap();
        edge.change(tag, 1);
        assert_eq!(edge.look(9_999), Some(Says::Revoked), "it needs no lease either");
    }
}

#[test]
fn a_refusal_that_may_change_is_relied_on_under_the_lease_and_goes_with_its_tags() {
    let past = EXPIRY.plus(1);
    for (verdict, wall, has_owner) in [
        (Says::Disabled, Timestamp(0), true),
        (Says::Expired, past, true),
        (Says::Unknown, Timestamp(0), false),
    ] {
        let mut edge = Edge::joined();
        let nonce = edge.ask_to_renew(0);
        edge.renewed(nonce, 0, &[], 1);
        let question = edge.ask(0);
        let fill = |edge: &Edge, revision| {
            edge.cache.take(&question, KEY, said(verdict, revision), at(1), wall)
        };
        let look = |edge: &Edge, now| edge.cache.look(&KEY, at(now), wall, Revision(0));
        fill(&edge, 0).unwrap();
        assert_eq!(look(&edge, 1_999), Some(verdict), "no question is asked each time");
        assert_eq!(look(&edge, 2_000), None, "{verdict:?} without a lease");
        edge.invalidate(KEY, 1);
        assert_eq!(look(&edge, 2), None, "{verdict:?} after a change of it");
        assert_eq!(fill(&edge, 0), Err(RejectReason::Invalidated));
        fill(&edge, 1).unwrap();
        edge.change(Tag::Shared(owner(OWNER)), 2);
        let stays = (!has_owner).then_some(verdict);
        assert_eq!(look(&edge, 2), stays, "{verdict:?} after a change of its owner");
    }
    let edge = Edge::joined();
    let question = edge.ask(0);
    edge.cache.take(&question, KEY, said(Says::Expired, 0), at(1), past).unwrap();
    assert_eq!(edge.look(2), None, "the clock here does not show that it has expired");
}

#[test]
fn a_drop_of_everything_takes_refusals_too_and_a_full_memory_of_tags_takes_what_is_older() {
    let mut edge = Edge::joined();
    let question = edge.ask(0);
    edge.cache.take(&question, KEY, said(Says::Unknown, 0), at(1), Timestamp(0)).unwrap();
    let nonce = edge.ask_to_renew(2);
    let missed = Renewed { epoch: EPOCH, revision: Revision(5), missed: Missed::TooMany };
    edge.keeper.renewed(&edge.cache, nonce, MemberResult::Member(missed), at(3));
    assert_eq!(edge.look(3), None);
    assert_eq!(edge.take(&question, 4, 3), Err(RejectReason::BelowFloor));

    let mut edge = Edge::with_tombstones(3);
    let question = edge.ask(0);
    edge.take(&question, 0, 1).unwrap();
    for revision in 1..=3 {
        edge.change(Tag::Shared(owner(100 + revision)), revision);
        assert_eq!(edge.look(2), Some(Says::Good), "nothing of it has changed");
    }
    edge.change(Tag::Shared(owner(104)), 4);
    assert_eq!(edge.look(2), None, "the tombstone of the first change is gone");
    edge.take(&question, 1, 2).unwrap();
    assert_eq!(edge.look(2), Some(Says::Good));
}
