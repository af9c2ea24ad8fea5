//! How refresh tokens follow from each other.

use super::*;

const SESSION: SessionId = SessionId([7; 16]);
const MARK: Mark = Mark([9; 16]);

fn tokens(secret: &str, previous: Option<&str>) -> RefreshTokens {
    RefreshTokens::new(&Config {
        secret: Secret::new(secret.to_owned()),
        previous: previous.map(|secret| Secret::new(secret.to_owned())),
        issuer: "latchkey".to_owned(),
        audience: "latchkey".to_owned(),
        lifetime_seconds: 1_800,
    })
    .unwrap()
}

const OLD: &str = "0123456789abcdef0123456789abcdef";
const NEW: &str = "fedcba9876543210fedcba9876543210";

#[test]
fn the_next_token_follows_from_the_token_its_session_and_the_secret_and_from_nothing_less() {
    let made = tokens(OLD, None);
    let first = made.first(SESSION, MARK).unwrap();
    assert_eq!(first, made.first(SESSION, MARK).unwrap());
    assert_ne!(first, made.first(SESSION, Mark([8; 16])).unwrap());
    assert_ne!(first, made.first(SessionId([8; 16]), MARK).unwrap());
    let next = made.next(&first, SESSION).unwrap();
    assert_eq!(next, made.next(&first, SESSION).unwrap());
    let others = [
        first.clone(),
        made.next(&next, SESSION).unwrap(),
        made.next(&first, SessionId([8; 16])).unwrap(),
        tokens(NEW, None).next(&first, SESSION).unwrap(),
    ];
    assert!(!others.contains(&next));
    assert!(RefreshToken::parse(&next.into_secret()).is_ok());
}

#[test]
fn a_token_that_was_made_under_the_secret_before_is_found_again() {
    let first = tokens(OLD, None).first(SESSION, MARK).unwrap();
    let next = tokens(OLD, None).next(&first, SESSION).unwrap();
    let again = |by: &RefreshTokens| by.again(&first, SESSION, next.hash()).unwrap();
    assert_eq!(again(&tokens(OLD, None)), Some(next.clone()));
    assert_eq!(again(&tokens(NEW, Some(OLD))), Some(next.clone()));
    assert_eq!(again(&tokens(NEW, None)), None);
}

#[test]
fn seconds_that_are_left_are_never_less_than_none() {
    assert_eq!(seconds_left(Timestamp(1_999), Timestamp(3_000)), 2);
    assert_eq!(seconds_left(Timestamp(3_000), Timestamp(1_000)), 0);
}
