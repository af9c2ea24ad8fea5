//! Pins the bytes of messages, and shows that hostile ones are refused.

mod keys;
mod sessions;

use std::sync::Arc;

use super::*;
use crate::identity::IdentityAuthority;
use crate::keys::{
    IssueKey, IssuedKey, KeyObject, KeyState, KeysAuthority, NewKey, RecordUses, VerifyKeys,
};
use crate::lease::{Epoch, MemberId, MemberResult, ReadAt, Revision};
use crate::refusal::Conflict;
use crate::{
    AllowedIps, CredentialHash, Detail, FieldError, Grants, KeyDetail, KeyId, Metadata, Owner,
    Principal, Refusal, Secret, Timestamp, UserDetail, UserId, Verdict, Verdicts,
};

/// The number that stands in front of every message.
const NUMBER: [u8; 2] = CONTRACT.to_le_bytes();

fn encode<T: Message>(value: &T) -> Result<Vec<u8>, WireError> {
    super::encode(value, CONTRACT)
}

fn decode<T: Message>(bytes: &[u8]) -> Result<T, WireError> {
    super::decode(bytes, Contracts::OWN).map(|(_, value)| value)
}

/// A message of any length.
#[derive(Clone, Debug, PartialEq, Serialize, serde::Deserialize)]
struct LongText {
    text: String,
}

crate::same!(LongText);

/// What stands behind the number.
fn body<T: Message>(value: &T) -> Vec<u8> {
    let bytes = encode(value).unwrap();
    assert_eq!(bytes[..2], NUMBER);
    bytes[2..].to_vec()
}

type VerifyReply = Result<MemberResult<Verdicts<KeysAuthority>>, Refusal>;

#[test]
fn the_bytes_never_change() {
    let ask = VerifyKeys { hashes: vec![CredentialHash([7; 32])], member: None };
    assert_eq!(encode(&ask).unwrap(), [&[3, 0, 1][..], &[7; 32], &[0]].concat());
    let ask = VerifyKeys { hashes: Vec::new(), member: Some(MemberId([9; 16])) };
    assert_eq!(body(&ask), [&[0, 1][..], &[9; 16]].concat());

    let (id, owner) = (KeyId(1), Owner::User(UserId(300)));
    let key = KeyDetail { id, owner, name: "ci".into(), lineage: KeyId(2) };
    let grants = Arc::new(Grants {
        environment: Some("live".into()),
        allowed_ips: AllowedIps::of(["10.0.0.0/8"]).unwrap(),
        metadata: Metadata::of(&serde_json::json!({"a": 1})).unwrap(),
        external_id: Some("x".into()),
        ..Grants::everything()
    });
    let principal = Principal { expires_at: Timestamp(-1), detail: Detail::Key(key), grants };
    let read_at = ReadAt { epoch: Epoch { made: 1, timeline: 2 }, revision: Revision(3) };
    let verdicts = vec![Verdict::Valid(principal), Verdict::Revoked];
    let reply: VerifyReply = Ok(MemberResult::Member(Verdicts::new(read_at, verdicts)));
    let bytes = [
        &[0, 1, 2, 4, 6, 2, 1, 0, 1, 1, 2, 0, 251, 88, 2, 2, b'c', b'i', 4, 1, b'*', 1, 4][..],
        b"live",
        &[1, 0, 10, 0, 0, 0, 8, 7],
        br#"{"a":1}"#,
        &[1, 1, b'x', 1, 3],
    ]
    .concat();
    assert_eq!(body(&reply), bytes);
    let stranger: VerifyReply = Ok(MemberResult::NotMember);
    assert_eq!(body(&stranger), [0, 0]);

    let refusals = [
        Refusal::Invalid(vec![FieldError::new("f", "m")]),
        Refusal::EmailTaken,
        Refusal::UsernameTaken,
        Refusal::WrongCredentials,
        Refusal::InactiveUser,
        Refusal::KeyNotFound,
        Refusal::UserNotFound,
        Refusal::TooManyRequests { retry_after_ms: 5 },
        Refusal::SessionEnded,
        Refusal::Stale,
        Refusal::InsufficientScope { required: vec!["a".into()] },
        Refusal::UsersOnly,
        Refusal::Conflict(Conflict::Retiring),
        Refusal::IdempotencyMismatch,
        Refusal::IpDenied,
    ];
    let bytes: Vec<u8> = refusals.iter().flat_map(body).collect();
    assert_eq!(
        bytes,
        [0, 1, 1, b'f', 1, b'm', 1, 2, 3, 4, 5, 6, 7, 5, 8, 9, 10, 1, 1, b'a', 11, 12, 3, 13, 14,]
    );
}

#[test]
fn a_secret_crosses_the_bus_and_stays_out_of_debug_output() {
    let ask = crate::identity::SignUp {
        email: None,
        username: Some("ada".into()),
        password: Some(Secret::new("correct horse".into())),
    };
    assert!(!format!("{ask:?}").contains("horse"));
    let back: crate::identity::SignUp = decode(&encode(&ask).unwrap()).unwrap();
    assert_eq!(back.password, ask.password);
}

#[test]
fn a_hostile_length_prefix_is_refused_instead_of_allocated() {
    let hostile = [0xfd, 0, 0, 0, 0, 0, 0x40, 0, 0];
    let hostile = [&NUMBER[..], &hostile].concat();
    assert!(matches!(decode::<VerifyKeys>(&hostile), Err(WireError::Decode(_))));
    assert!(matches!(decode::<Vec<Refusal>>(&hostile), Err(WireError::Decode(_))));
}

#[test]
fn a_process_reads_its_own_number_and_the_one_before_and_says_so_of_any_other() {
    let ask = VerifyKeys { hashes: Vec::new(), member: None };
    for (contract, reads, read) in [
        (CONTRACT, Contracts::OWN, true),
        (PREVIOUS, Contracts::OWN, true),
        (CONTRACT, Contracts::of(PREVIOUS), false),
        (PREVIOUS, Contracts::of(PREVIOUS), true),
        (CONTRACT, Contracts::of(CONTRACT + 2), false),
        (PREVIOUS, Contracts::of(CONTRACT + 1), false),
    ] {
        let bytes = super::encode(&ask, contract).unwrap();
        match super::decode::<VerifyKeys>(&bytes, reads) {
            Ok((number, _)) => assert!(read && number == contract, "{contract} {reads}"),
            Err(WireError::Contract { found, reads: by }) => {
                assert!(!read && (found, by) == (contract, reads), "{contract} {reads}");
            }
            Err(error) => panic!("{error}"),
        }
    }
    for foreign in [0, CONTRACT + 1, u16::MAX] {
        let bytes = [&foreign.to_le_bytes()[..], &[0, 0]].concat();
        let read = decode::<VerifyKeys>(&bytes);
        assert!(matches!(read, Err(WireError::Contract { found, .. }) if found == foreign));
        assert!(super::encode(&ask, foreign).is_err(), "{foreign}");
    }
}

#[test]
fn two_sides_meet_in_the_greatest_number_that_both_read() {
    for (one, other, common) in [(2, 2, Some(2)), (2, 1, Some(1)), (3, 2, Some(2)), (4, 2, None)] {
        let (one, other) = (Contracts::of(one), Contracts::of(other));
        assert_eq!(one.greatest_common(other), common, "{one} {other}");
        assert_eq!(other.greatest_common(one), common, "{one} {other}");
    }
    for (text, shown) in [("1-2", "1-2"), ("1", "1"), ("7-7", "7")] {
        assert_eq!(text.parse::<Contracts>().unwrap().to_string(), shown);
    }
    for wrong in ["", "-", "1-", "-2", "x", "1-2-3", "70000", "1-70000"] {
        assert!(wrong.parse::<Contracts>().is_err(), "{wrong}");
    }
    for (newest, shown) in [(1, "1"), (2, "1-2"), (3, "2-3")] {
        let contracts = Contracts::of(newest);
        assert_eq!(contracts.to_string(), shown);
        assert_eq!(contracts.newest(), newest);
        assert_eq!(contracts.oldest(), newest.max(2) - 1);
    }
    let backwards: Contracts = "9-1".parse().unwrap();
    assert_eq!(backwards.greatest_common(Contracts::OWN), None);
}

#[test]
fn trailing_bytes_and_cut_messages_are_refused() {
    let ask = VerifyKeys { hashes: vec![CredentialHash([7; 32]); 3], member: None };
    let mut bytes = encode(&ask).unwrap();
    for end in 0..bytes.len() {
        let read = decode::<VerifyKeys>(&bytes[..end]);
        assert_eq!(matches!(read, Err(WireError::NoContract)), end < 2, "{end}");
        assert!(read.is_err(), "{end}");
    }
    bytes.push(0);
    assert!(matches!(decode::<VerifyKeys>(&bytes), Err(WireError::Trailing(1))));
}

#[test]
fn what_is_above_the_limit_is_neither_written_nor_read() {
    let name = Some("x".repeat(MAX_MESSAGE));
    let key = NewKey { name, ..NewKey::default() };
    let ask = IssueKey { owner: UserId(1), narrowed: None, key, seed: None, idempotency: None };
    assert!(encode(&ask).is_err());
    assert!(matches!(decode::<IssueKey>(&vec![0; MAX_MESSAGE + 1]), Err(WireError::TooLarge(_))));
}

#[test]
fn a_message_as_long_as_the_limit_is_written_and_read() {
    // Behind the number and the length, which takes three bytes, there is room for so much.
    let room = MAX_MESSAGE - NUMBER.len() - 3;
    let of = |length| LongText { text: "x".repeat(length) };
    let bytes = encode(&of(room)).unwrap();
    assert_eq!(bytes.len(), MAX_MESSAGE);
    assert_eq!(decode::<LongText>(&bytes).unwrap(), of(room));
    let above = encode(&of(room + 1));
    assert!(matches!(above, Err(WireError::TooLarge(bytes)) if bytes == MAX_MESSAGE + 1));
    let json = to_json(&"x".repeat(MAX_MESSAGE - 2)).unwrap();
    assert_eq!(json.len(), MAX_MESSAGE);
    assert!(from_json::<String>(&json).is_ok());
    let above = to_json(&"x".repeat(MAX_MESSAGE - 1));
    assert!(matches!(above, Err(WireError::TooLarge(bytes)) if bytes == MAX_MESSAGE + 1));
}

#[test]
fn an_encoding_writes_what_it_reads_and_json_is_of_no_contract() {
    let ask = VerifyKeys { hashes: vec![CredentialHash([7; 32])], member: None };
    for contract in [PREVIOUS, CONTRACT] {
        let bytes = Encoding::Bincode.encode(&ask, contract).unwrap();
        assert_eq!(bytes, super::encode(&ask, contract).unwrap());
        let (read, back) = Encoding::Bincode.decode::<VerifyKeys>(&bytes, Contracts::OWN).unwrap();
        assert_eq!((read, back.hashes), (contract, ask.hashes.clone()));
        let json = Encoding::Json.encode(&ask, contract).unwrap();
        assert_eq!(json, to_json(&ask).unwrap());
        let reads = Contracts::of(contract);
        let (read, back) = Encoding::Json.decode::<VerifyKeys>(&json, reads).unwrap();
        assert_eq!((read, back.hashes), (contract, ask.hashes.clone()));
    }
    assert_eq!(Encoding::Bincode.content_type(), None);
    assert_eq!(Encoding::of(Encoding::Json.content_type()), Encoding::Json);
}

#[test]
fn the_largest_batch_of_the_longest_principals_fits() {
    let user = UserDetail {
        id: UserId(i64::MAX),
        username: "\u{10400}".repeat(50).into(),
        email: "a".repeat(254).into(),
        session: crate::SessionId([255; 16]),
        is_original: true,
        is_narrowed: false,
    };
    let grants = Arc::new(Grants::everything());
    let detail = Detail::User(user.into());
    let principal = Principal { expires_at: Timestamp(i64::MAX), detail, grants };
    let epoch = Epoch { made: i64::MAX, timeline: i64::MAX };
    let read_at = ReadAt { epoch, revision: Revision(i64::MAX) };
    let verdicts = vec![Verdict::Valid(principal); MAX_BATCH];
    let verdicts = Verdicts::<IdentityAuthority>::new(read_at, verdicts);
    let reply: Result<_, Refusal> = Ok(MemberResult::Member(verdicts));
    let bytes = encode(&reply).unwrap();
    assert!(bytes.len() <= MAX_MESSAGE);
    let back: Result<MemberResult<Verdicts<IdentityAuthority>>, Refusal> = decode(&bytes).unwrap();
    assert_eq!(back, reply);
}

#[test]
fn what_is_written_can_be_read_however_small_its_numbers_are() {
    // Behind the number of the contract and the length: two bytes each.
    let uses = vec![(KeyId(1), Timestamp(1)); (MAX_MESSAGE - NUMBER.len() - 3) / 2];
    let bytes = encode(&RecordUses { uses: uses.clone() }).unwrap();
    assert!(bytes.len() > MAX_MESSAGE - 2);
    assert_eq!(decode::<RecordUses>(&bytes).unwrap().uses, uses);
    let lies = [&NUMBER[..], &[252, 0, 0, 9, 0]].concat();
    assert!(matches!(decode::<LongText>(&lies), Err(WireError::Decode(_))));
}

#[test]
fn the_content_type_says_which_encoding() {
    for json in ["application/json", "Application/JSON", " application/json ; charset=utf-8"] {
        assert_eq!(Encoding::of(Some(json)), Encoding::Json, "{json}");
    }
    for other in
        ["", "text/json", "application/jsonp", "application/problem+json", ";application/json"]
    {
        assert_eq!(Encoding::of(Some(other)), Encoding::Bincode, "{other}");
    }
    assert_eq!(Encoding::of(None), Encoding::Bincode);
}

#[test]
fn json_has_the_same_limits_and_takes_one_message() {
    let read = |text: &str| from_json::<crate::identity::LogIn>(text.as_bytes());
    let good = r#"{"username": "ada", "password": "secret"}"#;
    assert_eq!(read(good).unwrap().password, Some(Secret::new("secret".into())));
    assert!(read(&format!("{good}\n ")).is_ok());
    for end in 1..good.len() {
        let cut: String = good.chars().take(end).collect();
        assert!(read(&cut).is_err(), "{cut}");
    }
    for trailing in ["x", "{}", "\0"] {
        assert!(read(&format!("{good}{trailing}")).is_err(), "{trailing}");
    }
    let large = format!("{good}{}", " ".repeat(MAX_MESSAGE));
    assert!(matches!(read(&large), Err(WireError::TooLarge(_))));
    let name = "x".repeat(MAX_MESSAGE);
    assert!(matches!(to_json(&name), Err(WireError::TooLarge(_))));
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let deep = from_json::<serde_json::Value>(deep.as_bytes());
    assert!(matches!(deep, Err(WireError::Json { .. })));
}

#[test]
fn what_is_said_of_an_unreadable_message_quotes_nothing_of_it() {
    let read = |text: &str| {
        let error = from_json::<crate::identity::LogIn>(text.as_bytes()).unwrap_err();
        format!("{error} {error:?}")
    };
    for text in [
        r#"{"username": "ada", "password": ["sesame"]}"#,
        r#"{"username": "ada", "password": sesame}"#,
        r#"{"username": "ada", "password": "sesame""#,
        r#""sesame""#,
    ] {
        assert!(!read(text).contains("sesame"), "{}", read(text));
    }
    assert!(read("[").contains("line 1, column 1"), "{}", read("["));
}

#[test]
fn a_wrong_type_is_told_by_its_field_and_by_what_was_expected() {
    let told = |text: &str| {
        let error = from_json::<crate::verify::Verify>(text.as_bytes()).unwrap_err();
        (error.field().to_owned(), error.to_string())
    };
    for (text, field, says) in [
        (r#"{"credential": 5}"#, "credential", "must be a text, at line 1"),
        (r#"{"credential": ["sesame"]}"#, "credential", "must be a text"),
        (r#"{"credential": "sesame", "min_revision": 5}"#, "min_revision", "must be an object"),
        (r#"{"min_revision": {"keys": "sesame"}}"#, "min_revision.keys", "a whole number (i64)"),
        (r#"{"min_revision": {"keys": 9223372036854775808}}"#, "min_revision.keys", "(i64)"),
        (
            r#"{"min_revision": {"sesame": 5}}"#,
            "min_revision",
            "unknown field, where only `keys` or",
        ),
        (r#"{"sesame, expected sesame": 5}"#, "", "unknown field, where only one of `credential`"),
        (r#"{"credential": "x", "credential": "sesame"}"#, "", "has the field `credential` twice"),
        (r#"{"credential": sesame}"#, "", "no JSON"),
        (r#""sesame, expected sesame""#, "", "must be an object"),
    ] {
        let (named, told) = told(text);
        assert_eq!(named, field, "{text}: {told}");
        assert!(told.contains(says) && !told.contains("sesame"), "{text}: {told}");
    }
    let uses = from_json::<crate::keys::RecordUses>(br#"{"uses": [[1, "1970"]]}"#).unwrap_err();
    assert_eq!(uses.field(), "uses[0][1]", "{uses}");
}

#[test]
fn a_refusal_in_json_never_changes() {
    let show = |refusal: &Refusal| {
        let document = to_json(&refusal.document()).unwrap();
        format!("{} {}", refusal.status(), String::from_utf8(document).unwrap())
    };
    let invalid = Refusal::Invalid(vec![FieldError::new("f", "m")]);
    assert_eq!(show(&invalid), r#"422 {"code":"invalid","errors":[{"field":"f","message":"m"}]}"#);
    let wait = Refusal::TooManyRequests { retry_after_ms: 5 };
    let text = r#"429 {"code":"too_many_requests","errors":[],"retry_after_ms":5}"#;
    assert_eq!(show(&wait), text);
    let shown = [
        (Refusal::EmailTaken, r#"400 {"code":"email_taken","errors":[]}"#),
        (Refusal::UsernameTaken, r#"400 {"code":"username_taken","errors":[]}"#),
        (Refusal::WrongCredentials, r#"401 {"code":"wrong_credentials","errors":[]}"#),
        (Refusal::InactiveUser, r#"400 {"code":"inactive_user","errors":[]}"#),
        (Refusal::KeyNotFound, r#"404 {"code":"key_not_found","errors":[]}"#),
    ];
    for (refusal, text) in shown {
        assert_eq!(show(&refusal), text);
    }
}
