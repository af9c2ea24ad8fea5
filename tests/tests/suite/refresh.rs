//! Refresh tokens: asked for, rotated once, shown again within a moment at most, and the end of their session otherwise.

use e2e::account::PASSWORD;
use e2e::tap::Tap;
use e2e::{Api, Cluster, Service, Stack, User, database};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::task::block_in_place;

/// Moves the rotation of every token of a session beyond any window.
const LONG_AGO: &str = "UPDATE refresh_tokens SET rotated_at = rotated_at - 400000 WHERE session_id IN \
    (SELECT id FROM sessions WHERE device = $1)";
const NEW_PASSWORD: &str = "a louder harbour at noon";

/// The tokens of one answer.
#[derive(Clone, Debug)]
struct Tokens {
    access: String,
    refresh: String,
}

impl Tokens {
    fn of(body: &Value) -> Self {
        let text = |member: &str| body[member].as_str().expect("a token").to_owned();
        Self { access: text("access_token"), refresh: text("refresh_token") }
    }
}

fn edges(stack: &Stack) -> Vec<Api> {
    stack.edges().iter().map(|url| Api::new(url)).collect()
}

fn cheap() -> Stack {
    Stack::with(|config| {
        config.cheap_passwords();
    })
}

async fn log_in(api: &Api, user: &User) -> Tokens {
    // Its name finds it in the database.
    let body = json!({"username": user.username, "password": PASSWORD, "refresh": true, "device": user.username});
    let body = e2e::account::made(200, || api.post_json("/auth/login", &body)).await;
    Tokens::of(&body)
}

async fn refresh(api: &Api, token: &str) -> e2e::Answer {
    api.post_json("/auth/refresh", &json!({"refresh_token": token})).await
}

async fn next(api: &Api, token: &str) -> Tokens {
    Tokens::of(&refresh(api, token).await.expect(200))
}

/// Fails where an edge accepts one of the tokens, in the first request.
async fn all_refused(edges: &[Api], tokens: &[Tokens]) {
    for edge in edges {
        for token in tokens {
            edge.as_user(&token.access).await.unauthenticated();
        }
    }
}

#[tokio::test]
async fn a_session_has_a_refresh_token_where_it_was_asked_for_and_not_otherwise() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let plain = api.log_in(&user.username, PASSWORD).await.expect(200);
    e2e::answer::exactly(&plain, &["access_token", "token_type", "expires_in"]);
    let asked = json!({"username": user.username, "password": PASSWORD, "refresh": true});
    let body = api.post_json("/auth/login", &asked).await.expect(200);
    assert_eq!(body["refresh_expires_in"], 30 * 24 * 60 * 60);
    let first = Tokens::of(&body);
    assert!(
        first.refresh.starts_with("rt_") && first.refresh.len() == 52,
        "{}",
        first.refresh.len()
    );
    let second = next(&api, &first.refresh).await;
    assert_ne!(second.refresh, first.refresh);
    assert_ne!(second.access, first.access);
    // What was given before goes on until its time is over.
    for token in [&first, &second] {
        api.as_user(&token.access).await.expect(200);
    }
    for wrong in [json!("yes"), json!(1), Value::Null] {
        let mut body = asked.clone();
        body["refresh"] = wrong;
        api.post_json("/auth/login", &body).await.invalid(&["refresh"]);
    }
}

#[tokio::test]
async fn refreshes_at_the_same_time_give_one_next_token() {
    let stack = cheap();
    let edges = edges(&stack);
    let user = stack.api().user().await;
    let first = log_in(&edges[0], &user).await;
    let many = (0..32).map(|number| refresh(&edges[number % edges.len()], &first.refresh));
    let all: Vec<Tokens> =
        join_all(many).await.iter().map(|answer| Tokens::of(&answer.expect(200))).collect();
    assert!(all.iter().all(|one| one.refresh == all[0].refresh), "one successor");
    for edge in &edges {
        for token in &all {
            edge.as_user(&token.access).await.expect(200);
        }
    }
    // An answer that was lost: the same again.
    assert_eq!(next(&edges[0], &first.refresh).await.refresh, all[0].refresh);
    next(&edges[0], &all[0].refresh).await;
    // Its next one was used: two have it.
    refresh(&edges[0], &first.refresh).await.unauthenticated();
    all_refused(&edges, &all).await;
    refresh(&edges[0], &all[0].refresh).await.unauthenticated();
}

#[tokio::test]
async fn a_token_that_is_used_later_ends_its_session_and_no_other() {
    let stack = cheap();
    let edges = edges(&stack);
    let user = stack.api().user().await;
    let (first, other) =
        (log_in(&edges[0], &user).await, stack.api().token(&user.username, PASSWORD).await);
    let second = next(&edges[0], &first.refresh).await;
    for edge in &edges {
        edge.as_user(&first.access).await.expect(200);
        edge.as_user(&second.access).await.expect(200);
    }
    let moved =
        database::execute(&stack.database(Service::Identity), LONG_AGO, &user.username).await;
    assert!(moved > 0);
    let last = edges.last().unwrap();
    refresh(last, &first.refresh).await.unauthenticated();
    all_refused(&edges, &[first.clone(), second.clone()]).await;
    refresh(last, &second.refresh).await.unauthenticated();
    stack.api().as_user(&other).await.expect(200);
    let events = stack.api().get("/audit?action=session.").bearer(&other).send().await.expect(200);
    let events: Vec<&str> =
        events.as_array().unwrap().iter().map(|event| event["action"].as_str().unwrap()).collect();
    assert_eq!(events, ["session.refresh_reused"]);
}

#[tokio::test]
async fn a_logout_ends_every_token_of_a_session_at_every_edge() {
    let stack = cheap();
    let edges = edges(&stack);
    let user = stack.api().user().await;
    let mut all = vec![log_in(&edges[0], &user).await];
    for _ in 0..5 {
        let last = all.last().unwrap().refresh.clone();
        all.push(next(&edges[0], &last).await);
    }
    for _ in 0..2 {
        for edge in &edges {
            for token in &all {
                edge.as_user(&token.access).await.expect(200);
            }
        }
    }
    let out = edges[0].post("/auth/logout").bearer(&all[2].access).send().await.expect(200);
    assert!(out["receipt"]["revision"].as_i64().unwrap() > 0, "{out}");
    all_refused(&edges, &all).await;
    for token in &all {
        refresh(&edges[0], &token.refresh).await.unauthenticated();
    }
}

#[tokio::test]
async fn what_is_born_while_the_password_changes_is_dead_when_that_is_answered() {
    let stack = cheap();
    let edges = edges(&stack);
    for _ in 0..8 {
        let user = stack.api().user().await;
        let first = log_in(&edges[0], &user).await;
        let chain = {
            let (edges, first) = (edges.clone(), first.clone());
            tokio::spawn(async move {
                let mut all = vec![first];
                for number in 0.. {
                    let edge = &edges[number % edges.len()];
                    let answer = refresh(edge, &all.last().unwrap().refresh.clone()).await;
                    match answer.status {
                        200 => all.push(Tokens::of(&answer.json())),
                        503 => {}
                        _ => break,
                    }
                }
                all
            })
        };
        let change = json!({"current_password": PASSWORD, "new_password": NEW_PASSWORD});
        let call = edges[0].post("/auth/password").bearer(&user.token).json(&change);
        call.send().await.expect(200);
        // Those that were under way have their answers by now, or get no good one.
        let all = chain.await.unwrap();
        all_refused(&edges, &all).await;
        edges[0].as_user(&user.token).await.expect(200);
    }
}

#[tokio::test]
async fn a_refresh_token_opens_nothing_but_its_place_and_nothing_else_opens_that() {
    let stack = Stack::shared();
    let api = stack.api();
    let user = api.user().await;
    let key = api.key(&user.token, "no refresh token").await;
    let tokens = log_in(&api, &user).await;
    for path in ["/protected/user", "/protected/any", "/keys", "/auth/sessions"] {
        api.get(path).bearer(&tokens.refresh).send().await.unauthenticated();
    }
    for path in ["/protected/service", "/protected/any", "/keys/self"] {
        api.get(path).api_key(&tokens.refresh).send().await.unauthenticated();
    }
    let forged = format!("{}x", tokens.refresh);
    for other in [&tokens.access, &key.key, &forged, &"rt_".to_owned(), &String::new()] {
        refresh(&api, other).await.unauthenticated();
    }
    for query in
        ["refresh_token=x".to_owned(), format!("x={}", tokens.refresh), "x=rt_1".to_owned()]
    {
        let path = format!("/auth/refresh?{query}");
        let body = json!({"refresh_token": tokens.refresh});
        api.post_json(&path, &body).await.problem(400, "do not belong in a URL");
        let path = format!("/protected/user?{query}");
        api.get(&path).bearer(&tokens.access).send().await.problem(400, "do not belong in a URL");
    }
    refresh(&api, &tokens.refresh).await.expect(200);
}

#[tokio::test]
async fn beyond_as_many_sessions_as_a_user_may_have_the_oldest_ends() {
    let stack = Stack::with(|config| {
        config.cheap_passwords().set("SESSIONS_PER_USER", "2");
    });
    let api = stack.api();
    let user = api.user().await;
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(log_in(&api, &user).await);
    }
    let gone = async || (api.as_user(&all[0].access).await.status == 401).then_some(());
    e2e::poll::until_async("the oldest is refused", std::time::Duration::from_secs(30), gone).await;
    refresh(&api, &all[0].refresh).await.unauthenticated();
    for token in all.iter().skip(1) {
        api.as_user(&token.access).await.expect(200);
        refresh(&api, &token.refresh).await.expect(200);
    }
    // One without a refresh token ends by itself, and counts for nothing.
    api.as_user(&user.token).await.expect(200);
}

#[tokio::test]
async fn a_session_is_refreshed_sixty_times_a_minute_at_most() {
    let stack = Stack::with(|config| {
        config.cheap_passwords().set("RATE_LIMIT", "on");
    });
    let api = stack.api();
    let user = api.user().await;
    let mut token = log_in(&api, &user).await.refresh;
    for _ in 0..60 {
        let answer = refresh(&api, &token).await;
        if answer.status == 429 {
            return;
        }
        token = Tokens::of(&answer.expect(200)).refresh;
    }
    let answer = refresh(&api, &token).await;
    answer.problem(429, "Too many requests");
    assert!(answer.header("retry-after").parse::<u64>().unwrap() > 0);
    // It was not used up by that.
    api.as_user(&user.token).await.expect(200);
}

#[tokio::test]
async fn a_token_whose_answer_a_kill_has_swallowed_gives_the_same_next_one() {
    let mut stack = cheap();
    let user = stack.api().user().await;
    let first = log_in(&stack.api(), &user).await;
    let second = next(&stack.api(), &first.refresh).await;
    stack.kill();
    stack.restart();
    let forward = "UPDATE refresh_tokens SET rotated_at = rotated_at + 400000 WHERE rotated_at IS NOT NULL AND '' <> $1";
    database::execute(&stack.database(Service::Identity), forward, "x").await;
    let again = next(&stack.api(), &first.refresh).await;
    assert_eq!(again.refresh, second.refresh);
    next(&stack.api(), &second.refresh).await;
}

#[tokio::test]
async fn no_refresh_token_is_in_the_database_or_in_the_log() {
    let stack = cheap();
    let user = stack.api().user().await;
    let first = log_in(&stack.api(), &user).await;
    let second = next(&stack.api(), &first.refresh).await;
    refresh(&stack.api(), &first.refresh).await.expect(200);
    let of_text = "SELECT COUNT(*) || '' FROM sessions WHERE device = $1";
    assert_eq!(
        database::text(&stack.database(Service::Identity), of_text, &user.username).await,
        "1"
    );
    for line in stack.logs() {
        assert!(!line.contains("rt_"), "{line}");
    }
    let Some(embedded) = stack.embedded() else { return };
    // The log of the last writes stands beside it.
    for ending in ["", "-wal"] {
        let file = format!("{}{ending}", embedded.database.display());
        let bytes = std::fs::read(&file).unwrap();
        for token in [&first.refresh, &second.refresh] {
            let found = bytes.windows(token.len()).any(|part| part == token.as_bytes());
            assert!(!found, "{file}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_that_comes_late_or_twice_ends_no_session() {
    let builder = Cluster::builder().cheap_passwords().replicas(Service::Edge, 2);
    let cluster = block_in_place(|| builder.start());
    let api = cluster.api(0);
    let user = api.user().await;
    let first = log_in(&api, &user).await;
    let mut tap = Tap::on(&cluster.bus_url(), "v1.identity.refresh").await;
    let second = next(&api, &first.refresh).await;
    let message = tap.next().await;
    let third = next(&api, &second.refresh).await;
    for _ in 0..2 {
        tap.again(&message).await;
    }
    let moved =
        database::execute(cluster.database(Service::Identity), LONG_AGO, &user.username).await;
    assert!(moved > 0);
    tap.again(&message).await;
    for edge in [cluster.api(0), cluster.api(1)] {
        for token in [&first, &second, &third] {
            edge.as_user(&token.access).await.expect(200);
        }
    }
    next(&api, &third.refresh).await;
}
