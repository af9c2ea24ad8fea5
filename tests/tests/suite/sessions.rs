//! The list of a user's sessions, and the end of one of them, or of all others.

use e2e::account::PASSWORD;
use e2e::{Api, Stack, User};
use serde_json::{Value, json};

fn edges(stack: &Stack) -> Vec<Api> {
    stack.edges().iter().map(|url| Api::new(url)).collect()
}

async fn log_in(api: &Api, user: &User, device: &str) -> String {
    let body =
        json!({"username": user.username, "password": PASSWORD, "device": device, "refresh": true});
    let call = || api.post("/auth/login").header("user-agent", "a browser").json(&body).send();
    let body = e2e::account::made(200, call).await;
    body["access_token"].as_str().unwrap().to_owned()
}

async fn list(api: &Api, token: &str) -> Vec<Value> {
    let all = api.get("/auth/sessions").bearer(token).send().await.expect(200);
    all.as_array().unwrap().clone()
}

async fn end(api: &Api, token: &str, id: &str) -> e2e::Answer {
    api.delete(&format!("/auth/sessions/{id}")).bearer(token).send().await
}

#[tokio::test]
async fn a_user_sees_their_sessions_the_newest_first() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let token = log_in(&api, &user, "laptop").await;
    let all = list(&api, &token).await;
    assert_eq!(all.len(), 2, "{all:?}");
    let newest = &all[0];
    assert_eq!((&newest["device"], &newest["current"]), (&json!("laptop"), &json!(true)));
    assert_eq!((&newest["user_agent"], &newest["ip"]), (&json!("a browser"), &json!("127.0.0.1")));
    assert_eq!((&newest["methods"], &newest["kind"]), (&json!(["pwd"]), &json!("api")));
    let times = ["created_at", "last_seen_at", "idle_expires_at", "expires_at"];
    let times = times.map(|member| e2e::answer::time(&newest[member]));
    assert!(times.is_sorted() && times[2] < times[3], "{newest}");
    assert_eq!((&all[1]["current"], &all[1]["device"]), (&json!(false), &Value::Null));
    assert_ne!(all[0]["id"], all[1]["id"]);
    let body = json!({"username": user.username, "password": PASSWORD});
    for device in [json!(""), json!("x".repeat(65)), json!(7), json!("a\nb")] {
        let mut body = body.clone();
        body["device"] = device;
        api.post_json("/auth/login", &body).await.invalid(&["device"]);
    }
}

#[tokio::test]
async fn a_session_that_is_ended_from_another_is_refused_at_every_edge_at_once() {
    let stack = Stack::shared();
    let edges = edges(stack);
    let user = stack.api().user().await;
    let other = log_in(&edges[0], &user, "lost").await;
    for edge in &edges {
        edge.as_user(&other).await.expect(200);
        edge.as_user(&user.token).await.expect(200);
    }
    let all = list(&edges[0], &user.token).await;
    let lost = all.iter().find(|session| session["device"] == "lost").unwrap();
    let id = lost["id"].as_str().unwrap();
    // A stranger has no such session, and neither has anybody one that is none.
    let stranger = stack.api().user().await;
    for (token, id) in
        [(&stranger.token, id), (&user.token, "0123456789abcdef"), (&user.token, "1")]
    {
        end(&edges[0], token, id).await.problem(404, "Session not found");
    }
    for edge in &edges {
        edge.as_user(&other).await.expect(200);
    }
    let body = end(&edges[0], &user.token, id).await.expect(200);
    assert!(body["receipt"]["revision"].as_i64().unwrap() > 0, "{body}");
    for edge in edges.iter().rev() {
        edge.as_user(&other).await.unauthenticated();
        edge.as_user(&user.token).await.expect(200);
    }
    end(&edges[0], &user.token, id).await.expect(200);
    assert_eq!(list(&edges[0], &user.token).await.len(), 1);
}

#[tokio::test]
async fn all_sessions_but_the_one_that_asks_can_be_ended() {
    let stack = Stack::shared();
    let edges = edges(stack);
    let user = stack.api().user().await;
    let mut others = Vec::new();
    for device in ["one", "two"] {
        others.push(log_in(&edges[0], &user, device).await);
    }
    for edge in &edges {
        for token in others.iter().chain([&user.token]) {
            edge.as_user(token).await.expect(200);
        }
    }
    let call = edges[0].post("/auth/logout-all?keep_current=true").bearer(&user.token);
    call.send().await.expect(200);
    for edge in &edges {
        for token in &others {
            edge.as_user(token).await.unauthenticated();
        }
        edge.as_user(&user.token).await.expect(200);
    }
    edges[0].post("/auth/logout-all").bearer(&user.token).send().await.expect(200);
    edges[0].as_user(&user.token).await.unauthenticated();
}
