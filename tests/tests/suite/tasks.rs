//! Every loop of the bus has an owner: one that ends, as by a fault in it, comes back by itself. On a real NATS server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use e2e::{Cluster, Service, nats, poll, unique};
use latchkey_bus::{Bus, Context, Nats, NatsOptions, RequestId, Routes, endpoint, listener};
use latchkey_contract::authority::Authority;
use latchkey_contract::keys::{KeysAuthority, Ready};
use latchkey_contract::wire::Contracts;
use latchkey_contract::{Rpc, Secret, verify::Verify};
use latchkey_gate::{Deps, Gate, MemoryConfig};
use latchkey_runtime::supervisor::Running;
use latchkey_runtime::{Child, Clock, Entropy, Root};
use sqlx::{Connection, PgConnection};

/// Bound on whatever comes by itself.
pub(crate) const SOON: Duration = Duration::from_mins(1);
/// What the listener of these tests hears.
const PATTERN: &str = "v1.tasks.*";

pub(crate) async fn connect(url: String) -> Bus {
    let options = NatsOptions {
        url,
        name: "tasks".to_owned(),
        unique: unique("tasks"),
        user: None,
        ca_file: None,
        contracts: Contracts::OWN,
    };
    Bus::Nats(Nats::connect(options).await.expect("connect to NATS"))
}

pub(crate) async fn start(children: Vec<Child>) -> Running {
    Root::start(children).await.expect("everything starts")
}

pub(crate) fn context() -> Context {
    Context::new(RequestId::new("tasks"), Duration::from_secs(2))
}

/// Waits until somebody answers.
pub(crate) async fn answers(bus: &Bus) {
    poll::until_async("an answer", SOON, || async { bus.call(&context(), &Ready).await.ok() })
        .await;
}

#[tokio::test]
async fn a_subject_whose_worker_ends_is_served_again() {
    let server = nats::Server::start();
    let bus = connect(server.url()).await;
    let lives = Arc::new(AtomicUsize::new(0));
    let routes = Routes::new("keys", "0.0.0", "").on::<Ready, _, _>(|_, _| async { Ok(()) });
    let (counted, way) = (Arc::clone(&lives), bus.clone());
    // An owner that dies with its worker would be seen here, too.
    let watch = Child::task("watch", move |mut context| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move {
            context.up();
            context.stopped().await;
            Ok(())
        }
    });
    let running = start(vec![watch, endpoint("endpoint", way, routes)]).await;
    for _ in 0..3 {
        answers(&bus).await;
        bus.fell(Ready::SUBJECT);
    }
    answers(&bus).await;
    running.stop().await;
    assert_eq!(lives.load(Ordering::Relaxed), 1, "nobody else was started again");
    assert!(bus.call(&context(), &Ready).await.is_err(), "it is served by its owner alone");
}

#[tokio::test]
async fn replies_are_read_again_and_nobody_waits_for_those_that_are_lost() {
    let server = nats::Server::start();
    let (bus, other) = (connect(server.url()).await, connect(server.url()).await);
    let routes = Routes::new("keys", "0.0.0", "").on::<Ready, _, _>(|_, _| async { Ok(()) });
    let serving = start(vec![endpoint("endpoint", other, routes)]).await;
    let upkeep = start(bus.upkeep()).await;
    for _ in 0..3 {
        answers(&bus).await;
        bus.fell("inbox");
        bus.fell("hearing");
    }
    answers(&bus).await;
    upkeep.stop().await;
    serving.stop().await;
}

#[tokio::test]
async fn what_is_published_is_heard_again() {
    let server = nats::Server::start();
    let bus = connect(server.url()).await;
    let heard = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&heard);
    let hear = Arc::new(move |_: &str, _| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let running = start(vec![listener("ears", bus.clone(), PATTERN.to_owned(), hear)]).await;
    for _ in 0..3 {
        let before = heard.load(Ordering::Relaxed);
        poll::until_async("it is heard", SOON, || async {
            bus.publish("v1.tasks.x", "".into()).await.unwrap();
            (heard.load(Ordering::Relaxed) > before).then_some(())
        })
        .await;
        bus.fell(PATTERN);
    }
    running.stop().await;
}

#[tokio::test]
async fn one_that_ends_without_end_ends_its_service() {
    let server = nats::Server::start();
    let bus = connect(server.url()).await;
    let routes = Routes::new("keys", "0.0.0", "").on::<Ready, _, _>(|_, _| async { Ok(()) });
    let mut running = start(vec![endpoint("endpoint", bus.clone(), routes)]).await;
    let failed = tokio::time::timeout(SOON, async {
        tokio::select! {
            () = running.failed() => {}
            () = async {
                loop {
                    bus.fell(Ready::SUBJECT);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            } => {}
        }
    });
    failed.await.expect("it gives up");
}

/// A gate as another service has one, a key that it remembers, and what tells its memberships apart.
struct Remembering {
    cluster: Cluster,
    bus: Bus,
    gate: Gate,
    running: Running,
    key: e2e::account::Key,
    token: String,
}

impl Remembering {
    async fn start() -> Self {
        let cluster = Cluster::builder().start();
        let api = cluster.api(0);
        let user = api.user().await;
        let key = api.key(&user.token, "remembered").await;
        let bus = connect(cluster.bus_url()).await;
        let config = MemoryConfig::new(2_000, 1_000, 1 << 20).unwrap();
        let deps = Deps {
            name: "member",
            bus: bus.clone(),
            clock: Clock::System,
            entropy: Entropy::System,
        };
        let (gate, children) = Gate::new(&config, &deps);
        let running = start(children).await;
        cluster.joined(2).await;
        let this = Self { cluster, bus, gate, running, key, token: user.token };
        assert_eq!(this.outcome().await, "valid");
        this
    }

    async fn outcome(&self) -> &'static str {
        let request = Verify::of(Secret::new(self.key.key.clone()));
        let verified = self.gate.verify(&context(), request).await;
        verified.unwrap_or_else(|_error| panic!("nobody could say")).outcome.code()
    }

    async fn members(&self) -> Vec<Vec<u8>> {
        let url = self.cluster.database(Service::Keys);
        let mut database = PgConnection::connect(url).await.unwrap();
        let query = "SELECT id FROM keys_members WHERE state = 'member' ORDER BY id";
        sqlx::query_scalar(query).fetch_all(&mut database).await.unwrap()
    }

    /// Waits until it is a member under another id than `before`, and sees that it hears what is revoked.
    async fn joins_anew_and_hears(self, before: &[Vec<u8>]) {
        poll::until_async("it joins under another id", SOON, || async {
            let now = self.members().await;
            (now.len() == 2 && now != before).then_some(())
        })
        .await;
        assert_eq!(self.outcome().await, "valid");
        let revoked = self.cluster.api(0).revoke(&self.token, self.key.id).await.expect(200);
        assert_eq!(revoked["receipt"]["edges_confirmed"], 2, "{revoked}");
        assert_eq!(self.outcome().await, "revoked");
        self.running.stop().await;
    }
}

#[tokio::test]
async fn a_gate_that_hears_no_invalidations_forgets_and_joins_anew() {
    let remembering = Remembering::start().await;
    let before = remembering.members().await;
    remembering.bus.fell(KeysAuthority::INVALIDATIONS);
    remembering.joins_anew_and_hears(&before).await;
}

#[tokio::test]
async fn a_gate_whose_memory_a_panic_left_half_written_forgets_and_joins_anew() {
    let remembering = Remembering::start().await;
    let before = remembering.members().await;
    remembering.gate.tear();
    remembering.joins_anew_and_hears(&before).await;
}
