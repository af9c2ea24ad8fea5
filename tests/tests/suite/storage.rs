//! The database locked or its disk full: the contract's answers, nothing lost, nothing internal shown.

use e2e::account::PASSWORD;
use e2e::{Service, Stack, unique};
use sqlx::{Connection, Executor, SqliteConnection};

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
