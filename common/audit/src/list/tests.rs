//! What a filter takes, what a page holds, and what may be asked.

use latchkey_contract::keys::KeysAuthority;
use latchkey_contract::{Timestamp, UserId};

use super::*;

#[expect(clippy::unnecessary_wraps, reason = "as the fields have it")]
fn target(kind: &str, id: &str) -> Option<EventTarget> {
    Some(EventTarget { kind: kind.to_owned(), id: id.to_owned() })
}

#[expect(clippy::unnecessary_wraps, reason = "as the fields have it")]
fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn event() -> AuditEvent {
    AuditEvent {
        id: 1,
        seq: None,
        at: Timestamp(1_000),
        action: "key.revoked".to_owned(),
        outcome: "success".to_owned(),
        reason: None,
        actor_type: "user".to_owned(),
        actor_id: Some(1),
        actor_name: None,
        target: target("key", "7"),
        org_id: None,
        ip: text("203.0.113.7"),
        user_agent: None,
        request_id: "a-1".to_owned(),
        revision: None,
        changes: None,
        hash: None,
    }
}

#[test]
fn a_filter_takes_what_it_says() {
    let none = EventFilter::default;
    let takes = |filter: &EventFilter| Filter::of(filter).takes(&event());
    for good in [
        none(),
        EventFilter { action: text("key."), ..none() },
        EventFilter { is_success: Some(true), ..none() },
        EventFilter { actor: target("user", "1"), ..none() },
        EventFilter { target: target("key", "7"), ..none() },
        EventFilter { since: Some(Timestamp(1_000)), until: Some(Timestamp(1_001)), ..none() },
        EventFilter { ip: text("203.0.113.7"), ..none() },
        EventFilter { ip: text("::ffff:203.0.113.7"), ..none() },
        EventFilter { request_id: text("a-1"), ..none() },
    ] {
        assert!(takes(&good), "{good:?}");
    }
    for other in [
        EventFilter { action: text("revoked"), ..none() },
        EventFilter { is_success: Some(false), ..none() },
        EventFilter { actor: target("key", "1"), ..none() },
        EventFilter { actor: target("user", "2"), ..none() },
        EventFilter { target: target("key", "70"), ..none() },
        EventFilter { target: target("user", "7"), ..none() },
        EventFilter { since: Some(Timestamp(1_001)), ..none() },
        EventFilter { until: Some(Timestamp(1_000)), ..none() },
        EventFilter { ip: text("203.0.113.0"), ..none() },
        EventFilter { ip: text("203.0.113.0/24"), ..none() },
        EventFilter { request_id: text("a"), ..none() },
    ] {
        assert!(!takes(&other) && !Filter::of(&other).takes_all(), "{other:?}");
    }
    let of_net = AuditEvent { ip: text("203.0.113.0/24"), ..event() };
    for ip in ["203.0.113.9", "203.0.113.0/24"] {
        let filter = EventFilter { ip: text(ip), ..none() };
        assert!(Filter::of(&filter).takes(&of_net), "{ip}: of events whose network is kept");
    }
}

#[test]
fn a_page_holds_no_more_than_a_message_and_always_one() {
    let long = shown(AuditEvent { changes: text(&"x".repeat(MAX_CHANGES)), ..event() });
    let mut page = Page::new(0, 100);
    assert!(page.add(&long) && !page.add(&long) && page.add(&event()));
    let longer = shown(AuditEvent { changes: text(&"x".repeat(MAX_CHANGES + 1)), ..event() });
    assert_eq!(longer.changes.as_deref(), Some(LEFT_OUT));
    let mut page = Page::new(0, 1);
    assert!(page.add(&event()) && !page.add(&event()));
}

#[test]
fn what_is_asked_is_bounded() {
    let ask = |limit| ListEvents::<KeysAuthority>::of(UserId(1), limit);
    assert_eq!(check(&ask(1)), Ok(()));
    for limit in [0, 101, u32::MAX] {
        assert!(check(&ask(limit)).is_err(), "{limit}");
    }
    let long = "x".repeat(MAX_FILTER + 1);
    for filter in [
        EventFilter { action: text(""), ..EventFilter::default() },
        EventFilter { request_id: text(&long), ..EventFilter::default() },
        EventFilter { target: target("key", &long), ..EventFilter::default() },
        EventFilter { actor: target("", "1"), ..EventFilter::default() },
    ] {
        let mut ask = ask(1);
        ask.filter = filter;
        assert!(check(&ask).is_err());
    }
}
