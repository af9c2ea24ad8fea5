//! Pins the bytes and the JSON of the messages that other languages send and read.

use std::sync::Arc;

use super::*;
use crate::scope::Scopes;
use crate::wire::{self, CONTRACT, Contracts, Encoding, MAX_BATCH};
use crate::{
    AllowedIps, Detail, Grants, KeyDetail, Metadata, Owner, SessionId, Timestamp, UserDetail,
};

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

/// A key of which everything is said that can be.
fn detailed() -> Principal {
    let grants = Grants {
        scopes: Scopes::of(["orders:*", "users:read"]).unwrap(),
        environment: Some("live".into()),
        allowed_ips: AllowedIps::of(["10.0.0.0/8"]).unwrap(),
        metadata: Metadata::of(&serde_json::json!({"team": "core"})).unwrap(),
        external_id: Some("x-1".into()),
    };
    let key = key_of("ci", 1, 300, Timestamp(1_764_975_600_000));
    let Detail::Key(key) = key.detail else { panic!("a key") };
    let detail = Detail::Key(KeyDetail { lineage: KeyId(9), ..key });
    Principal { expires_at: Timestamp(1_764_975_600_000), detail, grants: Arc::new(grants) }
}

fn json<T: Serialize>(value: &T) -> String {
    String::from_utf8(wire::to_json(value).unwrap()).unwrap()
}

const OUTCOMES: [(Outcome, &str); 11] = [
    (Outcome::Valid, "valid"),
    (Outcome::Expired, "expired"),
    (Outcome::Revoked, "revoked"),
    (Outcome::Unknown, "unknown"),
    (Outcome::Malformed, "malformed"),
    (Outcome::Inactive, "inactive"),
    (Outcome::Disabled, "disabled"),
    (Outcome::WrongKind, "wrong_kind"),
    (Outcome::WrongEnvironment, "wrong_environment"),
    (Outcome::IpDenied, "ip_denied"),
    (Outcome::InsufficientScope, "insufficient_scope"),
];

#[test]
fn the_json_of_version_one_never_changes() {
    assert_eq!(
        json(&user()),
        r#"{"outcome":"valid","principal":{"type":"user","user_id":7,"username":"ada","email":"a@b.c","key_id":null,"name":null,"expires_at":"2025-12-05T23:00:00.25Z","scopes":["*"],"environment":null,"owner":{"type":"user","id":7},"external_id":null,"metadata":null,"lineage_id":null,"session_id":"09090909090909090909090909090909"},"denied":null}"#
    );
    assert_eq!(
        json(&VerifiedBatch { results: vec![service()] }),
        r#"{"results":[{"outcome":"valid","principal":{"type":"service","user_id":300,"username":null,"email":null,"key_id":1,"name":"ci","expires_at":"2025-12-05T23:00:00Z","scopes":["*"],"environment":null,"owner":{"type":"user","id":300},"external_id":null,"metadata":{},"lineage_id":1,"session_id":null},"denied":null}]}"#
    );
    assert_eq!(
        json(&Verified::from(Verdict::Valid(detailed()))),
        r#"{"outcome":"valid","principal":{"type":"service","user_id":300,"username":null,"email":null,"key_id":1,"name":"ci","expires_at":"2025-12-05T23:00:00Z","scopes":["orders:*","users:read"],"environment":"live","owner":{"type":"user","id":300},"external_id":"x-1","metadata":{"team":"core"},"lineage_id":9,"session_id":null},"denied":null}"#
    );
    assert_eq!(
        json(&Verified::denied(Outcome::IpDenied, &detailed())),
        r#"{"outcome":"ip_denied","principal":null,"denied":{"key_id":1,"user_id":300}}"#
    );
    let user = user_of("ada", "a@b.c", 7, Timestamp(1));
    assert_eq!(
        json(&Verified::denied(Outcome::WrongKind, &user)),
        r#"{"outcome":"wrong_kind","principal":null,"denied":{"key_id":null,"user_id":7}}"#
    );
    for (outcome, code) in OUTCOMES {
        assert_eq!(outcome.code(), code);
        let text = format!(r#"{{"outcome":"{code}","principal":null,"denied":null}}"#);
        assert_eq!(json(&Verified { outcome, principal: None, denied: None }), text);
    }
}

#[test]
fn the_bytes_never_change() {
    let encode = |ask: &Verify| wire::encode(ask, CONTRACT).unwrap();
    assert_eq!(encode(&Verify::of(Secret::new("x".into()))), [3, 0, 1, 1, b'x', 0, 0, 0, 0, 0]);
    let ask = wire::encode(&VerifyBatch::of(vec![Secret::new("x".into())]), CONTRACT).unwrap();
    assert_eq!(ask, [3, 0, 1, 1, b'x', 0, 0, 0, 0, 0]);
    let least = MinRevision { keys: Some(Revision(3)), identity: None };
    let ask = Verify { min_revision: Some(least), ..Verify::of(Secret::new("x".into())) };
    assert_eq!(encode(&ask), [3, 0, 1, 1, b'x', 0, 0, 0, 0, 1, 1, 6, 0]);
    let (kind, environment) = (Some(PrincipalKind::Service), Some("live".to_owned()));
    let (scope, ip) = (RequiredScope(vec!["a b".into(), "c".into()]), Some("::1".to_owned()));
    let credentials = vec![Secret::new("x".into())];
    let ask = VerifyBatch {
        credentials,
        required_scope: Some(scope),
        kind,
        environment,
        ip,
        min_revision: None,
    };
    assert_eq!(
        wire::encode(&ask, CONTRACT).unwrap(),
        [
            &[3, 0, 1, 1, b'x', 1, 2, 3][..],
            b"a b",
            &[1],
            b"c",
            &[1, 1, 1, 4],
            b"live",
            &[1, 3],
            b"::1",
            &[0]
        ]
        .concat()
    );
    let reply = [3, 0, 0, 1, 1, 251, 88, 2, 0, 0, 1, 2, 1, 2, b'c', b'i'];
    // 2 · 1,764,975,600,000, as 64 bits with the lowest byte first.
    let expires_at = [253, 0, 195, 124, 225, 53, 3, 0, 0];
    // Its scopes; no environment; the owner; no external id; metadata without a member; its lineage; no session; and
    // nothing was denied.
    let more = [1, b'*', 0, 0, 251, 88, 2, 0, 1, 0, 1, 2, 0, 0];
    assert_eq!(
        wire::encode(&service(), CONTRACT).unwrap(),
        [&reply[..], &expires_at, &more].concat()
    );
    let denied = Verified::denied(Outcome::InsufficientScope, &detailed());
    assert_eq!(wire::encode(&denied, CONTRACT).unwrap(), [3, 0, 10, 0, 1, 1, 2, 251, 88, 2]);
    let codes = OUTCOMES.map(|(outcome, _)| {
        wire::encode(&Verified { outcome, principal: None, denied: None }, CONTRACT).unwrap()[2]
    });
    assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
}

#[test]
fn what_is_written_reads_back_in_both_encodings() {
    for encoding in [Encoding::Bincode, Encoding::Json] {
        let batch = VerifiedBatch {
            results: vec![
                user(),
                service(),
                Verdict::Valid(detailed()).into(),
                Verdict::<Principal>::Unknown.into(),
                Verified::denied(Outcome::WrongEnvironment, &detailed()),
            ],
        };
        let bytes = encoding.encode(&batch, CONTRACT).unwrap();
        let read = encoding.decode::<VerifiedBatch>(&bytes, Contracts::OWN).unwrap();
        assert_eq!(read, (CONTRACT, batch));
        let ask = Verify {
            credential: Some(Secret::new("é\"\\".into())),
            required_scope: Some(RequiredScope(vec!["s".into(), "t u".into()])),
            kind: Some(PrincipalKind::User),
            environment: Some("test".into()),
            ip: Some("203.0.113.7".into()),
            min_revision: Some(MinRevision { keys: None, identity: Some(Revision(7)) }),
        };
        let bytes = encoding.encode(&ask, CONTRACT).unwrap();
        let (_, back): (_, Verify) = encoding.decode(&bytes, Contracts::OWN).unwrap();
        assert_eq!(back, ask);
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
    for (text, texts) in
        [(r#""a b""#, &["a b"][..]), (r#"["a b", "c"]"#, &["a b", "c"]), ("[]", &[])]
    {
        let text = format!(r#"{{"credential": "x", "required_scope": {text}}}"#);
        assert_eq!(read(&text).unwrap().required_scope.unwrap().0, texts, "{text}");
    }
    let nothing = r#"{"required_scope": null, "kind": null, "environment": null, "ip": null}"#;
    assert_eq!(read(nothing).unwrap(), Verify::default());
    assert_eq!(read(r#"{"kind": "service"}"#).unwrap().kind, Some(PrincipalKind::Service));
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
        r#"{"credential": "x", "required_scope": 5}"#,
        r#"{"credential": "x", "required_scope": ["admin", null]}"#,
        r#"{"credential": "x", "required_scope": {"any": ["admin"]}}"#,
        r#"{"credential": "x", "scope": "admin"}"#,
        r#"{"credential": "x", "kind": "key"}"#,
        r#"{"credential": "x", "kind": ""}"#,
        r#"{"credential": "x", "environment": ["live"]}"#,
        r#"{"credential": "x", "ip": 127}"#,
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
    assert_eq!(Verified { principal: None, ..valid }.accepted(), None);
}

#[test]
fn an_outcome_of_a_later_release_is_no_answer_so_that_nobody_is_accepted_by_it() {
    let beyond = u8::try_from(OUTCOMES.len()).unwrap();
    let bytes = wire::encode(&user(), CONTRACT).unwrap();
    assert!(wire::decode::<Verified>(&bytes, Contracts::OWN).is_ok());
    let later = [&bytes[..2], &[beyond], &bytes[3..]].concat();
    assert!(wire::decode::<Verified>(&later, Contracts::OWN).is_err());
    let later = json(&user()).replace("\"valid\"", "\"rate_limited\"");
    assert!(wire::from_json::<Verified>(later.as_bytes()).is_err());
}

#[test]
fn the_largest_batch_of_the_longest_principals_fits() {
    let last = Timestamp(253_402_300_799_999);
    let user = user_of(&"\u{10400}".repeat(50), &"a".repeat(254), i64::MAX, last);
    let key = key_of(&"\u{10400}".repeat(100), i64::MAX, i64::MAX, last);
    for one in [Verified::from(Verdict::Valid(user)), Verdict::Valid(key).into()] {
        let results = VerifiedBatch { results: vec![one; MAX_BATCH] };
        assert!(wire::encode(&results, CONTRACT).is_ok());
        // In JSON, which names every field of each, they take more than one message: so many fit.
        let results = VerifiedBatch { results: results.results[..60].to_vec() };
        assert!(wire::to_json(&results).is_ok());
    }
    // And a hundred whose names and addresses are of usual length.
    let user = user_of(&"u".repeat(50), &"a".repeat(100), i64::MAX, last);
    let key = key_of(&"k".repeat(100), i64::MAX, i64::MAX, last);
    for one in [Verified::from(Verdict::Valid(user)), Verdict::Valid(key).into()] {
        assert!(wire::to_json(&VerifiedBatch { results: vec![one; MAX_BATCH] }).is_ok());
    }
}
