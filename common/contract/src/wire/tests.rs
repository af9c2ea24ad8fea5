//! Pins the bytes of messages, and shows that hostile ones are refused.

use super::*;
use crate::keys::{IssueKey, VerifyKeys};
use crate::lease::{Epoch, MemberId, Position, ReadAt, Standing};
use crate::{
    CredentialHash, FieldError, KeyId, KeyPrincipal, Refusal, Secret, Timestamp, UserId, Verdict,
    Verdicts,
};

type VerifyReply = Result<Standing<Verdicts<KeyPrincipal>>, Refusal>;

#[test]
fn the_bytes_of_version_one_never_change() {
    let ask = VerifyKeys { hashes: vec![CredentialHash([7; 32])], member: None };
    assert_eq!(encode(&ask).unwrap(), [&[1][..], &[7; 32], &[0]].concat());
    let ask = VerifyKeys { hashes: Vec::new(), member: Some(MemberId([9; 16])) };
    assert_eq!(encode(&ask).unwrap(), [&[0, 1][..], &[9; 16]].concat());

    let principal = KeyPrincipal {
        key: KeyId(1),
        name: "ci".into(),
        owner: UserId(300),
        expires_at: Timestamp(-1),
    };
    let read_at = ReadAt { epoch: Epoch { made: 1, timeline: 2 }, position: Position(3) };
    let verdicts = vec![Verdict::Valid(principal), Verdict::Revoked];
    let reply: VerifyReply = Ok(Standing::Member(Verdicts { read_at, verdicts }));
    let bytes = [0, 1, 2, 4, 6, 2, 0, 2, 2, b'c', b'i', 251, 88, 2, 1, 3];
    assert_eq!(encode(&reply).unwrap(), bytes);
    let stranger: VerifyReply = Ok(Standing::NotMember);
    assert_eq!(encode(&stranger).unwrap(), [0, 0]);

    let refusals = [
        Refusal::Invalid(vec![FieldError::new("f", "m")]),
        Refusal::EmailTaken,
        Refusal::UsernameTaken,
        Refusal::WrongCredentials,
        Refusal::InactiveUser,
        Refusal::KeyNotFound,
        Refusal::UserNotFound,
        Refusal::TooManyRequests { retry_after_ms: 5 },
    ];
    let bytes: Vec<u8> = refusals.iter().flat_map(|r| encode(r).unwrap()).collect();
    assert_eq!(bytes, [0, 1, 1, b'f', 1, b'm', 1, 2, 3, 4, 5, 6, 7, 5]);
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
    assert!(matches!(decode::<VerifyKeys>(&hostile), Err(WireError::Decode(_))));
    assert!(matches!(decode::<Vec<u8>>(&hostile), Err(WireError::Decode(_))));
}

#[test]
fn trailing_bytes_and_cut_messages_are_refused() {
    let ask = VerifyKeys { hashes: vec![CredentialHash([7; 32]); 3], member: None };
    let mut bytes = encode(&ask).unwrap();
    for end in 0..bytes.len() {
        assert!(decode::<VerifyKeys>(&bytes[..end]).is_err(), "{end}");
    }
    bytes.push(0);
    assert!(matches!(decode::<VerifyKeys>(&bytes), Err(WireError::Trailing(1))));
}

#[test]
fn what_is_above_the_limit_is_neither_written_nor_read() {
    let name = Some("x".repeat(MAX_MESSAGE));
    let ask = IssueKey { owner: UserId(1), name, expires_in: crate::keys::ExpiresIn::Default };
    assert!(encode(&ask).is_err());
    assert!(matches!(decode::<IssueKey>(&vec![0; MAX_MESSAGE + 1]), Err(WireError::TooLarge(_))));
}

#[test]
fn the_largest_batch_of_the_longest_principals_fits() {
    let principal = crate::UserPrincipal {
        user: UserId(i64::MAX),
        username: "\u{10400}".repeat(50).into(),
        email: "a".repeat(254).into(),
        session: crate::SessionId([255; 16]),
        is_original: true,
        expires_at: Timestamp(i64::MAX),
    };
    let reply: Result<_, Refusal> = Ok(vec![Verdict::Valid(principal); MAX_BATCH]);
    assert!(encode(&reply).unwrap().len() <= MAX_MESSAGE);
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
    let read = |text: &str| Encoding::Json.decode::<crate::identity::LogIn>(text.as_bytes());
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
    assert!(matches!(Encoding::Json.encode(&name), Err(WireError::TooLarge(_))));
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let deep = Encoding::Json.decode::<serde_json::Value>(deep.as_bytes());
    assert!(matches!(deep, Err(WireError::Json { .. })));
}

#[test]
fn what_is_said_of_an_unreadable_message_quotes_nothing_of_it() {
    let read = |text: &str| {
        let error = Encoding::Json.decode::<crate::identity::LogIn>(text.as_bytes()).unwrap_err();
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
fn a_refusal_in_json_never_changes() {
    let show = |refusal: &Refusal| {
        let document = Encoding::Json.encode(&refusal.document()).unwrap();
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
