//! When a member renews.

use super::*;

/// Until when nothing is to be sent, where the last question was sent at 0 and it is 1 now.
fn waits(edge: &mut Edge) -> u64 {
    match edge.keeper.next(at(1), || ID) {
        Next::Wait(until) => until.since(at(0)),
        other @ Next::Send(_) => panic!("it has asked a moment ago: {other:?}"),
    }
}

#[test]
fn it_renews_at_its_pace_and_sooner_only_where_something_was_missed() {
    const RENEWAL: u64 = 500 * MS;
    let mut edge = Edge::joined();
    let nonce = edge.ask_to_renew(0);
    edge.renewed(nonce, 0, &[], 1);
    assert_eq!(waits(&mut edge), RENEWAL);
    // Told, told again, and told late: nothing is missing.
    for revision in [1, 1, 2, 1] {
        edge.invalidate(8, revision);
        assert_eq!(waits(&mut edge), RENEWAL, "{revision}");
    }
    edge.invalidate(8, 4);
    assert_eq!(waits(&mut edge), RENEWAL / 8);
    let due = Moment(at(0).0 + RENEWAL / 8);
    assert!(matches!(edge.keeper.next(due, || ID), Next::Send(Ask::Renew { .. })));
    let mut edge = Edge::joined();
    edge.ask_to_renew(0);
    edge.keeper.missed();
    assert_eq!(waits(&mut edge), RENEWAL / 8);
}

#[test]
fn a_renewal_that_failed_is_over_and_each_question_has_a_name_of_its_own() {
    const LEASE: u64 = 2_000 * MS;
    let mut edge = Edge::joined();
    let given_up = edge.ask_to_renew(0);
    edge.keeper.failed(given_up);
    edge.renewed(given_up, 3, &[], 1);
    assert_eq!((edge.keeper.revision(), edge.cache.is_live(at(1))), (Some(Revision(0)), false));
    let (first, second) = (edge.ask_to_renew(2), edge.ask_to_renew(3));
    assert_ne!(first, second);
    edge.keeper.failed(first);
    edge.renewed(second, 4, &[], 4);
    assert_eq!(edge.keeper.revision(), Some(Revision(4)));
    let granted = at(3);
    assert!(
        edge.cache.is_live(granted.plus(LEASE - 1)) && !edge.cache.is_live(granted.plus(LEASE))
    );
}
