//! What begins anew on the bus: nothing of the life before stays behind, nothing is done twice, and nobody waits for a bus
//! that is away. On a real NATS server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::{Client, Message};
use e2e::lines::Lines;
use e2e::{nats, poll};
use futures_util::StreamExt;
use latchkey_bus::{Bus, Context, RequestId, Routes, endpoint, listener};
use latchkey_contract::authority::Authority;
use latchkey_contract::keys::{KeysAuthority, Ready};
use latchkey_contract::verify::Verify;
use latchkey_contract::{CallError, Rpc, same};
use latchkey_edge::replica::Replica;
use latchkey_gate::{Deps, Gate, MemoryConfig};
use latchkey_runtime::{Clock, Entropy, Environment, Stop};
use latchkey_service::{Process, Running, Service};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::timeout;

use crate::tasks::{SOON, answers, connect, start};

/// What a supervisor says of each new life.
const ANEW: &str = "an actor failed and is started again";
/// What the listener of these tests hears.
const PATTERN: &str = "v1.lives.*";

fn ready() -> Routes {
    Routes::new("lives", "0.0.0", "").on::<Ready, _, _>(|_, _| async { Ok(()) })
}

/// Ends a task, and waits until its owner has begun it anew.
async fn fell(bus: &Bus, lines: &Lines, task: &str) {
    let before = lines.with(ANEW).len();
    bus.fell(task);
    poll::until_async(task, SOON, async || (lines.with(ANEW).len() > before).then_some(())).await;
}

/// Waits until the bus is known to be away.
async fn is_away(bus: &Bus) {
    poll::until_async("the bus is away", SOON, async || (!bus.is_connected()).then_some(())).await;
}

/// The ids of the services that say that they are there.
async fn found(client: &Client) -> Vec<String> {
    /// Longer than an answer takes on one machine.
    const WINDOW: Duration = Duration::from_millis(200);
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.unwrap();
    client.publish_with_reply("$SRV.PING.lives", inbox, "".into()).await.unwrap();
    let mut found = Vec::new();
    while let Ok(Some(Message { status: None, payload, .. })) =
        timeout(WINDOW, answers.next()).await
    {
        let answer: Value = serde_json::from_slice(&payload).unwrap();
        found.push(answer["id"].as_str().unwrap().to_owned());
    }
    found
}

/// The id of the one service, when there is one.
async fn only(client: &Client) -> String {
    poll::until_async("there is one service", SOON, async || {
        let found = found(client).await;
        (found.len() == 1).then(|| found[0].clone())
    })
    .await
}

#[tokio::test]
async fn an_endpoint_that_begins_anew_is_one_service_to_whoever_looks() {
    let (lines, _listening) = Lines::listen();
    let server = nats::Server::start();
    let bus = connect(server.url()).await;
    let client = async_nats::connect(server.url()).await.unwrap();
    let running = start(vec![endpoint("endpoint", bus.clone(), ready())]).await;
    answers(&bus).await;
    let first = only(&client).await;
    for _ in 0..3 {
        fell(&bus, &lines, Ready::SUBJECT).await;
        answers(&bus).await;
    }
    assert_ne!(only(&client).await, first, "it is the new one");
    running.stop().await;
    let none = async || found(&client).await.is_empty().then_some(());
    poll::until_async("nobody is left", SOON, none).await;
}

#[tokio::test]
async fn what_begins_anew_while_the_bus_is_away_ends_when_it_is_told_to() {
    let (lines, _listening) = Lines::listen();
    let mut server = nats::Server::start();
    let bus = connect(server.url()).await;
    let config = MemoryConfig::new(2_000, 1_000, 1 << 20).unwrap();
    let deps =
        Deps { name: "lives", bus: bus.clone(), clock: Clock::System, entropy: Entropy::System };
    let (_gate, mut children) = Gate::new(&config, &deps);
    children.push(endpoint("endpoint", bus.clone(), ready()));
    children.push(listener("ears", bus.clone(), PATTERN.to_owned(), Arc::new(|_: &str, _| {})));
    let running = start(children).await;
    server.kill();
    is_away(&bus).await;
    for task in [PATTERN, Ready::SUBJECT, "inbox", "hearing", KeysAuthority::INVALIDATIONS] {
        fell(&bus, &lines, task).await;
    }
    timeout(SOON, running.stop()).await.expect("it ends");
    let late = lines.with("finish in time");
    assert!(late.is_empty(), "{late:?}");
}

#[tokio::test]
async fn an_edge_whose_parts_begin_anew_while_the_bus_is_away_ends_when_it_is_told_to() {
    let (lines, _listening) = Lines::listen();
    let mut server = nats::Server::start();
    let variables = [("NATS_URL", server.url()), ("LISTEN_ADDR", "127.0.0.1:0".to_owned())];
    let own = variables.map(|(name, value)| (name.to_owned(), value));
    let replica = Replica::configure(&Environment::of(own)).unwrap();
    let (bus, opened) = replica.open().await.unwrap();
    let (stop, running) = (Stop::new(), Replica::start(opened, bus.clone()).await.unwrap());
    let ending = async {
        let is_ready = async || (!lines.with("message=ready").is_empty()).then_some(());
        poll::until_async("the edge has begun", SOON, is_ready).await;
        server.kill();
        is_away(&bus).await;
        for task in ["inbox", Verify::SUBJECT, KeysAuthority::INVALIDATIONS] {
            fell(&bus, &lines, task).await;
        }
        stop.ask();
    };
    let process = Process::inside("edge", stop.clone());
    let both = async { tokio::join!(running.serve(&process), ending) };
    let (outcome, ()) = timeout(2 * SOON, both).await.expect("it ends");
    assert!(outcome.is_ok());
    let late = lines.with("finish in time");
    assert!(late.is_empty(), "{late:?}");
}

/// Something that is not to be done twice.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Pay;

same!(Pay);

impl Rpc for Pay {
    const SUBJECT: &'static str = "v1.lives.pay";
    /// Longer than a test takes.
    const TIMEOUT: Duration = Duration::from_hours(1);
    type Reply = ();
}

#[tokio::test]
async fn what_was_sent_before_replies_were_lost_may_have_been_done_and_is_not_sent_again() {
    let server = nats::Server::start();
    let (bus, other) = (connect(server.url()).await, connect(server.url()).await);
    let done = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&done);
    // It is done at once, and its answer does not come.
    let routes = Routes::new("lives", "0.0.0", "").on::<Pay, _, _>(move |_, _| {
        count.fetch_add(1, Ordering::Relaxed);
        std::future::pending()
    });
    let _serving = start(vec![endpoint("endpoint", other, routes)]).await;
    let upkeep = start(bus.upkeep()).await;
    let context = Context::new(RequestId::new("lives"), Pay::TIMEOUT);
    let losing = async {
        let was_done = || async { (done.load(Ordering::Relaxed) > 0).then_some(()) };
        poll::until_async("it is done", SOON, was_done).await;
        bus.fell("inbox");
    };
    let (answer, ()) = tokio::join!(timeout(SOON, bus.call(&context, &Pay)), losing);
    assert_eq!(answer.expect("nobody waits for what does not come"), Err(CallError::Timeout));
    // Whoever asks now is answered: what was not sent again then is not sent any more.
    assert_eq!(done.load(Ordering::Relaxed), 1);
    upkeep.stop().await;
}
