//! Acknowledgements find whoever waits for them.

use latchkey_contract::lease::{Epoch, MemberId};
use latchkey_contract::wire::CONTRACT;

use super::*;

fn message(revision: i64) -> Vec<u8> {
    let (member, epoch) = (MemberId([1; 16]), Epoch { made: 1, timeline: 1 });
    let acknowledge = Acknowledge { member, epoch, revision: Revision(revision) };
    wire::encode(&acknowledge, CONTRACT).unwrap()
}

#[test]
fn everybody_who_waits_for_a_change_hears_who_has_applied_it() {
    let acknowledgements = Acknowledgements::default();
    let mut mine = [acknowledgements.of(Revision(5)), acknowledgements.of(Revision(5))];
    let mut other = acknowledgements.of(Revision(6));
    let hear = |message: &[u8]| {
        acknowledgements.hear("v1.keys.acknowledge.0.edge", message, Contracts::OWN);
    };
    hear(&message(5));
    hear(b"?");
    for receiver in &mut mine {
        let heard = receiver.try_recv().unwrap();
        assert_eq!((&*heard.user, heard.acknowledge.revision), ("edge", Revision(5)));
        assert!(receiver.try_recv().is_err());
    }
    assert!(other.try_recv().is_err());
    let [gone, mut stays] = mine;
    drop(gone);
    acknowledgements.forget(Revision(5));
    assert_eq!(acknowledgements.table().get(&Revision(5)).map(Vec::len), Some(1));
    hear(&message(5));
    assert!(stays.try_recv().is_ok());
    drop(stays);
    acknowledgements.forget(Revision(5));
    assert_eq!(acknowledgements.table().len(), 1, "nothing is kept of what nobody waits for");
}
