//! Pins the bytes of the messages.

use super::*;
use crate::wire::{self, CONTRACT, PREVIOUS};

fn whom(kind: &str, id: &str) -> EventTarget {
    EventTarget { kind: kind.to_owned(), id: id.to_owned() }
}

#[test]
fn the_bytes_never_change() {
    let filter = EventFilter {
        action: Some("key.".to_owned()),
        is_success: Some(true),
        actor: Some(whom("user", "1")),
        target: Some(whom("key", "7")),
        since: Some(Timestamp(1)),
        until: Some(Timestamp(2)),
        ip: Some("::1".to_owned()),
        request_id: Some("a".to_owned()),
    };
    let all = ListEvents::<KeysAuthority>::of(UserId(300), 10);
    let ask = ListEvents { filter, after: Some(5), oldest_first: true, ..all.clone() };
    let page = EventPage { events: vec![event()], next: Some(1) };
    for contract in [CONTRACT, PREVIOUS] {
        let number = contract.to_le_bytes();
        let none = [251, 88, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0];
        assert_eq!(wire::encode(&all, contract).unwrap(), [&number[..], &none].concat());
        let bytes = [
            &number[..],
            &[251, 88, 2, 1, 4],
            b"key.",
            &[1, 1, 1, 4],
            b"user",
            &[1, b'1', 1, 3],
            b"key",
            &[1, b'7', 1, 2, 1, 4, 1, 3],
            b"::1",
            &[1, 1, b'a', 1, 10, 10, 1],
        ];
        assert_eq!(wire::encode(&ask, contract).unwrap(), bytes.concat());
        let bytes = [
            &number[..],
            &[1, 2, 1, 2, 6, 1, b'a', 1, b'b', 0, 1, b'c', 1, 2, 0, 1, 3],
            b"key",
            &[1, b'7', 0, 0, 0, 1, b'r', 1, 4, 1, 2],
            b"{}",
            &[1, 2],
            b"ab",
            &[1, 2],
        ];
        assert_eq!(wire::encode(&page, contract).unwrap(), bytes.concat());
    }
}

fn event() -> AuditEvent {
    AuditEvent {
        id: 1,
        seq: Some(1),
        at: Timestamp(3),
        action: "a".to_owned(),
        outcome: "b".to_owned(),
        reason: None,
        actor_type: "c".to_owned(),
        actor_id: Some(1),
        actor_name: None,
        target: Some(whom("key", "7")),
        org_id: None,
        ip: None,
        user_agent: None,
        request_id: "r".to_owned(),
        revision: Some(2),
        changes: Some("{}".to_owned()),
        hash: Some("ab".to_owned()),
    }
}

#[test]
fn ids_are_numbers_but_for_those_of_sessions_and_names() {
    assert_eq!(whom("key", "7").number(), Some(7));
    for other in [whom("session", "7"), whom("name", "7"), whom("key", "07"), whom("key", "x")] {
        assert_eq!(other.number(), None, "{other:?}");
    }
}
