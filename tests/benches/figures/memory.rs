//! A million remembered keys in one edge: its memory, and what a flood of unknown keys changes.

use std::sync::Arc;
use std::time::Instant;

use e2e::account::PASSWORD;
use e2e::cluster::{Cluster, Service};
use e2e::{User, prometheus};
use latchkey_contract::ApiKey;
use sqlx::{Connection, PgConnection};

use crate::floor::Floor;
use crate::load::{Target, get_text, head};
use crate::proc::resident_mib;
use crate::{CONNECTIONS, ROUNDS, say};

/// Keys that the edge comes to remember.
const KEYS: usize = 1_000_000;
/// Keys that nobody has.
const UNKNOWN: usize = 500_000;
/// Logouts everywhere in a round.
const CHANGES: usize = 20;
/// Keys that one statement stores.
const ROWS: usize = 10_000;

/// Prints the figures. It takes minutes.
pub async fn figures() {
    say(&format!("\n## One edge that comes to remember {KEYS} keys"));
    let floor = Floor::start();
    let cluster = Cluster::builder().own_postgres().set("CACHE_ENTRIES", "2000000").start();
    let user = cluster.api(0).user().await;
    let edge = cluster.replica(Service::Edge, 0).pid();
    let before = resident_mib(edge);
    let good = store(&cluster, &user).await;
    let requests: Arc<[String]> = good.iter().map(request).collect();
    let target = |requests: &Arc<[String]>| Target {
        pids: vec![edge],
        addresses: vec![cluster.replica(Service::Edge, 0).url().replace("http://", "")],
        requests: Arc::clone(requests),
        connections: CONNECTIONS,
    };
    head();
    let began = Instant::now();
    target(&requests).send_all().await;
    let full = resident_mib(edge);
    say(&format!(
        "{} keys remembered after {} s: {:.0} MiB resident, {before:.0} before",
        remembered(&cluster).await,
        began.elapsed().as_secs(),
        full
    ));
    let bare = floor.target.measure().await;
    bare.row(1, "bare axum", &bare);
    target(&requests).measure().await.row(1, "a million keys in turn", &bare);
    while_all_are_logged_out(&cluster, &user, &target(&requests)).await;
    let unknown: Arc<[String]> = (0..UNKNOWN).map(|_| request(&new_key())).collect();
    target(&unknown).send_all().await;
    say(&format!(
        "after {UNKNOWN} unknown keys: {} keys remembered, {:.0} MiB resident",
        remembered(&cluster).await,
        resident_mib(edge)
    ));
}

/// The longest of all answers from memory while their owner is logged out everywhere again and again, beside
/// that of as many answers without.
async fn while_all_are_logged_out(cluster: &Cluster, user: &User, target: &Target) {
    let (api, name) = (cluster.api(0), user.username.clone());
    for round in 1..=ROUNDS {
        let quiet = target.measure().await;
        let (api, name) = (api.clone(), name.clone());
        let leaving = tokio::spawn(async move {
            let mut times = Vec::new();
            for _ in 0..CHANGES {
                let token = api.token(&name, PASSWORD).await;
                let began = Instant::now();
                api.post("/auth/logout-all").bearer(&token).send().await.expect(200);
                times.push(began.elapsed().as_secs_f64() * 1_000.0);
            }
            times.into_iter().fold(0.0, f64::max)
        });
        let busy = target.measure().await;
        let longest = leaving.await.unwrap();
        for (what, measured) in [("nothing ends", &quiet), ("all sessions end, often", &busy)] {
            measured.row(round, what, &quiet);
            say(&format!("       the longest answer {:.1} ms", measured.longest_us / 1_000.0));
        }
        say(&format!("       the longest of {CHANGES} logouts everywhere {longest:.1} ms"));
    }
}

fn new_key() -> ApiKey {
    e2e::forge::key()
}

fn request(key: &ApiKey) -> String {
    get_text("/protected/service", &format!("x-api-key: {}", key.expose()))
}

/// Stores keys of one user with one of eight sets of scopes.
async fn store(cluster: &Cluster, user: &User) -> Vec<ApiKey> {
    let keys: Vec<ApiKey> = (0..KEYS).map(|_| new_key()).collect();
    let mut database = PgConnection::connect(cluster.database(Service::Keys)).await.unwrap();
    for part in keys.chunks(ROWS) {
        let hashes: Vec<Vec<u8>> = part.iter().map(|key| key.hash().0.to_vec()).collect();
        sqlx::query(
            "INSERT INTO api_keys (owner_id, hash, hint, name, created_at, expires_at, scopes) \
             SELECT $1, hash, 'sk_', 'bench', 0, 9000000000000000, \
                'orders:read orders:write invoices:* customers:read team:' || place % 8 \
             FROM unnest($2) WITH ORDINALITY AS keys (hash, place)",
        )
        .bind(user.id)
        .bind(hashes)
        .execute(&mut database)
        .await
        .unwrap();
    }
    sqlx::query("VACUUM ANALYZE api_keys").execute(&mut database).await.unwrap();
    keys
}

/// Keys and tokens that the edge remembers as good.
async fn remembered(cluster: &Cluster) -> f64 {
    let text = prometheus::scrape(&cluster.replica(Service::Edge, 0).monitor()).await;
    prometheus::value(&text, "latchkey_cache_entries", &[("kind", "key")]).unwrap_or_default()
}
