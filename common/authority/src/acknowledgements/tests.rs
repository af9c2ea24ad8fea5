//! Acknowledgements find whoever waits for them.

use latchkey_contract::lease::{Epoch, MemberId};
use latchkey_contract::wire::CONTRACT;

use super::*;

fn message(position: i64) -> Vec<u8> {
    let (member, epoch) = (MemberId([1; 16]), Epoch { made: 1, timeline: 1 });
    let acknowledge = Acknowledge { member, epoch, position: Position(position) };
    wire::encode(&acknowledge, CONTRACT).unwrap()
}

#[test]
fn everybody_who_waits_for_a_change_hears_who_has_applied_it() {
    let acknowledgements = Acknowledgements::default();
    let mut mine = [acknowledgements.of(Position(5)), acknowledgements.of(Position(5))];
    let mut other = acknowledgements.of(Position(6));
    let hear = |message: &[u8]| {
        acknowledgements.hear("v1.keys.acknowledge.0.edge", message, Contracts::OWN);
    };
    hear(&message(5));
    hear(b"?");
    for receiver in &mut mine {
        let heard = receiver.try_recv().unwrap();
        assert_eq!((&*heard.user, heard.acknowledge.position), ("edge", Position(5)));
        assert!(receiver.try_recv().is_err());
    }
    assert!(other.try_recv().is_err());
    let [gone, mut stays] = mine;
    drop(gone);
    acknowledgements.forget(Position(5));
    assert_eq!(acknowledgements.table().get(&Position(5)).map(Vec::len), Some(1));
    hear(&message(5));
    assert!(stays.try_recv().is_ok());
    drop(stays);
    acknowledgements.forget(Position(5));
    assert_eq!(acknowledgements.table().len(), 1, "nothing is kept of what nobody waits for");
}
