//! Pins the bytes and the JSON of the messages that other languages send and read.

use std::sync::Arc;

use super::*;
use crate::Grants;
use crate::wire::{self, CONTRACT, Contracts, Encoding, MAX_BATCH};
use crate::{KeyDetail, Owner, SessionId, UserDetail};

fn user_of(username: &str, email: &str, number: i64, expires_at: Timestamp) -> Principal {
    let user = UserDetail {
        id: UserId(number),
        username: username.into(),
        email: email.into(),
        session: SessionId([9; 16]),
        is_original: true,
        is_narrowed: false,
    };
    let grants = Arc::new(Grants::everything());
    Principal { expires_at, detail: Detail::User(user.into()), grants }
}

fn key_of(name: &str, id: i64, owner: i64, expires_at: Timestamp) -> Principal {
    let owner = Owner::User(UserId(owner));
    let key = KeyDetail { id: KeyId(id), owner, name: name.into(), lineage: KeyId(id) };
    let grants = Arc::new(Grants::everything());
    Principal { expires_at, detail: Detail::Key(key), grants }
}

fn user() -> Verified {
    Verdict::Valid(user_of("ada", "a@b.c", 7, Timestamp(1_764_975_600_250))).into()
}

fn service() -> Verified {
    Verdict::Valid(key_of("ci", 1, 300, Timestamp(1_764_975_600_000))).into()
}

fn json<T: Serialize>(value: &T) -> String {
    String::from_utf8(wire::to_json(value).unwrap()).unwrap()
}

const OUTCOMES: [(Outcome, &str); 6] = [
    (Outcome::Valid, "valid"),
    (Outcome::Expired, "expired"),
    (Outcome::Revoked, "revoked"),
    (Outcome::Unknown, "unknown"),
    (Outcome::Malformed, "malformed"),
    (Outcome::Inactive, "inactive"),
];

#[test]
fn the_json_of_version_one_never_changes() {
    assert_eq!(
        json(&user()),
        r#"{"outcome":"valid","principal":{"type":"user","user_id":7,"username":"ada","email":"a@b.c","key_id":null,"name":null,"expires_at":"2025-12-05T23:00:00.25Z"}}"#
    );
    assert_eq!(
        json(&VerifiedBatch { results: vec![service()] }),
        r#"{"results":[{"outcome":"valid","principal":{"type":"service","user_id":300,"username":null,"email":null,"key_id":1,"name":"ci","expires_at":"2025-12-05T23:00:00Z"}}]}"#
    );
    for (outcome, code) in OUTCOMES {
        assert_eq!(outcome.code(), code);
        let text = format!(r#"{{"outcome":"{code}","principal":null}}"#);
        assert_eq!(json(&Verified { outcome, principal: None }), text);
    }
}

#[test]
fn the_bytes_never_change() {
    let encode = |ask: &Verify| wire::encode(ask, CONTRACT).unwrap();
    assert_eq!(encode(&Verify::of(Secret::new("x".into()))), [3, 0, 1, 1, b'x', 0, 0]);
    let ask = wire::encode(&VerifyBatch::of(vec![Secret::new("x".into())]), CONTRACT).unwrap();
    assert_eq!(ask, [3, 0, 1, 1, b'x', 0, 0]);
    let least = MinRevision { keys: Some(Revision(3)), identity: None };
    let ask = Verify { min_revision: Some(least), ..Verify::of(Secret::new("x".into())) };
    assert_eq!(encode(&ask), [3, 0, 1, 1, b'x', 0, 1, 1, 6, 0]);
    let reply = [3, 0, 0, 1, 1, 251, 88, 2, 0, 0, 1, 2, 1, 2, b'c', b'i'];
    // 2 · 1,764,975,600,000, as 64 bits with the lowest byte first.
    let expires_at = [253, 0, 195, 124, 225, 53, 3, 0, 0];
    assert_eq!(wire::encode(&service(), CONTRACT).unwrap(), [&reply[..], &expires_at].concat());
    let codes = OUTCOMES.map(|(outcome, _)| {
        wire::encode(&Verified { outcome, principal: None }, CONTRACT).unwrap()[2]
    });
    assert_eq!(codes, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn what_is_written_reads_back_in_both_encodings() {
    for encoding in [Encoding::Bincode, Encoding::Json] {
        let batch = VerifiedBatch {
            results: vec![user(), service(), Verdict::<Principal>::Unknown.into()],
        };
        let bytes = encoding.encode(&batch, CONTRACT).unwrap();
        let read = encoding.decode::<VerifiedBatch>(&bytes, Contracts::OWN).unwrap();
        assert_eq!(read, (CONTRACT, batch));
        let ask = Verify {
            credential: Some(Secret::new("é\"\\".into())),
            required_scope: Some("s".into()),
            min_revision: Some(MinRevision { keys: None, identity: Some(Revision(7)) }),
        };
        let bytes = encoding.encode(&ask, CONTRACT).unwrap();
        let (_, back): (_, Verify) = encoding.decode(&bytes, Contracts::OWN).unwrap();
        assert_eq!((back.credential, back.required_scope), (ask.credential, ask.required_scope));
        assert_eq!(back.min_revision, ask.min_revision);
    }
}

#[test]
fn a_field_may_be_missing_but_not_unknown_twice_or_of_another_type() {
    let read = |text: &str| wire::from_json::<Verify>(text.as_bytes());
    assert!(read("{}").unwrap().credential.is_none());
    assert!(read(r#"{"credential": null}"#).unwrap().credential.is_none());
    assert!(
        read(r#"{"credential": "", "required_scope": null}"#).unwrap().required_scope.is_none()
    );
    for (text, least) in [
        ("null", None),
        ("{}", Some(MinRevision::default())),
        (
            r#"{"keys": 5, "identity": null}"#,
            Some(MinRevision { keys: Some(Revision(5)), identity: None }),
        ),
    ] {
        let text = format!(r#"{{"min_revision": {text}}}"#);
        assert_eq!(read(&text).unwrap().min_revision, least, "{text}");
    }
    for wrong in [
        r#"{"credential": "x", "min_revision": 5}"#,
        r#"{"credential": "x", "min_revision": {"key": 5}}"#,
        r#"{"credential": "x", "min_revision": {"keys": "5"}}"#,
        r#"{"credential": "x", "min_revision": {"keys": 5.5}}"#,
        r#"{"credential": "x", "min_revision": {"keys": 9223372036854775808}}"#,
        r#"{"credential": 5}"#,
        r#"{"credential": ["x"]}"#,
        r#"{"credential": "x", "required_scopes": "admin"}"#,
        r#"{"credential": "x", "required_scope": ["admin"]}"#,
        r#"{"credential": "x", "credential": "y"}"#,
        r#"{"credential": "\ud800"}"#,
        "null",
        "",
    ] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
    let batch = |text: &str| wire::from_json::<VerifyBatch>(text.as_bytes());
    assert!(batch("{}").unwrap().credentials.is_empty());
    assert!(batch(r#"{"credentials": "x"}"#).is_err());
    assert!(batch(r#"{"credentials": ["x", null]}"#).is_err());
}

#[test]
fn a_negative_revision_is_named_and_none_is_none() {
    let faults = |keys: i64, identity: i64| {
        let least = MinRevision { keys: Some(Revision(keys)), identity: Some(Revision(identity)) };
        least.faults().into_iter().map(|fault| fault.field).collect::<Vec<_>>()
    };
    assert!(faults(0, i64::MAX).is_empty());
    assert!(MinRevision::default().faults().is_empty());
    assert_eq!(faults(-1, 1), ["min_revision.keys"]);
    assert_eq!(faults(-1, i64::MIN), ["min_revision.keys", "min_revision.identity"]);
}

#[test]
fn a_contradiction_is_not_accepted() {
    let valid = user();
    for (outcome, _) in OUTCOMES {
        let accepted = Verified { outcome, ..valid.clone() }.accepted();
        assert_eq!(accepted.is_some(), outcome == Outcome::Valid);
    }
    assert_eq!(Verified { outcome: Outcome::Valid, principal: None }.accepted(), None);
}

#[test]
fn the_largest_batch_of_the_longest_principals_fits() {
    let last = Timestamp(253_402_300_799_999);
    let user = user_of(&"\u{10400}".repeat(50), &"a".repeat(254), i64::MAX, last);
    let key = key_of(&"\u{10400}".repeat(100), i64::MAX, i64::MAX, last);
    for one in [Verified::from(Verdict::Valid(user)), Verdict::Valid(key).into()] {
        let results = VerifiedBatch { results: vec![one; MAX_BATCH] };
        assert!(wire::encode(&results, CONTRACT).is_ok());
        assert!(wire::to_json(&results).is_ok());
    }
}
