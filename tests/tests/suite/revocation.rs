//! Revoked means revoked: what one edge remembers is refused by it once a change on any edge has returned.

use std::time::Duration;

use e2e::account::PASSWORD;
use e2e::{Api, Stack, unique};
use serde_json::json;

const NEW_PASSWORD: &str = "a louder harbour at noon";
/// Revokes, each of a key that every edge remembers.
const REVOKES: usize = 40;

fn edges(stack: &Stack) -> Vec<Api> {
    stack.edges().iter().map(|url| Api::new(url)).collect()
}

#[tokio::test]
async fn a_key_that_every_edge_remembers_is_refused_by_each_once_the_revoke_has_returned() {
    let stack = Stack::shared();
    let edges = edges(stack);
    let user = stack.api().user().await;
    let stays = stack.api().key(&user.token, "stays").await;
    let mut revisions = Vec::new();
    for number in 0..REVOKES {
        let key = edges[0].key(&user.token, "ends").await;
        for _ in 0..2 {
            for edge in &edges {
                edge.as_service(&key.key).await.expect(200);
            }
        }
        let body = edges[number % edges.len()].revoke(&user.token, key.id).await.expect(200);
        for edge in edges.iter().rev() {
            edge.as_service(&key.key).await.unauthenticated();
            edge.as_service(&stays.key).await.expect(200);
        }
        revisions.push(body["receipt"]["revision"].as_i64().unwrap());
    }
    assert!(revisions.is_sorted(), "{revisions:?}");
}

#[tokio::test]
async fn a_revoke_without_waiting_says_from_when_it_is_exact() {
    let stack = Stack::shared();
    let api = stack.api();
    let user = api.user().await;
    let key = api.key(&user.token, "later").await;
    let path = format!("/keys/{}", key.id);
    let call = api.delete(&format!("{path}?wait=false")).bearer(&user.token);
    let asked = time::OffsetDateTime::now_utc();
    let body = call.send().await.expect(202);
    // Both clocks are this machine's. Every edge relied on the key for a lease, 2 s, from some time before.
    let lease = Duration::from_secs(2);
    assert!(e2e::answer::time(&body["exact_from"]) >= asked + lease, "{body}");
    assert!(body["revision"].as_i64().unwrap() > 0);
    // A retry that waits, waits for as long as it must.
    let receipt = api.delete(&format!("{path}?wait=true")).bearer(&user.token).send().await;
    assert_eq!(receipt.expect(200)["receipt"]["revision"], body["revision"]);
    api.as_service(&key.key).await.unauthenticated();
    for wrong in ["?wait=", "?wait=1", "?wait=true&wait=false"] {
        let call = api.delete(&format!("{path}{wrong}")).bearer(&user.token);
        call.send().await.problem(422, "wait");
    }
}

#[tokio::test]
async fn a_revoke_that_asks_for_what_there_is_not_revokes_nothing() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let key = api.key(&user.token, "stays").await;
    let path = format!("/keys/{}", key.id);
    for (unknown, field) in [("?dry_run=true", "query"), ("?wait=true&reason=leak", "reason")] {
        let call = api.delete(&format!("{path}{unknown}")).bearer(&user.token);
        call.send().await.invalid(&[field]);
    }
    for body in [json!({}), json!({"reason": "leaked"})] {
        api.delete(&path).bearer(&user.token).json(&body).send().await.invalid(&["body"]);
    }
    api.as_service(&key.key).await.expect(200);
    // What clients send of their own accord does no harm.
    let call = api.delete(&path).bearer(&user.token).header("content-type", "application/json");
    call.send().await.expect(200);
    api.as_service(&key.key).await.unauthenticated();
}

#[tokio::test]
async fn logging_out_everywhere_ends_every_session_of_one_user() {
    let stack = Stack::shared();
    let (api, edges) = (stack.api(), edges(stack));
    let (user, other) = (api.user().await, api.user().await);
    let second = api.token(&user.username, PASSWORD).await;
    for edge in &edges {
        for token in [&user.token, &second, &other.token] {
            edge.as_user(token).await.expect(200);
        }
    }
    let body = api.post("/auth/logout-all").bearer(&second).send().await.expect(200);
    assert!(body["receipt"]["revision"].as_i64().unwrap() > 0, "{body}");
    for edge in &edges {
        for token in [&user.token, &second] {
            edge.as_user(token).await.unauthenticated();
            edge.get("/keys").bearer(token).send().await.unauthenticated();
        }
        edge.as_user(&other.token).await.expect(200);
    }
    let again = api.token(&user.username, PASSWORD).await;
    api.as_user(&again).await.expect(200);
}

#[tokio::test]
async fn a_new_password_needs_the_current_one_and_ends_every_other_session() {
    let stack = Stack::shared();
    let (api, edges) = (stack.api(), edges(stack));
    let user = api.user().await;
    let other = api.token(&user.username, PASSWORD).await;
    let change = |token: &str, body: serde_json::Value| {
        api.post("/auth/password").bearer(token).json(&body).send()
    };
    let body = json!({"current_password": "not this one", "new_password": NEW_PASSWORD});
    change(&user.token, body).await.problem(401, "Incorrect username or password");
    let body = json!({"current_password": PASSWORD, "new_password": "short"});
    change(&user.token, body).await.problem(422, "new_password");
    change(&user.token, json!({"current_password": PASSWORD, "new_password": "password1"}))
        .await
        .problem(422, "new_password");
    change(&user.token, json!({})).await.problem(422, "current_password");
    for edge in &edges {
        edge.as_user(&other).await.expect(200);
    }

    let body = json!({"current_password": PASSWORD, "new_password": NEW_PASSWORD});
    let body = change(&user.token, body).await.expect(200);
    assert!(body["receipt"]["revision"].as_i64().unwrap() > 0, "{body}");
    for edge in &edges {
        edge.as_user(&other).await.unauthenticated();
        edge.as_user(&user.token).await.expect(200);
    }
    api.log_in(&user.username, PASSWORD).await.problem(401, "Incorrect username or password");
    api.log_in(&user.username, NEW_PASSWORD).await.expect(200);
}

#[tokio::test]
async fn deactivating_cuts_tokens_and_keys_at_once_and_reactivating_gives_the_keys_back() {
    let stack = Stack::shared();
    let (api, edges) = (stack.api(), edges(stack));
    let user = api.user().await;
    let key = api.key(&user.token, "cut").await;
    for edge in &edges {
        edge.as_user(&user.token).await.expect(200);
        edge.as_service(&key.key).await.expect(200);
    }
    // Any spelling with the same canonical form.
    let upper = user.username.to_uppercase();
    let done = stack.operator(&["user", "deactivate", &upper]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stdout.contains(&format!("User {} is deactivated", user.id)), "{}", done.stdout);
    for edge in &edges {
        edge.as_user(&user.token).await.unauthenticated();
        edge.as_service(&key.key).await.unauthenticated();
        edge.get("/protected/any").api_key(&key.key).send().await.unauthenticated();
    }
    api.log_in(&user.username, PASSWORD).await.problem(400, "Inactive user account");

    let done = stack.operator(&["user", "reactivate", &user.username]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    for edge in &edges {
        edge.as_service(&key.key).await.expect(200);
        // A session that was cut stays cut.
        edge.as_user(&user.token).await.unauthenticated();
    }
    api.log_in(&user.username, PASSWORD).await.expect(200);

    let nobody = unique("nobody");
    let refused = stack.operator(&["user", "deactivate", &nobody]);
    assert_ne!(refused.code, Some(0));
    assert!(refused.stderr.contains(&format!("there is no user {nobody:?}")), "{}", refused.stderr);
}

#[tokio::test]
async fn times_that_would_break_the_guarantee_are_refused_at_the_start() {
    for (name, value, named) in [
        ("REVOKE_WAIT_MS", "2000", "REVOKE_WAIT_MS"),
        ("RENEWAL_MS", "1500", "RENEWAL_MS"),
        ("LEASE_MS", "10", "LEASE_MS"),
        ("CLOCK_DRIFT", "101", "CLOCK_DRIFT"),
        // Together with the longest lease it demands a wait that nobody waits for.
        ("CLOCK_DRIFT", "100", "LEASE_MS"),
    ] {
        let folder = e2e::Folder::new();
        let mut command = e2e::binary::command(folder.path(), &e2e::binary::Limits::default());
        if (name, value) == ("CLOCK_DRIFT", "100") {
            command.env("LEASE_MS", "7000");
        }
        command.env(name, value).arg("--check-config");
        let end = e2e::Process::start(command).finish();
        assert_eq!(end.code, Some(78), "{name}={value}: {}", end.stderr);
        assert!(end.stderr.contains(named), "{name}={value}: {}", end.stderr);
    }
}

#[tokio::test]
async fn without_a_memory_every_answer_is_the_same() {
    let stack = Stack::with(|config| {
        config.cheap_passwords().set("CACHE", "off");
    });
    let api = stack.api();
    let user = api.user().await;
    let key = api.key(&user.token, "asked each time").await;
    api.as_service(&key.key).await.expect(200);
    api.as_user(&user.token).await.expect(200);
    let receipt = api.revoke(&user.token, key.id).await.expect(200)["receipt"].clone();
    assert_eq!(receipt["edges_confirmed"], 0, "nobody relies on anything: {receipt}");
    api.as_service(&key.key).await.unauthenticated();
    api.post("/auth/logout").bearer(&user.token).send().await.expect(200);
    api.as_user(&user.token).await.unauthenticated();
}
