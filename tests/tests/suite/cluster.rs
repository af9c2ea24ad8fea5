//! The three services as processes of their own, on a real NATS server and a real Postgres.

use std::time::Duration;

use e2e::account::PASSWORD;
use e2e::process::mortal;
use e2e::{Api, Folder, Process, SECRET, binary, nats, poll, postgres, unique};
use serde_json::Value;

/// Bound on the start of a service.
const START: Duration = Duration::from_mins(1);

struct Cluster {
    url: String,
    keys: Process,
    _identity: Process,
    _edge: Process,
    _bus: nats::Server,
    _folder: Folder,
}

/// Starts a service and gives it with its line that says it is ready.
fn service(name: &str, folder: &Folder, environment: &[(&str, &str)]) -> (Process, Value) {
    let mut command = binary::clean(mortal(binary::named(name)), folder.path());
    command.envs(environment.iter().copied());
    let mut process = Process::start(command);
    let ready = poll::until("the service is ready", START, || {
        let lines = process.stderr();
        let found = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let ready = found.into_iter().find(|line| line["message"] == "ready");
        assert!(ready.is_some() || process.ended().is_none(), "{name} ended: {lines:#?}");
        ready
    });
    (process, ready)
}

async fn cluster() -> Cluster {
    let (bus, folder) = (nats::Server::start(), Folder::new());
    let (nats, users, keys) =
        (bus.url(), postgres::fresh_database().await, postgres::fresh_database().await);
    let secret = ("SECRET_KEY", SECRET);
    let at = ("NATS_URL", nats.as_str());
    let (identity, _) =
        service("latchkey-identity", &folder, &[at, secret, ("DATABASE_URL", &users)]);
    let (keys, _) = service("latchkey-keys", &folder, &[at, ("DATABASE_URL", &keys)]);
    let (edge, ready) = service(
        "latchkey-edge",
        &folder,
        &[at, ("LISTEN_ADDR", "127.0.0.1:0"), ("RATE_LIMIT", "off")],
    );
    let url = ready["address"].as_str().unwrap().to_owned();
    Cluster { url, keys, _identity: identity, _edge: edge, _bus: bus, _folder: folder }
}

#[tokio::test]
async fn three_processes_answer_as_one_and_an_absent_one_is_unavailable() {
    let mut cluster = cluster().await;
    let api = Api::new(&cluster.url);
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
    cluster.keys.kill();
    let answer = api.as_service(&kept.key).await;
    answer.problem(503, "unavailable");
    assert!(!answer.header("retry-after").is_empty());
    api.get("/health/ready").send().await.problem(503, "unavailable");
    // What needs no key service goes on.
    api.as_user(&token).await.expect(200);
    api.get("/health").send().await.expect(200);
}

#[test]
fn a_service_names_the_variable_it_cannot_start_with() {
    let folder = Folder::new();
    let run = |name, environment: &[(&str, &str)]| {
        let mut command = binary::clean(mortal(binary::named(name)), folder.path());
        command.envs(environment.iter().copied());
        Process::start(command).finish()
    };
    let end = run("latchkey-identity", &[]);
    assert_eq!(end.code, Some(78), "{}", end.stderr);
    assert!(end.stderr.contains("SECRET_KEY"), "{}", end.stderr);
    let end = run("latchkey-keys", &[("DATABASE_URL", "sqlite://x.db")]);
    assert_eq!(end.code, Some(78), "{}", end.stderr);
    assert!(end.stderr.contains("DATABASE_URL"), "{}", end.stderr);
    let end = run("latchkey-edge", &[("NATS_URL", "nats://127.0.0.1:1")]);
    assert_eq!(end.code, Some(69), "{}", end.stderr);
    assert!(end.stderr.contains("NATS_URL"), "{}", end.stderr);
}
