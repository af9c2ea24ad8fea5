//! The database locked or its disk full: the contract's answers, nothing lost, nothing internal shown.

use std::time::Duration;

use e2e::account::PASSWORD;
use e2e::raw::exchange;
use e2e::{Service, Stack, lines, poll, unique};
use sqlx::{Connection, Executor, SqliteConnection};

/// Bound on what is noticed by itself.
const SOON: Duration = Duration::from_mins(1);
/// Far more keys than fit below the limit.
const MANY: usize = 5_000;

#[tokio::test]
async fn a_locked_database_is_unavailable_for_writes_and_not_for_checks() {
    // A Postgres server has no lock of this kind.
    if Stack::is_cluster() {
        return;
    }
    let stack = Stack::with(|config| {
        config.cheap_passwords();
    });
    let api = stack.api();
    let user = api.user().await;
    let key = api.key(&user.token, "before").await;
    let url = stack.database(Service::Keys);
    let mut lock = SqliteConnection::connect(&url).await.unwrap();
    lock.execute("BEGIN IMMEDIATE").await.unwrap();

    let name = unique("locked");
    let answers = [
        api.sign_up_as(&name, PASSWORD).await,
        api.make_key(&user.token, &serde_json::json!({"name": "during"})).await,
        api.revoke(&user.token, key.id).await,
    ];
    for answer in answers {
        answer.problem(503, "unavailable");
        assert!(!answer.header("retry-after").is_empty());
    }
    api.as_service(&key.key).await.expect(200);
    api.as_user(&user.token).await.expect(200);

    lock.execute("ROLLBACK").await.unwrap();
    lock.close().await.unwrap();
    api.sign_up_as(&name, PASSWORD).await.expect(201);
    api.revoke(&user.token, key.id).await.expect(200);
    api.as_service(&key.key).await.unauthenticated();
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_is_told_as_unavailable() {
    // A cluster's services write no files.
    if Stack::is_cluster() {
        return;
    }
    let mut stack = Stack::with(|config| {
        config.cheap_passwords().largest_file(Some(2 * 1024 * 1024));
    });
    let api = stack.api();
    let user = api.user().await;
    let mut kept = Vec::new();
    let mut refused = None;
    for number in 0..MANY {
        let body = serde_json::json!({"name": format!("{number} {}", "n".repeat(90))});
        let answer = api.make_key(&user.token, &body).await;
        if answer.status != 201 {
            refused = Some(answer);
            break;
        }
        let key = answer.json()["key"].as_str().unwrap().to_owned();
        let there = api.as_service(&key).await;
        assert_eq!(
            there.status,
            200,
            "key {number} was promised and is not there: {}",
            there.text()
        );
        kept.push(key);
    }
    let refused = refused.expect("the limit is hit");
    refused.problem(503, "unavailable");
    assert!(!refused.header("retry-after").is_empty());
    for key in kept.iter().rev().take(20) {
        api.as_service(key).await.expect(200);
    }
    stack.restart_with(|config| {
        config.largest_file(None);
    });
    let api = stack.api();
    for key in &kept {
        api.as_service(key).await.expect(200);
    }
    api.key(&user.token, "room again").await;
}

#[tokio::test]
async fn everything_works_again_when_a_full_disk_has_room() {
    // A cluster's services write no files.
    if Stack::is_cluster() {
        return;
    }
    let stack = Stack::with(|config| {
        config
            .cheap_passwords()
            .largest_file(Some(64 * 1024 * 1024))
            .set("MONITOR_ADDR", "127.0.0.1:0");
    });
    let monitor = stack.logs().iter().find_map(|line| lines::ready_field(line, "monitor")).unwrap();
    let is_ready = || {
        let answer = exchange(&monitor, "GET /health/ready HTTP/1.1\r\nHost: x\r\n\r\n");
        answer.expect("an answer").status == 200
    };
    let pid = stack.embedded().unwrap().pid;
    let api = stack.api();
    let user = api.user().await;
    let (first, second) =
        (api.key(&user.token, "first").await, api.key(&user.token, "second").await);
    assert!(is_ready());

    // Nothing is written to any file any more.
    limit_files(pid, "0");
    api.revoke(&user.token, first.id).await.problem(503, "unavailable");
    poll::until("it is not ready", SOON, || (!is_ready()).then_some(()));
    api.get("/health/ready").send().await.problem(503, "unavailable");
    // What needs no disk goes on.
    api.as_service(&second.key).await.expect(200);

    limit_files(pid, "unlimited");
    for key in [&first, &second] {
        api.revoke(&user.token, key.id).await.expect(200);
        api.as_service(&key.key).await.unauthenticated();
    }
    let body =
        serde_json::json!({"current_password": PASSWORD, "new_password": "quite another one"});
    api.post("/auth/password").bearer(&user.token).json(&body).send().await.expect(200);
    api.post("/auth/logout-all").bearer(&user.token).send().await.expect(200);
    api.as_user(&user.token).await.unauthenticated();
    poll::until("it is ready", SOON, || is_ready().then_some(()));
    api.get("/health/ready").send().await.expect(200);
}

/// Lets no file of a running process grow above so many bytes.
fn limit_files(pid: u32, bytes: &str) {
    let mut command = std::process::Command::new("prlimit");
    command.arg(format!("--pid={pid}")).arg(format!("--fsize={bytes}:"));
    assert!(command.status().unwrap().success());
}
