//! The three services as processes of their own, on a real NATS server and a real Postgres.

use e2e::account::PASSWORD;
use e2e::process::mortal;
use e2e::{Cluster, Folder, Process, Service, binary, poll, unique};

/// Bound on whatever comes by itself.
const SOON: std::time::Duration = std::time::Duration::from_mins(1);

#[tokio::test]
async fn three_processes_answer_as_one_and_an_absent_one_is_unavailable() {
    let mut cluster = Cluster::builder().start();
    let api = cluster.api(0);
    api.get("/health/ready").send().await.expect(200);
    let name = unique("cluster");
    api.sign_up_as(&name, PASSWORD).await.expect(201);
    let token = api.token(&name, PASSWORD).await;
    let key = api.key(&token, "over the bus").await;
    let body = api.as_service(&key.key).await.expect(200);
    assert_eq!(body["service_name"], "over the bus");
    api.revoke(&token, key.id).await.expect(200);
    api.as_service(&key.key).await.unauthenticated();
    api.log_in(&name, "not this one").await.problem(401, "Incorrect username or password");

    let kept = api.key(&token, "kept").await;
    cluster.replica_mut(Service::Keys, 0).kill();
    let answer = api.as_service(&kept.key).await;
    answer.problem(503, "unavailable");
    assert!(!answer.header("retry-after").is_empty());
    // What needs no key service goes on, so the edge stays ready, and says what is away.
    poll::until_async("the edge has noticed", SOON, || async {
        let body = api.get("/health/ready").send().await.expect(200);
        (body["away"] == serde_json::json!(["keys"])).then_some(())
    })
    .await;
    api.as_user(&token).await.expect(200);
    api.get("/health").send().await.expect(200);
}

#[test]
fn a_service_names_the_variable_it_cannot_start_with() {
    let folder = Folder::new();
    let run = |name, environment: &[(&str, &str)]| {
        let mut command = binary::clean(mortal(binary::named(name)), folder.path());
        command.env("MONITOR_ADDR", "off").envs(environment.iter().copied());
        Process::start(command).finish()
    };
    let end = run("latchkey-identity", &[]);
    assert_eq!(end.code, Some(78), "{}", end.stderr);
    assert!(end.stderr.contains("SECRET_KEY"), "{}", end.stderr);
    let end = run("latchkey-keys", &[("DATABASE_URL", "sqlite://x.db")]);
    assert_eq!(end.code, Some(78), "{}", end.stderr);
    assert!(end.stderr.contains("DATABASE_URL"), "{}", end.stderr);
    let end = run("latchkey-edge", &[("NATS_URL", "127.0.0.1:1")]);
    assert_eq!(end.code, Some(78), "{}", end.stderr);
    assert!(end.stderr.contains("NATS_URL"), "{}", end.stderr);
}

#[tokio::test]
async fn what_one_edge_is_told_the_other_knows_and_a_restart_of_everything_forgets_nothing() {
    let mut cluster = Cluster::builder()
        .replicas(Service::Identity, 2)
        .replicas(Service::Keys, 2)
        .replicas(Service::Edge, 2)
        .own_postgres()
        .start();
    let user = cluster.api(0).user().await;
    let (kept, revoked) = (
        cluster.api(1).key(&user.token, "kept").await,
        cluster.api(0).key(&user.token, "revoked").await,
    );
    cluster.api(0).as_service(&revoked.key).await.expect(200);
    cluster.api(1).revoke(&user.token, revoked.id).await.expect(200);
    for edge in 0..2 {
        cluster.api(edge).as_service(&revoked.key).await.unauthenticated();
    }

    cluster.kill();
    cluster.bus().restart();
    cluster.postgres().restart();
    cluster.launch();
    for edge in 0..2 {
        cluster.api(edge).as_user(&user.token).await.expect(200);
        cluster.api(edge).as_service(&kept.key).await.expect(200);
        cluster.api(edge).as_service(&revoked.key).await.unauthenticated();
    }
}

#[tokio::test]
async fn a_lease_as_long_as_the_start_accepts_is_waited_for_by_one_attempt() {
    // Longer than an attempt waits where nothing is configured.
    let mut cluster = Cluster::builder().replicas(Service::Edge, 2).set("LEASE_MS", "4000").start();
    cluster.joined(2).await;
    let api = cluster.api(0);
    let (ada, bob) = (api.user().await, api.user().await);
    let before = api.post("/auth/logout").bearer(&bob.token).send().await.expect(200);
    cluster.replica_mut(Service::Edge, 1).kill();
    let ended = api.post("/auth/logout-all").bearer(&ada.token).send().await.expect(200);
    api.as_user(&ada.token).await.unauthenticated();
    let revision = |answer: &serde_json::Value| answer["receipt"]["revision"].as_i64().unwrap();
    assert_eq!(revision(&ended), revision(&before) + 1, "it was asked for once");
    assert_eq!(ended["receipt"]["edges_confirmed"], 1, "the other held a lease");
}
