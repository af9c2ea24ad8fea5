//! The cluster: what a verified request costs over all processes, at rest and with many keys stored.

use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::cluster::{Cluster, Service};
use e2e::{Api, User};
use latchkey_contract::ApiKey;
use sqlx::{Connection, PgConnection};
use tokio::task::JoinSet;

use crate::floor::Floor;
use crate::load::{Measured, ROUND, Target, get, get_text, head, quantile};
use crate::proc::resident_mib;
use crate::{CONNECTIONS, ROUNDS, say};

/// Keys that requests present in turn: more than a batch, so that each query looks for many.
const KEYS: usize = 1_000;
/// What each of them is granted.
const SCOPES: &str = "customers:read invoices:* orders:read orders:write";
/// Requests in flight of the busier figure.
const MANY: usize = 256;
const STARTS: usize = 3;
/// Revokes that are timed.
const REVOKES: usize = 300;
/// The pause between two revokes of other keys while an edge answers from memory: 100 a second.
const EVERY: Duration = Duration::from_millis(10);
/// Keys that are revoked so in a round.
const OTHERS: usize = (ROUND.as_millis() / EVERY.as_millis()) as usize;

/// A cluster of one process each, with a user and keys.
struct Bench {
    cluster: Cluster,
    api: Api,
    user: User,
    requests: Arc<[String]>,
}

impl Bench {
    /// A cluster with so many edges, whose memory is on or off.
    async fn start(edges: usize, cache: &str) -> Self {
        let builder = Cluster::builder().own_postgres().replicas(Service::Edge, edges);
        let cluster = builder.set("CACHE", cache).set("API_KEYS_PER_OWNER", "off").start();
        for service in Service::ALL {
            let idle = resident_mib(cluster.replica(service, 0).pid());
            say(&format!("{}: {idle:.1} MiB resident after the start", service.binary()));
        }
        let api = cluster.api(0);
        let user = api.user().await;
        let mut bench = Self { cluster, api, user, requests: Arc::new([]) };
        bench.requests = bench.store_keys().await;
        bench
    }

    /// Writes keys straight into the database: making each over HTTP would take long.
    async fn store_keys(&self) -> Arc<[String]> {
        let keys: Vec<ApiKey> = (0..KEYS).map(|_| e2e::forge::key()).collect();
        let mut database = self.database().await;
        for key in &keys {
            sqlx::query(
                "INSERT INTO api_keys (owner_id, hash, hint, name, created_at, expires_at, scopes) \
                 VALUES ($1, $2, 'sk_', 'bench', 0, 9000000000000000, $3)",
            )
            .bind(self.user.id)
            .bind(key.hash().0.as_slice())
            .bind(SCOPES)
            .execute(&mut database)
            .await
            .unwrap();
        }
        let request =
            |key: &ApiKey| get_text("/protected/service", &format!("x-api-key: {}", key.expose()));
        keys.iter().map(request).collect()
    }

    /// How long so many revokes take, one after the other, in ms and sorted.
    async fn revokes(&self, count: usize) -> Vec<f64> {
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let key = self.api.key(&self.user.token, "ends").await;
            let began = Instant::now();
            self.api.revoke(&self.user.token, key.id).await.expect(200);
            times.push(began.elapsed().as_secs_f64() * 1_000.0);
        }
        times.sort_by(f64::total_cmp);
        times
    }

    /// Writes keys that nobody presents, for others to revoke; their ids.
    async fn store_others(&self) -> Vec<i64> {
        sqlx::query_scalar(
            "INSERT INTO api_keys (owner_id, hash, hint, name, created_at, expires_at) \
             SELECT $1, sha256(n::text::bytea), 'sk_', 'other', 0, 9000000000000000 \
             FROM generate_series(1, $2) AS n RETURNING id",
        )
        .bind(self.user.id)
        .bind(i64::try_from(OTHERS * ROUNDS).unwrap())
        .fetch_all(&mut self.database().await)
        .await
        .unwrap()
    }

    async fn database(&self) -> PgConnection {
        PgConnection::connect(self.cluster.database(Service::Keys)).await.unwrap()
    }

    /// Every process that works on a request: edge, NATS, keys, identity, Postgres.
    fn target(&mut self, requests: Arc<[String]>, connections: usize) -> Target {
        let of = |service| self.cluster.replica(service, 0).pid();
        let mut pids = vec![of(Service::Edge), of(Service::Keys), of(Service::Identity)];
        pids.extend([self.cluster.bus().pid(), self.cluster.postgres().pid()]);
        let address = self.api.edges()[0].trim_start_matches("http://").to_owned();
        Target { pids, addresses: vec![address], requests, connections }
    }
}

/// The parts of a row.
pub fn parts(measured: &Measured) {
    let [edge, keys, identity, nats, postgres] = measured.each_us[..] else { return };
    say(&format!(
        "       of which edge {edge:.1}, keys {keys:.1}, identity {identity:.1}, NATS {nats:.1}, Postgres {postgres:.1} µs"
    ));
}

/// Prints the figures of a cluster at work and at rest.
pub async fn figures() {
    say("\n## Cluster without a memory (CACHE=off): every process counts; 1,000 keys in turn");
    let floor = Floor::start();
    let mut bench = Bench::start(1, "off").await;
    let token = format!("authorization: Bearer {}", bench.user.token);
    let requests = Arc::clone(&bench.requests);
    head();
    for round in 1..=ROUNDS {
        let bare = floor.target.measure().await;
        bare.row(round, "bare axum", &bare);
        for connections in [CONNECTIONS, MANY] {
            let measured = bench.target(Arc::clone(&requests), connections).measure().await;
            measured.row(round, &format!("key, {connections} in flight"), &bare);
            parts(&measured);
        }
        let by_token = bench.target(get("/protected/user", &token), CONNECTIONS).measure().await;
        by_token.row(round, "token, 64 in flight", &bare);
    }
    starts(&mut bench);
    remembered(&floor).await;
}

/// The same with a memory, on four edges: verified requests, and how long a revoke takes.
async fn remembered(floor: &Floor) {
    say("\n## Cluster with four edges that remember: 1,000 keys in turn on one edge; revokes");
    let mut bench = Bench::start(4, "on").await;
    let requests = Arc::clone(&bench.requests);
    head();
    for round in 1..=ROUNDS {
        let bare = floor.target.measure().await;
        bare.row(round, "bare axum", &bare);
        let measured = bench.target(Arc::clone(&requests), CONNECTIONS).measure().await;
        measured.row(round, "key, remembered", &bare);
        parts(&measured);
    }
    while_others_are_revoked(&mut bench).await;
    let times = bench.revokes(REVOKES).await;
    say(&format!(
        "{REVOKES} revokes with four live edges: p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
        quantile(&times, 0.5),
        quantile(&times, 0.99),
        quantile(&times, 1.0 - f64::EPSILON)
    ));
    bench.cluster.replica(Service::Edge, 3).pause();
    let times = bench.revokes(3).await;
    bench.cluster.replica(Service::Edge, 3).resume();
    let times: Vec<String> = times.iter().map(|time| format!("{time:.0}")).collect();
    say(&format!("3 revokes while one of the four is stopped: {} ms", times.join(", ")));
}

/// What the remembered key costs its edge while other keys are revoked at another edge, beside what it costs
/// without, in turn.
async fn while_others_are_revoked(bench: &mut Bench) {
    say(
        "The edge alone, while nothing and while 100 other keys a second are revoked at another edge",
    );
    let target = Target {
        pids: vec![bench.cluster.replica(Service::Edge, 0).pid()],
        ..bench.target(Arc::clone(&bench.requests), CONNECTIONS)
    };
    let mut others = bench.store_others().await.into_iter();
    for round in 1..=ROUNDS {
        let quiet = target.measure().await;
        quiet.row(round, "nothing is revoked", &quiet);
        let (api, token) = (bench.cluster.api(1), bench.user.token.clone());
        let some: Vec<i64> = others.by_ref().take(OTHERS).collect();
        let revoking = tokio::spawn(async move {
            let (mut pace, mut revokes) = (tokio::time::interval(EVERY), JoinSet::new());
            for id in some {
                pace.tick().await;
                let (api, token) = (api.clone(), token.clone());
                revokes.spawn(async move { api.revoke(&token, id).await.status });
            }
            revokes.join_all().await.into_iter().filter(|status| *status == 200).count()
        });
        let busy = target.measure().await;
        let revoked = revoking.await.unwrap();
        assert_eq!(revoked, OTHERS, "others were revoked");
        busy.row(round, "100 a second revoked", &quiet);
    }
}

fn starts(bench: &mut Bench) {
    for service in Service::ALL {
        let mut times: Vec<f64> = (0..STARTS)
            .map(|_| {
                let replica = bench.cluster.replica_mut(service, 0);
                replica.kill();
                let began = Instant::now();
                replica.restart();
                began.elapsed().as_secs_f64() * 1_000.0
            })
            .collect();
        times.sort_by(f64::total_cmp);
        let (name, median) = (service.binary(), times[STARTS / 2]);
        say(&format!("{name}: start to ready, median of {STARTS}: {median:.0} ms"));
    }
}

/// Prints what the number of stored keys changes, for each of these totals.
pub async fn scale(totals: &[u64]) {
    say("\n## Keys in the database: what their number costs (64 in flight)");
    let mut bench = Bench::start(1, "off").await;
    let token = format!("authorization: Bearer {}", bench.user.token);
    let (requests, mut stored) = (Arc::clone(&bench.requests), KEYS as u64);
    let (mut first_verify, mut first_list) = (None, None);
    head();
    for total in totals {
        fill(&bench, stored, *total).await;
        stored = *total;
        for round in 1..=ROUNDS {
            let verify = bench.target(Arc::clone(&requests), CONNECTIONS).measure().await;
            let least = first_verify.get_or_insert(verify.clone());
            verify.row(round, &format!("verify among {total}"), least);
            let list = bench.target(get("/keys?limit=10", &token), 8).measure().await;
            let least = first_list.get_or_insert(list.clone());
            list.row(round, &format!("list 10 of {total}"), least);
        }
    }
}

/// Adds other owners' keys until there are `total`.
async fn fill(bench: &Bench, from: u64, total: u64) {
    let mut database = bench.database().await;
    let began = Instant::now();
    sqlx::query(
        "INSERT INTO api_keys (owner_id, hash, hint, name, created_at, expires_at) \
         SELECT 1000000 + n % 100000, sha256(n::text::bytea), 'sk_', 'filler', 0, 9000000000000000 \
         FROM generate_series($1::bigint + 1, $2::bigint) AS n",
    )
    .bind(i64::try_from(from).unwrap())
    .bind(i64::try_from(total).unwrap())
    .execute(&mut database)
    .await
    .unwrap();
    sqlx::query("VACUUM ANALYZE api_keys").execute(&mut database).await.unwrap();
    if total > from {
        say(&format!("{total} keys stored ({:.0} s)", began.elapsed().as_secs_f64()));
    }
}
