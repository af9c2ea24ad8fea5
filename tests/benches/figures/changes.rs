//! What it costs to issue a key and to list ten over all processes, beside a `FastAPI` service of the same routes, and what
//! the seal of the audit log adds.

use std::sync::Arc;
use std::time::Duration;

use e2e::account::PASSWORD;
use e2e::cluster::{Cluster, Service};
use e2e::{Api, account, poll, prometheus};
use futures_util::{StreamExt, stream};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use tokio::task::AbortHandle;

use crate::cluster::parts;
use crate::fastapi::FastApi;
use crate::floor::Floor;
use crate::load::{Measured, Target, get_text, head, post};
use crate::{CONNECTIONS, ROUNDS, say};

/// Users whose tokens are presented in turn: many, so that each has few keys, as most have.
const USERS: usize = 400;
/// Users that are made at the same time.
const AT_ONCE: usize = 8;
/// Keys a second while the cost of the seal is measured.
const PACE: u32 = 2_000;
/// How long after a round its last events are sealed, and counted.
const SEALED_WITHIN: Duration = Duration::from_secs(3);
/// Bound on a chore that changes hands, and on events that wait for their seal.
const SOON: Duration = Duration::from_mins(1);
/// How long the sealer's row is kept at a time: less than the sealer itself would, which takes any longer hold for one
/// that was stamped before the clock was set back.
const HOLD: &str = "INSERT INTO keys_chores (name, holder, until) \
    VALUES ('sealer', '\\x00', CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT) + 10000) \
    ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until";
/// How often that is done anew.
const AGAIN: Duration = Duration::from_millis(500);

/// A cluster of one process each, as it is shipped.
struct Bench {
    cluster: Cluster,
    tokens: Vec<String>,
}

/// Nobody seals while it lives: it has the sealer's row, as another replica would.
struct Unsealed(AbortHandle);

impl Bench {
    async fn start() -> Self {
        let cluster = Cluster::builder().own_postgres().cheap_passwords().start();
        let api = cluster.api(0);
        let user = async || user(&api).await;
        let tokens = stream::iter(0..USERS).map(|_| user()).buffer_unordered(AT_ONCE);
        let tokens = tokens.collect().await;
        Self { cluster, tokens }
    }

    /// Every process that works on a request: edge, keys, identity, NATS, Postgres.
    fn target(&mut self, requests: Arc<[String]>) -> Target {
        let of = |service| self.cluster.replica(service, 0).pid();
        let mut pids = vec![of(Service::Edge), of(Service::Keys), of(Service::Identity)];
        pids.extend([self.cluster.bus().pid(), self.cluster.postgres().pid()]);
        let address = self.cluster.edges()[0].trim_start_matches("http://").to_owned();
        Target { pids, addresses: vec![address], requests, connections: CONNECTIONS }
    }

    async fn database(&self) -> PgConnection {
        PgConnection::connect(self.cluster.database(Service::Keys)).await.unwrap()
    }

    /// Takes every key out, so that rounds begin alike.
    async fn forget_keys(&self) {
        sqlx::query("TRUNCATE api_keys").execute(&mut self.database().await).await.unwrap();
    }

    /// Has nobody seal.
    async fn unsealed(&self) -> Unsealed {
        let mut database = self.database().await;
        let holding = tokio::spawn(async move {
            loop {
                sqlx::query(HOLD).execute(&mut database).await.unwrap();
                tokio::time::sleep(AGAIN).await;
            }
        });
        self.seals(false).await;
        Unsealed(holding.abort_handle())
    }

    /// Waits until the key service seals, or does not.
    async fn seals(&self, seals: bool) {
        let monitor = self.cluster.replica(Service::Keys, 0).monitor();
        let wanted = if seals { 1.0 } else { 0.0 };
        poll::until_async("the sealer's row changes hands", SOON, async || {
            let text = prometheus::scrape(&monitor).await;
            let labels = [("service", "keys"), ("chore", "sealer")];
            let held = prometheus::value(&text, "latchkey_chore_held", &labels);
            (held == Some(wanted)).then_some(())
        })
        .await;
    }

    /// Waits until every event is sealed.
    async fn sealed(&self) {
        self.seals(true).await;
        poll::until_async("every event is sealed", SOON, async || {
            (self.unsealed_events().await == 0).then_some(())
        })
        .await;
    }

    async fn unsealed_events(&self) -> i64 {
        let count = "SELECT COUNT(*) FROM keys_audit_events WHERE seq IS NULL";
        sqlx::query_scalar(count).fetch_one(&mut self.database().await).await.unwrap()
    }
}

impl Unsealed {
    /// Gives the row back, and waits until every event is sealed.
    async fn end(self, bench: &Bench) {
        self.0.abort();
        let free = "UPDATE keys_chores SET until = 0 WHERE name = 'sealer'";
        sqlx::query(free).execute(&mut bench.database().await).await.unwrap();
        bench.sealed().await;
    }
}

async fn user(api: &Api) -> String {
    let name = account::unique("bench");
    account::made(201, || api.sign_up_as(&name, PASSWORD)).await;
    api.token(&name, PASSWORD).await
}

/// Requests for a key, of each user in turn.
fn issues(tokens: &[String]) -> Arc<[String]> {
    let body = json!({"name": "bench"}).to_string();
    let of = |token: &String| post("/keys/create", &bearer(token), &body)[0].clone();
    tokens.iter().map(of).collect()
}

/// Requests for ten keys, of each user in turn.
fn lists(tokens: &[String]) -> Arc<[String]> {
    tokens.iter().map(|token| get_text("/keys?limit=10", &bearer(token))).collect()
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}")
}

/// Prints the figures.
pub async fn figures() {
    say(&format!(
        "\n## Cluster: issue a key, list ten keys, of {USERS} users in turn; every process counts"
    ));
    let floor = Floor::start();
    let fastapi = match FastApi::start().await {
        None => None,
        Some(service) => {
            let tokens = service.tokens(USERS).await;
            Some((service, tokens))
        }
    };
    let mut bench = Bench::start().await;
    head();
    for round in 1..=ROUNDS {
        let bare = floor.target.measure().await;
        bare.row(round, "bare axum", &bare);
        let peer = match &fastapi {
            None => None,
            Some((service, tokens)) => {
                service.forget_keys().await;
                let issue = service.target(issues(tokens)).measure().await;
                issue.row(round, "FastAPI: issue", &bare);
                let list = service.target(lists(tokens)).measure().await;
                list.row(round, "FastAPI: list 10", &bare);
                Some((issue, list))
            }
        };
        bench.forget_keys().await;
        let requests = issues(&bench.tokens);
        let issue = bench.target(requests).measure().await;
        issue.row(round, "issue a key", &bare);
        parts(&issue);
        bench.sealed().await;
        let requests = lists(&bench.tokens);
        let list = bench.target(requests).measure().await;
        list.row(round, "list 10 keys", &bare);
        parts(&list);
        if let Some((peer_issue, peer_list)) = peer {
            say(&format!(
                "       of FastAPI: issue 1/{:.1}, list 1/{:.1}",
                peer_issue.cpu_us / issue.cpu_us,
                peer_list.cpu_us / list.cpu_us
            ));
        }
    }
    seal(&mut bench).await;
}

/// What the seal adds, in turn: at a pace, and as fast as answers come.
async fn seal(bench: &mut Bench) {
    say(&format!(
        "\n## What the seal of the audit log adds to a key's issue, at {PACE} a second and at full speed"
    ));
    head();
    for pace in [Some(PACE), None] {
        for round in 1..=ROUNDS {
            let unsealed = bench.unsealed().await;
            let without = round_of(bench, pace).await;
            without.row(round, "nobody seals", &without);
            parts(&without);
            unsealed.end(bench).await;
            let with = round_of(bench, pace).await;
            with.row(round, "sealed", &without);
            parts(&with);
            let left = bench.unsealed_events().await;
            if left > 0 {
                say(&format!("       {left} of them are sealed later, and not counted"));
            }
            bench.sealed().await;
        }
    }
}

async fn round_of(bench: &mut Bench, pace: Option<u32>) -> Measured {
    bench.forget_keys().await;
    let requests = issues(&bench.tokens);
    bench.target(requests).measure_at(pace, SEALED_WITHIN).await
}
