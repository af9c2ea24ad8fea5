//! Pins the bytes and the JSON of the messages that other languages send and read.

use super::*;
use crate::SessionId;
use crate::wire::{self, Encoding, MAX_BATCH};

fn user() -> Verified {
    Verdict::Valid(UserPrincipal {
        user: UserId(7),
        username: "ada".into(),
        email: "a@b.c".into(),
        session: SessionId([9; 16]),
        is_original: true,
        expires_at: Timestamp(1_764_975_600_250),
    })
    .into()
}

fn service() -> Verified {
    Verdict::Valid(KeyPrincipal {
        key: KeyId(1),
        name: "ci".into(),
        owner: UserId(300),
        expires_at: Timestamp(1_764_975_600_000),
    })
    .into()
}

fn json<T: Serialize>(value: &T) -> String {
    String::from_utf8(Encoding::Json.encode(value).unwrap()).unwrap()
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
fn the_bytes_of_version_one_never_change() {
    let ask = wire::encode(&Verify::of(Secret::new("x".into()))).unwrap();
    assert_eq!(ask, [1, 1, b'x', 0, 0]);
    let ask = wire::encode(&VerifyBatch::of(vec![Secret::new("x".into())])).unwrap();
    assert_eq!(ask, [1, 1, b'x', 0, 0]);
    let least = MinRevision { keys: Some(Position(3)), identity: None };
    let ask = Verify { min_revision: Some(least), ..Verify::of(Secret::new("x".into())) };
    assert_eq!(wire::encode(&ask).unwrap(), [1, 1, b'x', 0, 1, 1, 6, 0]);
    let (head, name) = ([0, 1, 1, 251, 88, 2, 0, 0, 1, 2, 1, 2, b'c', b'i'], 14);
    let reply = wire::encode(&service()).unwrap();
    assert_eq!(reply[..name], head);
    assert_eq!(wire::decode::<Timestamp>(&reply[name..]).unwrap(), Timestamp(1_764_975_600_000));
    let codes = OUTCOMES.map(|(outcome, _)| wire::encode(&outcome).unwrap());
    assert_eq!(codes.concat(), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn what_is_written_reads_back_in_both_encodings() {
    for encoding in [Encoding::Bincode, Encoding::Json] {
        let batch = VerifiedBatch {
            results: vec![user(), service(), Verdict::<UserPrincipal>::Unknown.into()],
        };
        let bytes = encoding.encode(&batch).unwrap();
        assert_eq!(encoding.decode::<VerifiedBatch>(&bytes).unwrap(), batch);
        let ask = Verify {
            credential: Some(Secret::new("é\"\\".into())),
            required_scope: Some("s".into()),
            min_revision: Some(MinRevision { keys: None, identity: Some(Position(7)) }),
        };
        let back: Verify = encoding.decode(&encoding.encode(&ask).unwrap()).unwrap();
        assert_eq!((back.credential, back.required_scope), (ask.credential, ask.required_scope));
        assert_eq!(back.min_revision, ask.min_revision);
    }
}

#[test]
fn a_field_may_be_missing_but_not_unknown_twice_or_of_another_type() {
    let read = |text: &str| Encoding::Json.decode::<Verify>(text.as_bytes());
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
            Some(MinRevision { keys: Some(Position(5)), identity: None }),
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
    let batch = |text: &str| Encoding::Json.decode::<VerifyBatch>(text.as_bytes());
    assert!(batch("{}").unwrap().credentials.is_empty());
    assert!(batch(r#"{"credentials": "x"}"#).is_err());
    assert!(batch(r#"{"credentials": ["x", null]}"#).is_err());
}

#[test]
fn a_negative_revision_is_named_and_none_is_none() {
    let faults = |keys: i64, identity: i64| {
        let least = MinRevision { keys: Some(Position(keys)), identity: Some(Position(identity)) };
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
    let user = UserPrincipal {
        user: UserId(i64::MAX),
        username: "\u{10400}".repeat(50).into(),
        email: "a".repeat(254).into(),
        session: SessionId([255; 16]),
        is_original: true,
        expires_at: Timestamp(253_402_300_799_999),
    };
    let key = KeyPrincipal {
        key: KeyId(i64::MAX),
        name: "\u{10400}".repeat(100).into(),
        owner: UserId(i64::MAX),
        expires_at: Timestamp(253_402_300_799_999),
    };
    for one in [Verified::from(Verdict::Valid(user)), Verdict::Valid(key).into()] {
        let results = VerifiedBatch { results: vec![one; MAX_BATCH] };
        assert!(wire::encode(&results).is_ok());
        assert!(Encoding::Json.encode(&results).is_ok());
    }
}
