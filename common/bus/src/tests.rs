//! Two releases on one bus: which number is spoken, and what happens where there is none in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use latchkey_contract::caller::UserAgent;
use latchkey_contract::message::{Message, Untranslatable};
use latchkey_contract::wire::{CONTRACT, PREVIOUS};
use latchkey_contract::{Actor, CallError, Caller, Failure, Sender, same};
use serde::{Deserialize, Serialize};

use super::*;

/// A request whose `limit` is new: the contract before cannot say it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Ask {
    limit: Option<u32>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct AskBefore;

/// A reply that says in which number its request was read, where the contract before has no place for one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Told {
    Read(u16),
    Secret,
}

impl Message for Ask {
    type Previous = AskBefore;

    fn into_previous(self) -> Result<AskBefore, Untranslatable> {
        if self.limit.is_some() { Err(Untranslatable("a limit")) } else { Ok(AskBefore) }
    }

    fn from_previous(_: AskBefore) -> Result<Self, Untranslatable> {
        Ok(Self { limit: None })
    }
}

impl Message for Told {
    type Previous = u16;

    fn into_previous(self) -> Result<u16, Untranslatable> {
        match self {
            Self::Read(contract) => Ok(contract),
            Self::Secret => Err(Untranslatable("a secret")),
        }
    }

    fn from_previous(previous: u16) -> Result<Self, Untranslatable> {
        Ok(Self::Read(previous))
    }
}

impl Rpc for Ask {
    const SUBJECT: &'static str = "v1.test.ask";
    const TIMEOUT: Duration = Duration::from_mins(1);
    type Reply = Told;
}

/// The same on another subject, the same in both contracts.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Plain;

same!(Plain);

impl Rpc for Plain {
    const SUBJECT: &'static str = "v1.test.plain";
    const TIMEOUT: Duration = Duration::from_mins(1);
    type Reply = ();
}

fn context() -> Context {
    Context::new(RequestId::new("test"), Duration::from_mins(1))
}

/// A bus for this release and one for another, and how many requests handlers were given.
fn two_releases(other: u16) -> (Bus, Bus, Routes, Arc<AtomicUsize>) {
    let local = Local::default();
    let other = local.speaking(Contracts::of(other));
    let handled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&handled);
    let routes =
        Routes::new("test", "0.0.0", "").on::<Ask, _, _>(move |context, ask: Ask| {
            count.fetch_add(1, Ordering::Relaxed);
            async move {
                Ok(if ask.limit == Some(0) { Told::Secret } else { Told::Read(context.contract) })
            }
        });
    (Bus::Local(local), Bus::Local(other), routes, handled)
}

#[tokio::test]
async fn one_release_speaks_the_newest_number() {
    let (ours, _, routes, handled) = two_releases(PREVIOUS);
    let _serving = ours.serve(routes).await.unwrap();
    let told = ours.call(&context(), &Ask { limit: Some(1) }).await;
    assert_eq!(told, Ok(Told::Read(CONTRACT)));
    assert_eq!(handled.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_newer_asker_and_an_older_answerer_meet_and_nothing_is_done_twice() {
    let (newer, older, routes, handled) = two_releases(PREVIOUS);
    let serving = older.serve(routes.clone()).await.unwrap();
    for asked in 1..=3 {
        let told = newer.call(&context(), &Ask { limit: None }).await;
        assert_eq!(told, Ok(Told::Read(PREVIOUS)));
        assert_eq!(handled.load(Ordering::Relaxed), asked);
    }
    // Exchanged for one of this release, within the minute: it reads the number that was agreed on.
    drop(serving);
    let _serving = newer.serve(routes).await.unwrap();
    assert_eq!(newer.call(&context(), &Ask { limit: None }).await, Ok(Told::Read(PREVIOUS)));
}

#[tokio::test]
async fn an_older_asker_is_answered_in_its_number() {
    let (newer, older, routes, handled) = two_releases(PREVIOUS);
    let _serving = newer.serve(routes).await.unwrap();
    let told = older.call(&context(), &Ask { limit: None }).await;
    assert_eq!(told, Ok(Told::Read(PREVIOUS)));
    assert_eq!(handled.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn what_the_older_side_cannot_be_told_is_not_said_to_it_at_all() {
    let (newer, older, routes, handled) = two_releases(PREVIOUS);
    // A request: nothing is sent that means less than was asked.
    let serving = older.serve(routes.clone()).await.unwrap();
    let told = newer.call(&context(), &Ask { limit: Some(1) }).await;
    assert_eq!((told, handled.load(Ordering::Relaxed)), (Err(CallError::Incompatible), 0));
    drop(serving);
    // A reply: the asker has none.
    let routes = Routes::new("test", "0.0.0", "").on::<Ask, _, _>(async |_, _| Ok(Told::Secret));
    let _serving = newer.serve(routes).await.unwrap();
    let told = older.call(&context(), &Ask { limit: None }).await;
    assert_eq!(told, Err(CallError::Unavailable));
}

#[tokio::test]
async fn releases_that_are_two_apart_do_nothing_for_each_other() {
    for far in [CONTRACT + 2, CONTRACT + 3] {
        let (ours, other, routes, handled) = two_releases(far);
        let _serving = other.serve(routes).await.unwrap();
        let told = ours.call(&context(), &Ask { limit: None }).await;
        assert_eq!(told, Err(CallError::Incompatible), "{far}");
        assert_eq!(handled.load(Ordering::Relaxed), 0);
        let plain = Routes::new("plain", "0.0.0", "").on::<Plain, _, _>(async |_, Plain| Ok(()));
        let _serving = other.serve(plain).await.unwrap();
        assert_eq!(ours.call(&context(), &Plain).await, Err(CallError::Incompatible));
    }
}

#[tokio::test]
async fn a_handler_is_told_who_asks_whatever_the_asker_says() {
    let (bus, _, _, _) = two_releases(PREVIOUS);
    let routes =
        Routes::new("test", "0.0.0", "").on::<Ask, _, _>(|context: Context, _| async move {
            let asker = context.asker.as_deref().and_then(|user| user.strip_prefix("local-"));
            Ok(asker.and_then(|number| number.parse().ok()).map_or(Told::Secret, Told::Read))
        });
    let _serving = bus.serve(routes).await.unwrap();
    let claims = Context { asker: Some(Arc::from("local-4")), ..context() };
    let ask = Ask { limit: None };
    assert_eq!(bus.call(&claims, &ask).await, Ok(Told::Secret), "the bus itself has no number");
    assert_eq!(bus.of_process(3).call(&claims, &ask).await, Ok(Told::Read(3)));
    assert_eq!((bus.user(), bus.of_process(3).user()), ("local", "local-3"));
}

#[tokio::test]
async fn each_part_of_a_process_is_a_user_of_its_own_and_its_word_goes_no_further_than_a_user_s() {
    let bus = Bus::local();
    let routes = Routes::new("test", "0.0.0", "").on::<Command, _, _>(
        |context: Context, Command| async move {
            let caller = context.caller()?;
            assert_eq!((caller.request_id.as_str(), context.request_id.as_str()), ("r", "r"));
            assert_eq!(caller.address, Some([203, 0, 113, 7].into()));
            Ok::<_, Failure>(())
        },
    );
    let _serving = bus.as_user("test").serve(routes).await.unwrap();
    let user_agent = UserAgent::clean(b"curl/8.5");
    let (actor, address) = (Actor::Anonymous, Some([203, 0, 113, 7].into()));
    let caller = Caller { address, user_agent, ..Caller::of(actor, RequestId::new("r")) };
    let acting = context().acting(caller);
    assert_eq!(bus.as_user("edge").call(&acting, &Command).await, Ok(()));
    assert_eq!(bus.as_user("edge").of_process(3).call(&acting, &Command).await, Ok(()));
    for user in ["local", "test", "identity", "operator"] {
        let told = bus.as_user(user).call(&acting, &Command).await;
        assert_eq!(told, Err(CallError::Forbidden), "{user}");
    }
    assert_eq!(bus.as_user("edge").call(&context(), &Command).await, Err(CallError::Forbidden));
}

/// A command of an edge's.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Command;

same!(Command);

impl Rpc for Command {
    const SUBJECT: &'static str = "v1.test.command";
    const TIMEOUT: Duration = Duration::from_mins(1);
    const SENDER: Option<Sender> = Some(Sender::Edge);
    type Reply = ();
}
