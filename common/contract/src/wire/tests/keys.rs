//! Pins the bytes of what is said of keys by an operator, and by a client that may ask again.

use super::*;
use crate::identity::{NameUser, UserName};
use crate::keys::{FindKeys, FoundKey, KnownBy};

#[test]
fn the_bytes_of_what_an_operator_asks_about_keys_never_change() {
    let asks = [KnownBy::Hash(CredentialHash([7; 32])), KnownBy::Hint("a…".into())];
    let bytes: Vec<u8> = asks.into_iter().flat_map(|by| body(&FindKeys { by })).collect();
    assert_eq!(bytes, [&[0][..], &[7; 32], &[1, 4, b'a', 0xe2, 0x80, 0xa6]].concat());
    let (id, name, owner) = (KeyId(1), "ci".to_owned(), UserId(300));
    let found = FoundKey { id, name, state: KeyState::Active, owner };
    assert_eq!(body(&found), [2, 2, b'c', b'i', 5, 251, 88, 2]);
    assert_eq!(body(&NameUser { user: owner }), [251, 88, 2]);
    assert_eq!(body(&UserName { username: "ada".to_owned() }), [3, b'a', b'd', b'a']);
}

#[test]
fn what_a_client_may_ask_again_has_its_bytes_and_a_malformed_key_is_not_read() {
    let text = "0123456789abcdef";
    let idempotency = crate::Idempotency {
        key: crate::IdempotencyKey::parse(text).unwrap(),
        route: crate::IdempotentRoute::CreateMany,
        request: crate::RequestDigest([7; 32]),
    };
    let ask = crate::keys::IssueKeys {
        owner: UserId(1),
        narrowed: None,
        keys: Vec::new(),
        seed: Secret::new("s".into()),
        idempotency: Some(idempotency),
    };
    assert!(!format!("{ask:?}").contains(text));
    let bytes = [&[2, 0, 0, 1, b's', 1, 16][..], text.as_bytes(), &[2], &[7; 32]].concat();
    assert_eq!(body(&ask), bytes);
    let short =
        [&[3, 0, 2, 0, 0, 1, b's', 1, 15][..], &text.as_bytes()[1..], &[2], &[7; 32]].concat();
    assert!(matches!(decode::<crate::keys::IssueKeys>(&short), Err(WireError::Decode(_))));
    let object = KeyObject::bare(KeyId(1), Owner::User(UserId(1)), Timestamp(0), Timestamp(1));
    let issued = IssuedKey { object, key: Secret::new("k".into()), is_replayed: true };
    assert!(body(&issued).ends_with(&[2, 1, b'k', 1]));
}
