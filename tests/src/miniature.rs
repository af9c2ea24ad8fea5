//! The whole system in this process: the real services, several replicas of each side by side, on a bus whose
//! messages fare as a seeded plan says, on one database of either kind for each authority, and each
//! process with a wall clock of its own that is wrong. Clients call the edges without a connection.
//!
//! What a seed repeats: which acts each client tries, and what becomes of each message (by the request that it
//! is part of, where it goes and how often that was sent). What it cannot repeat: databases and password workers
//! answer from threads of their own, and leases follow the machine's clock, so two tasks that are ready at about
//! the same time may go on in another order. A story is told again and again for that.

mod clocks;
mod plan;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Request;
use latchkey_bus::Bus;
use latchkey_bus::faults::Faults;
use latchkey_contract::Secret;
use latchkey_edge::layers::EdgeService;
use latchkey_runtime::supervisor::Running;
use latchkey_runtime::{Clock, Entropy, Environment};
use latchkey_store::{Db, values};

use crate::stories::Way;
use crate::stories::front::{Ask, Reply};
use crate::{Folder, SECRET, poll, postgres};
use clocks::Clocks;
use plan::Plan;

/// Replicas of identity, and of keys.
const REPLICAS: u32 = 2;
/// Edges.
const EDGES: u32 = 3;
/// The first process of each kind; the operator is process 0.
const IDENTITY: u32 = 1;
const KEYS: u32 = 11;
const EDGE: u32 = 21;
/// Connections to a database at most.
const POOL: u32 = 8;
/// A key that was made, in the place of another or of none.
const HAS_KEY: &str = "SELECT id FROM api_keys WHERE id = $1 AND COALESCE(replaces, 0) = $2 AND \
    (replaces IS NULL OR EXISTS (SELECT 1 FROM api_keys AS old WHERE old.id = $2 AND old.replaced_by = $1))";
const IS_TOLD: &str = "SELECT id FROM keys_telling WHERE default_ceiling IS NOT NULL";
/// Bound on being told.
const SOON: Duration = Duration::from_mins(1);
/// Bytes of an answer at most.
const MAX_ANSWER: usize = 1 << 20;
/// Passwords at the least cost, a short lease, sessions that outlive every wrong clock.
const SETTINGS: [(&str, &str); 6] = [
    ("LEASE_MS", "1000"),
    ("ARGON2_MEMORY_KIB", "1024"),
    ("ARGON2_ITERATIONS", "1"),
    ("ARGON2_PARALLELISM", "1"),
    ("RATE_LIMIT", "off"),
    ("ACCESS_TOKEN_EXPIRE_MINUTES", "525600"),
];

/// What the authorities keep their tables in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// A file each.
    Sqlite,
    /// A database each, on the server that all tests share.
    Postgres,
}

/// The system while it runs.
pub struct Miniature {
    edges: Vec<EdgeService>,
    running: Vec<Running>,
    databases: [Db; 2],
    operator: Bus,
    plan: Arc<Plan>,
    clocks: Clocks,
    _folder: Folder,
}

impl Miniature {
    /// Starts everything; from then on messages fare as `seed` says.
    pub async fn start(seed: u64, engine: Engine) -> Self {
        let folder = Folder::new();
        let databases =
            [open(engine, &folder, "identity").await, open(engine, &folder, "keys").await];
        latchkey_identity::prepare(&databases[0]).await.expect("identity's tables");
        latchkey_keys::prepare(&databases[1]).await.expect("keys' tables");
        let plan = Arc::new(Plan::new(seed));
        let faults: Arc<dyn Faults> = Arc::<Plan>::clone(&plan);
        let bus = Bus::with_faults(faults);
        let (mut clocks, entropy) = (Clocks::new(seed), Entropy::seeded(seed));
        let variables = SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let environment = Environment::of(variables);
        let mut running = Vec::new();
        for replica in 0..REPLICAS {
            let secret = Secret::new(SECRET.to_owned());
            let config = latchkey_identity::Config::read(&environment, secret).expect("settings");
            let deps = latchkey_identity::Deps {
                bus: bus.as_user(latchkey_identity::NAME).of_process(IDENTITY + replica),
                db: databases[0].clone(),
                clock: clocks.add(),
                entropy: entropy.clone(),
            };
            let started = latchkey_identity::start(config, deps).await.expect("identity starts");
            running.push(started.running);
            let config = latchkey_keys::Config::read(&environment).expect("settings");
            let deps = latchkey_keys::Deps {
                bus: bus.as_user(latchkey_keys::NAME).of_process(KEYS + replica),
                db: databases[1].clone(),
                clock: clocks.add(),
                entropy: entropy.clone(),
            };
            running.push(latchkey_keys::start(config, deps).await.expect("keys starts"));
        }
        let mut edges = Vec::new();
        for edge in 0..EDGES {
            let bus = bus.as_user(latchkey_edge::NAME).of_process(EDGE + edge);
            let started = start_edge(&environment, bus, clocks.add(), entropy.clone()).await;
            edges.push(started.service);
            running.push(started.running);
        }
        clocks.start();
        let operator = bus.as_user(latchkey_identity::operator::NAME);
        let miniature = Self { edges, running, databases, operator, plan, clocks, _folder: folder };
        miniature.told().await;
        miniature.plan.begin();
        miniature
    }

    /// How many edges there are.
    pub fn edges(&self) -> usize {
        self.edges.len()
    }

    /// The operator's way to the services.
    pub fn operator(&self) -> &Bus {
        &self.operator
    }

    /// Asks an edge. Dropped before its end, it is a client that hangs up.
    pub async fn send(&self, way: &Way, ask: &Ask<'_>) -> Reply {
        let mut request = Request::builder().method(ask.method).uri(&ask.path);
        request = request.header("host", "localhost").header("x-request-id", &way.name);
        if let Some(token) = ask.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(key) = ask.key {
            request = request.header("x-api-key", key);
        }
        let body = match ask.body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        let request = request.body(body).expect("a request");
        let response =
            self.edges[way.edge].answer_lent(request, IpAddr::V4(Ipv4Addr::LOCALHOST)).await;
        let status = response.status().as_u16();
        let bytes = axum::body::to_bytes(response.into_body(), MAX_ANSWER).await;
        let body = serde_json::from_slice(&bytes.expect("a body")).unwrap_or_default();
        Reply { status, body }
    }

    /// From now on messages are delivered at once.
    pub fn calm(&self) {
        self.plan.end();
    }

    /// From now on answers to this subject are lost, or to none.
    pub fn mute(&self, subject: Option<&'static str>) {
        self.plan.mute(subject);
    }

    /// Sets the clocks of the edges back by so many milliseconds, and of nobody else.
    pub fn set_edges_back(&self, millis: i64) {
        self.clocks.set_back(0, self.edges.len(), millis);
    }

    /// Sets the clocks of so many key services back by as many milliseconds, and of nobody else.
    pub fn set_keys_back(&self, services: usize, millis: i64) {
        // They are made in turn with those of the identity services, before the edges'.
        for replica in 0..services {
            self.clocks.set_back(self.edges.len() + 2 * replica, 1, millis);
        }
    }

    /// Waits until every message that is late by now has come.
    pub async fn quiet(&self) {
        tokio::time::sleep(plan::LATEST).await;
    }

    /// A moment at which the key of this request had certainly not reached the edge.
    pub fn issued(&self, request: &str) -> Option<Instant> {
        self.plan.issued(request)
    }

    /// What became of the messages: delivered at once, late, twice, or lost.
    pub fn messages(&self) -> Vec<(&'static str, usize)> {
        self.plan.counts()
    }

    /// Whether the key service's database has this key, and that it replaced the other.
    pub async fn has_key(&self, id: i64, replaces: Option<i64>) -> bool {
        let values = values![id, replaces.unwrap_or(0)];
        let found: Option<(i64,)> =
            self.databases[1].fetch_first(HAS_KEY, values).await.expect("the database is there");
        found.is_some()
    }

    /// Waits until the key service was told what users may grant.
    async fn told(&self) {
        poll::until_async("the default ceiling is told", SOON, async || {
            let found: Option<(i64,)> =
                self.databases[1].fetch_first(IS_TOLD, &[]).await.expect("the database is there");
            found.map(drop)
        })
        .await;
    }

    /// Ends everything.
    pub async fn stop(self) {
        self.plan.end();
        self.clocks.stop();
        for running in self.running.into_iter().rev() {
            running.stop().await;
        }
        for database in self.databases {
            database.close().await;
        }
    }
}

async fn start_edge(
    environment: &Environment,
    bus: Bus,
    clock: Clock,
    entropy: Entropy,
) -> latchkey_edge::Started {
    let config = latchkey_edge::Config::read(environment).expect("settings");
    let deps = latchkey_edge::Deps { bus, clock, entropy };
    latchkey_edge::start(&config, deps).await.expect("an edge starts")
}

async fn open(engine: Engine, folder: &Folder, name: &str) -> Db {
    let url = match engine {
        Engine::Sqlite => format!("sqlite://{}", folder.join(name).join("rows.db").display()),
        Engine::Postgres => postgres::server().fresh_database().await,
    };
    Db::open(&url, name, POOL).await.expect("a database")
}
