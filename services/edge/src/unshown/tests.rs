//! Keys that nobody was shown, with a key service that the test plays.

use std::io;

use latchkey_bus::{RequestId, Routes, Serving};
use latchkey_contract::Owner;
use latchkey_contract::authority::{Changed, Receipt};
use latchkey_contract::keys::{KeyObject, NewKey};
use latchkey_contract::lease::Revision;
use latchkey_contract::{
    Actor, Caller, Failure, Idempotency, IdempotencyKey, IdempotentRoute, Refusal, RequestDigest,
    Secret, SessionId, Timestamp, UserId,
};

use super::*;

/// What the key service does with the first message that asks it for a key.
type First = fn() -> Failure;

struct Bench {
    keys: Arc<UnshownKeys>,
    asked: Arc<Mutex<Vec<&'static str>>>,
    _serving: Serving,
}

/// A key service that answers the first message by `first`, and every later one with a key.
async fn bench(first: First) -> Bench {
    let (bus, asked) = (Bus::local(), Arc::new(Mutex::new(Vec::new())));
    let (makes, revokes) = (Arc::clone(&asked), Arc::clone(&asked));
    let make = move |context: Context, ask: IssueKey| {
        assert!(ask.seed.is_some(), "the same key each time");
        assert_eq!(acts(&context), "user", "it is the user's command each time");
        let mut asked = makes.lock().unwrap();
        asked.push("make");
        let answer = if asked.len() == 1 { Err(first()) } else { Ok(issued()) };
        async { answer }
    };
    let several = Arc::clone(&asked);
    let make_many = move |_: Context, ask: IssueKeys| {
        several.lock().unwrap().push("make");
        let answer = (1..).zip(&ask.keys).map(|(id, _)| issued_as(id)).collect();
        async move { Ok(answer) }
    };
    let revoke = move |context: Context, ask: RevokeKey| {
        assert_eq!(acts(&context), "system", "nobody has asked for it");
        assert_eq!(ask.owner, UserId(2));
        assert!([1, 2].contains(&ask.key.0), "{}", ask.key);
        revokes.lock().unwrap().push("revoke");
        let (revision, edges_confirmed, waited_ms) = (Revision(1), 0, 0);
        async move { Ok(Changed::Confirmed(Receipt { revision, edges_confirmed, waited_ms })) }
    };
    let routes = Routes::new("keys", "0.0.0", "").on::<IssueKey, _, _>(make);
    let routes = routes.on::<IssueKeys, _, _>(make_many);
    let serving = bus.serve(routes.on::<RevokeKey, _, _>(revoke)).await.unwrap();
    let keys = Arc::new(UnshownKeys::new(bus.as_user(NAME), Duration::from_secs(1)));
    Bench { keys, asked, _serving: serving }
}

/// The kind of whoever acts, by the same request each time.
fn acts(context: &Context) -> &'static str {
    assert_eq!(context.request_id.as_str(), "test");
    context.actor().expect("somebody acts")
}

fn issued() -> IssuedKey {
    issued_as(1)
}

fn issued_as(id: i64) -> IssuedKey {
    let owner = Owner::User(UserId(2));
    let object = KeyObject::bare(KeyId(id), owner, Timestamp(0), Timestamp(1));
    IssuedKey { object, key: Secret::new("sk_".to_owned()), is_replayed: false }
}

/// What the key service is asked for, where the client is gone after the first answer.
async fn asked_after(first: First) -> Vec<&'static str> {
    let (bench, context) = (bench(first).await, by_a_user());
    let request = IssueKey {
        owner: UserId(2),
        narrowed: None,
        key: NewKey::default(),
        seed: Some(Secret::new("seed".to_owned())),
        idempotency: None,
    };
    let mut making = bench.keys.making(&context, request);
    making.make().await.unwrap_err();
    drop(making);
    bench.keys.run().await;
    bench.asked.lock().unwrap().clone()
}

fn by_a_user() -> Context {
    let request_id = RequestId::new("test");
    let actor = Actor::User { id: UserId(2), session: SessionId([1; 16]) };
    let context = Context::new(request_id.clone(), Duration::from_secs(5));
    context.acting(Caller::of(actor, request_id))
}

#[tokio::test]
async fn of_several_keys_that_nobody_is_shown_each_is_revoked() {
    for whoever_made_them_has_ended in [true, false] {
        let bench = bench(|| Failure::Overloaded).await;
        let request = IssueKeys {
            owner: UserId(2),
            narrowed: None,
            keys: vec![NewKey::default(); 2],
            seed: Secret::new("seed".to_owned()),
            idempotency: None,
        };
        let mut making = bench.keys.making(&by_a_user(), request);
        assert_eq!(making.make_many().await.unwrap().len(), 2);
        if whoever_made_them_has_ended {
            making.revoke().await;
        } else {
            drop(making);
            bench.keys.run().await;
        }
        assert_eq!(*bench.asked.lock().unwrap(), ["make", "revoke", "revoke"]);
    }
}

/// An error of no kind that a handler knows.
fn broken() -> io::Error {
    io::Error::other("broken")
}

#[tokio::test]
async fn a_key_that_may_have_been_made_is_revoked() {
    let unavailable: First = || Failure::Unavailable(Box::new(broken()));
    let faulty: First = || Failure::Fault(Box::new(broken()));
    for first in [unavailable, faulty] {
        assert_eq!(asked_after(first).await, ["make", "make", "revoke"]);
    }
}

#[tokio::test]
async fn a_key_that_was_not_made_is_left_alone() {
    let refused: First = || Refusal::InactiveUser.into();
    let overloaded: First = || Failure::Overloaded;
    for first in [refused, overloaded] {
        assert_eq!(asked_after(first).await, ["make"]);
    }
}

#[tokio::test]
async fn what_its_client_may_ask_for_again_stays_unless_whoever_acts_has_ended() {
    for (has_ended, asked) in [(false, &["make"][..]), (true, &["make", "revoke"])] {
        let bench = bench(|| Failure::Overloaded).await;
        let request = IssueKeys {
            owner: UserId(2),
            narrowed: None,
            keys: vec![NewKey::default()],
            seed: Secret::new("seed".to_owned()),
            idempotency: Some(Idempotency {
                key: IdempotencyKey::parse("0123456789abcdef").unwrap(),
                route: IdempotentRoute::CreateMany,
                request: RequestDigest([1; 32]),
            }),
        };
        let mut making = bench.keys.making(&by_a_user(), request);
        making.make_many().await.unwrap();
        if has_ended {
            making.revoke().await;
        } else {
            drop(making);
            bench.keys.run().await;
        }
        assert_eq!(*bench.asked.lock().unwrap(), asked);
    }
}

#[test]
fn what_was_made_for_an_earlier_request_is_not_this_ones_to_revoke() {
    let earlier = IssuedKey { is_replayed: true, ..issued_as(1) };
    assert_eq!(ids(&[earlier, issued_as(2)]), [KeyId(2)]);
}
