//! Pins the bytes of what is said of sessions.

use super::*;

#[test]
fn the_bytes_of_sessions_never_change() {
    use crate::identity::{EndSession, ListSessions, LoggedIn, NextRefresh, SessionObject};
    use crate::identity::{Refresh, Refreshed, RevokeToken, SessionPage};

    let token = || Secret::new("t".into());
    let ask = Refresh { token: token(), scope: None, mark: crate::Mark([7; 16]) };
    assert_eq!(body(&ask), [&[1, b't', 0][..], &[7; 16]].concat());
    let refresh = Some(NextRefresh { token: token(), expires_in: 5 });
    let next = LoggedIn { access_token: token(), expires_in: 9, scope: None, refresh };
    assert_eq!(body(&Refreshed::Next(next)), [0, 1, b't', 9, 0, 1, 1, b't', 5]);
    assert_eq!(body(&Refreshed::Reused), [1]);
    assert_eq!(body(&RevokeToken { token: token(), reused: true }), [1, b't', 1]);
    let shown = crate::keys::RevokeShown { hash: CredentialHash([7; 32]) };
    assert_eq!(body(&shown), [7; 32]);
    let list = ListSessions { user: UserId(1), before: Some(2) };
    assert_eq!(body(&list), [2, 1, 4]);
    assert_eq!(body(&EndSession { user: UserId(1), handle: "h".into() }), [2, 1, b'h']);
    let at = Timestamp(1);
    let session = SessionObject {
        handle: "h".into(),
        id: crate::SessionId([7; 16]),
        created_at: at,
        last_seen_at: at,
        expires_at: at,
        idle_expires_at: at,
        device: None,
        user_agent: None,
        ip: None,
        methods: vec!["p".into()],
        kind: "k".into(),
    };
    let longest = SessionObject {
        handle: "h".repeat(16),
        device: Some("\u{10400}".repeat(64)),
        user_agent: Some("u".repeat(255)),
        ip: Some("i".repeat(45)),
        methods: vec!["method".into(); 4],
        created_at: Timestamp(i64::MAX),
        ..session.clone()
    };
    let page = SessionPage { sessions: vec![longest; ListSessions::MAX], next: Some(1) };
    assert!(body(&page).len() < MAX_MESSAGE);
    let page = SessionPage { sessions: vec![session], next: None };
    let bytes =
        [&[1, 1, b'h'][..], &[7; 16], &[2, 2, 2, 2, 0, 0, 0, 1, 1, b'p', 1, b'k', 0]].concat();
    assert_eq!(body(&page), bytes);
}
