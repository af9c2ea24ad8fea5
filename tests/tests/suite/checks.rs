//! The edge checks itself: what it answers from memory is now and then asked of the authority too. It alarms
//! where a row was changed behind the service's back, and in no ordinary revoke.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use e2e::account::PASSWORD;
use e2e::{Cluster, Service, poll, prometheus};
use futures_util::future::join_all;
use latchkey_client::{CallError, Options, Outcome, Secret, Verifier};
use sqlx::{Connection, PgConnection};

/// Answers from memory, more than from one check to the next.
const ROUND: usize = 1_100;
/// Requests of HTTP that are sent at the same time.
const AT_ONCE: usize = 50;
/// Bound on whatever comes by itself.
const SOON: Duration = Duration::from_mins(1);

async fn verifier(cluster: &Cluster) -> Verifier {
    let options = Options { url: cluster.bus_url(), ..Options::default() };
    Verifier::connect(options).await.expect("the bus takes everybody")
}

/// Asks for the same credential as often as a message allows, once somebody can say: no answer says nothing of it.
async fn ask(verifier: &Verifier, credential: &str) -> Vec<Outcome> {
    let one = || Secret::new(credential.to_owned());
    let asked = async || {
        let all = (0..Verifier::MAX_BATCH).map(|_| one()).collect();
        match verifier.verify_batch(all).await {
            Err(CallError::Timeout | CallError::Unavailable | CallError::Overloaded) => None,
            found => Some(found.unwrap()),
        }
    };
    let found = poll::until_async("an answer", SOON, asked).await;
    found.into_iter().map(|verified| verified.outcome).collect()
}

async fn ask_a_round(verifier: &Verifier, credential: &str, expected: Outcome) {
    for _ in 0..ROUND / Verifier::MAX_BATCH {
        let outcomes = ask(verifier, credential).await;
        assert!(outcomes.iter().all(|outcome| *outcome == expected), "{outcomes:?}");
    }
}

async fn scrape(cluster: &Cluster, edge: usize) -> String {
    prometheus::scrape(&cluster.replica(Service::Edge, edge).monitor()).await
}

/// What all edges have counted under this name for one kind of credential or authority.
async fn count(cluster: &Cluster, name: &str, label: (&str, &str)) -> f64 {
    let mut sum = 0.0;
    for edge in 0..cluster.count(Service::Edge) {
        let text = scrape(cluster, edge).await;
        sum += prometheus::value(&text, name, &[label]).expect("it is counted");
    }
    sum
}

async fn checks(cluster: &Cluster, kind: &str) -> f64 {
    count(cluster, "latchkey_cache_checks_total", ("kind", kind)).await
}

async fn alarms(cluster: &Cluster, kind: &str) -> f64 {
    count(cluster, "latchkey_cache_disagreements_total", ("kind", kind)).await
}

/// Asks until the alarm has been raised, and then until the edge has joined anew and remembers what the
/// database says.
async fn until_healed(
    cluster: &Cluster,
    verifier: &Verifier,
    (kind, credential): (&str, &str),
    alarms_expected: f64,
    truth: Outcome,
) {
    let end = Instant::now() + SOON;
    while alarms(cluster, kind).await < alarms_expected {
        assert!(
            Instant::now() < end,
            "no alarm for {truth:?} of a {kind} in {} checks",
            checks(cluster, kind).await
        );
        ask(verifier, credential).await;
    }
    let hits = async || {
        let text = scrape(cluster, 0).await;
        let labels = [("kind", kind), ("result", "hit")];
        prometheus::value(&text, "latchkey_cache_lookups_total", &labels).expect("it is counted")
    };
    let mut remembered = false;
    while !remembered {
        assert!(Instant::now() < end, "not remembered anew");
        let before = hits().await;
        let outcomes = ask(verifier, credential).await;
        let is_true = outcomes.iter().all(|outcome| *outcome == truth);
        remembered = is_true && hits().await > before;
    }
    assert!((alarms(cluster, kind).await - alarms_expected).abs() < 0.5, "one alarm");
}

#[tokio::test]
async fn what_memory_says_and_the_database_denies_is_an_alarm_and_is_forgotten() {
    let cluster = Cluster::builder().unhurried().start();
    cluster.remembers(0).await;
    let (api, verifier) = (cluster.api(0), verifier(&cluster).await);
    let user = api.user().await;
    let key = api.key(&user.token, "changed").await;
    let token = api.token(&user.username, PASSWORD).await;
    for credential in [&key.key, &token] {
        ask_a_round(&verifier, credential, Outcome::Valid).await;
        ask_a_round(&verifier, credential, Outcome::Valid).await;
    }
    // A check that gets no answer is not made again: whoever waits for one goes on asking.
    for (kind, credential) in [("key", &key.key), ("token", &token)] {
        let end = Instant::now() + SOON;
        while checks(&cluster, kind).await < 1.0 {
            assert!(Instant::now() < end, "no check of a {kind}");
            ask(&verifier, credential).await;
        }
        assert!(alarms(&cluster, kind).await < 0.5, "nothing is wrong yet");
    }
    // What HTTP is answered from memory counts as well.
    let (before, mut requests) = (checks(&cluster, "key").await, 0);
    while checks(&cluster, "key").await < before + 1.0 {
        assert!(requests < 10 * ROUND, "no check in {requests} answers to HTTP");
        for answer in join_all((0..AT_ONCE).map(|_| api.as_service(&key.key))).await {
            answer.expect(200);
        }
        requests += AT_ONCE;
    }

    // Nobody is told of these changes, and they take no revision.
    let mut keys = PgConnection::connect(cluster.database(Service::Keys)).await.unwrap();
    let end = sqlx::query("UPDATE api_keys SET revoked_at = 1 WHERE id = $1").bind(key.id);
    end.execute(&mut keys).await.unwrap();
    let changed = ("key", key.key.as_str());
    until_healed(&cluster, &verifier, changed, 1.0, Outcome::Revoked).await;
    let end = sqlx::query("UPDATE api_keys SET revoked_at = NULL WHERE id = $1").bind(key.id);
    end.execute(&mut keys).await.unwrap();
    until_healed(&cluster, &verifier, changed, 2.0, Outcome::Valid).await;
    let dropped = "latchkey_caches_dropped_total";
    assert!((count(&cluster, dropped, ("authority", "keys")).await - 2.0).abs() < 0.5);
    let mut identity = PgConnection::connect(cluster.database(Service::Identity)).await.unwrap();
    let end = sqlx::query("UPDATE sessions SET ended_at = 1 WHERE user_id = $1").bind(user.id);
    end.execute(&mut identity).await.unwrap();
    until_healed(&cluster, &verifier, ("token", &token), 1.0, Outcome::Revoked).await;

    let logs = cluster.replica(Service::Edge, 0).logs();
    let alarms: Vec<_> = logs.iter().filter(|line| line.contains("disagree")).collect();
    assert_eq!(alarms.len(), 3, "{logs:#?}");
    assert!(alarms.iter().all(|line| !line.contains(&key.key) && line.contains("ERROR")));
    // It has left in good order: no revoke waits for the members that it was.
    let end = Instant::now() + SOON;
    loop {
        let members = sqlx::query_scalar("SELECT count(*) FROM keys_members").fetch_one(&mut keys);
        let members: i64 = members.await.unwrap();
        if members == 1 {
            break;
        }
        assert!(Instant::now() < end, "{members} members");
    }
    let again = api.token(&user.username, PASSWORD).await;
    api.revoke(&again, key.id).await.expect(200);
    ask_a_round(&verifier, &key.key, Outcome::Revoked).await;
}

/// Asks for `credential` without a pause until told to stop.
async fn hammer(verifier: Verifier, credential: String, over: Arc<AtomicBool>) {
    while !over.load(SeqCst) {
        ask(&verifier, &credential).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ordinary_revokes_and_logouts_under_load_raise_no_alarm() {
    const REVOKES: usize = 60;
    const LOGOUTS: usize = 15;
    const HAMMERS: usize = 3;
    let builder = Cluster::builder().unhurried().replicas(Service::Edge, 2);
    let cluster = builder.replicas(Service::Keys, 2).start();
    for edge in 0..2 {
        cluster.remembers(edge).await;
    }
    let (api, verifier) = (cluster.api(0), verifier(&cluster).await);
    let user = api.user().await;
    for round in 0..REVOKES + LOGOUTS {
        let (credential, path) = if round < REVOKES {
            let key = api.key(&user.token, "ends").await;
            (key.key, format!("/keys/{}", key.id))
        } else {
            (api.token(&user.username, PASSWORD).await, String::new())
        };
        ask_a_round(&verifier, &credential, Outcome::Valid).await;
        let over = Arc::new(AtomicBool::new(false));
        let hammers: Vec<_> = (0..HAMMERS)
            .map(|_| tokio::spawn(hammer(verifier.clone(), credential.clone(), Arc::clone(&over))))
            .collect();
        let end = match path.as_str() {
            "" => api.post("/auth/logout").bearer(&credential),
            path => api.delete(path).bearer(&user.token),
        };
        end.send().await.expect(200);
        ask_a_round(&verifier, &credential, Outcome::Revoked).await;
        over.store(true, SeqCst);
        for hammer in hammers {
            hammer.await.unwrap();
        }
    }
    for kind in ["key", "token"] {
        let checks = checks(&cluster, kind).await;
        assert!(checks >= 10.0, "{checks} checks of a {kind}");
        let alarms = alarms(&cluster, kind).await;
        assert!(alarms < 0.5, "{alarms} in {checks} checks of a {kind}");
    }
}
