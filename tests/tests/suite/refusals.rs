//! What is refused now and may be accepted later is remembered like what is accepted: under the lease, and gone with
//! the change that makes it untrue.

use std::time::Duration;

use e2e::{Api, Cluster, Service, poll, prometheus};
use sqlx::{Connection, PgConnection};
use tokio::task::block_in_place;

const UNKNOWN_KEY: &str = "sk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA0DofJ8";
/// Bound on whatever comes by itself.
const SOON: Duration = Duration::from_mins(1);
/// How often a refused key is tried.
const TRIES: usize = 40;

/// Questions about keys that the key service has answered.
async fn asked(cluster: &Cluster) -> f64 {
    let text = prometheus::scrape(&cluster.replica(Service::Keys, 0).monitor()).await;
    let labels = [("subject", "v1.keys.verify")];
    prometheus::value(&text, "latchkey_bus_served_total", &labels).expect("it was asked once")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_hammered_while_it_is_refused_costs_one_question() {
    let cluster = block_in_place(|| Cluster::builder().unhurried().start());
    cluster.remembers(0).await;
    let api = cluster.api(0);
    let (user, idle) = (api.user().await, api.user().await);
    let expired = api.key(&user.token, "expired").await;
    let disabled = api.key(&idle.token, "disabled").await;
    let revoked = api.key(&user.token, "revoked").await;
    api.revoke(&user.token, revoked.id).await.expect(200);
    let mut database = PgConnection::connect(cluster.database(Service::Keys)).await.unwrap();
    let expire = sqlx::query("UPDATE api_keys SET expires_at = 1 WHERE id = $1").bind(expired.id);
    expire.execute(&mut database).await.unwrap();
    let disable = sqlx::query("INSERT INTO keys_disabled_owners VALUES ($1, 1)").bind(idle.id);
    disable.execute(&mut database).await.unwrap();

    for key in [&expired.key, &disabled.key, &revoked.key, UNKNOWN_KEY] {
        api.as_service(key).await.unauthenticated();
        let before = asked(&cluster).await;
        for _ in 0..TRIES {
            api.as_service(key).await.unauthenticated();
        }
        let questions = asked(&cluster).await - before;
        assert!(questions < 0.5, "{questions} questions for {TRIES} tries");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_every_edge_refuses_is_accepted_by_each_once_its_owner_is_reactivated() {
    const ROUNDS: usize = 5;
    let builder = Cluster::builder().unhurried().replicas(Service::Edge, 2);
    let cluster = block_in_place(|| builder.start());
    let edges: Vec<Api> = (0..2).map(|edge| cluster.api(edge)).collect();
    let user = edges[0].user().await;
    let other = edges[0].user().await;
    let key = edges[0].key(&user.token, "ci").await.key;
    let stays = edges[0].key(&other.token, "stays").await.key;
    for _ in 0..ROUNDS {
        for (command, status) in [("deactivate", 401), ("reactivate", 200)] {
            let done = block_in_place(|| cluster.operator(&["user", command, &user.username]));
            assert_eq!(done.code, Some(0), "{}", done.stderr);
            for edge in edges.iter().chain(&edges) {
                assert_eq!(edge.as_service(&key).await.status, status, "after {command}");
                edge.as_service(&stays).await.expect(200);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_is_cut_off_says_of_a_key_that_may_be_made_good_that_nobody_can_say() {
    let mut cluster = block_in_place(|| Cluster::builder().unhurried().start());
    cluster.remembers(0).await;
    let api = cluster.api(0);
    let user = api.user().await;
    let revoked = api.key(&user.token, "revoked").await;
    api.revoke(&user.token, revoked.id).await.expect(200);
    for key in [UNKNOWN_KEY, &revoked.key].repeat(2) {
        api.as_service(key).await.unauthenticated();
    }
    cluster.replica_mut(Service::Keys, 0).kill();
    let is_over = async || {
        let status = api.as_service(UNKNOWN_KEY).await.status;
        assert!(status == 401 || status == 503, "{status}");
        (status == 503).then_some(())
    };
    poll::until_async("the lease is over", SOON, is_over).await;
    for _ in 0..3 {
        assert_eq!(api.as_service(UNKNOWN_KEY).await.status, 503);
    }
    // A revoke is never undone: no lease is needed.
    api.as_service(&revoked.key).await.unauthenticated();
}
