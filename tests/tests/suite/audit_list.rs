//! `GET /audit`: a user's own events, of both services, and nobody else's.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use e2e::answer::{exactly, time};
use e2e::{Answer, Api, Cluster, Service, Stack, User, database, poll, unique};
use serde_json::{Value, json};

/// Bound on events that are sealed.
const SEALED: Duration = Duration::from_mins(1);
const MEMBERS: [&str; 17] = [
    "id",
    "seq",
    "at",
    "service",
    "action",
    "outcome",
    "reason",
    "actor",
    "target",
    "org_id",
    "ip",
    "user_agent",
    "request_id",
    "revision",
    "changes",
    "hash",
    "sealed",
];

async fn page(api: &Api, user: &User, query: &str) -> Answer {
    api.get(&format!("/audit{query}")).bearer(&user.token).send().await
}

async fn events(api: &Api, user: &User, query: &str) -> Vec<Value> {
    page(api, user, query).await.expect(200).as_array().expect("a list").clone()
}

fn member(events: &[Value], member: &str) -> Vec<String> {
    let text = |event: &Value| event[member].as_str().expect("a text").to_owned();
    events.iter().map(text).collect()
}

/// The query of the next page.
fn next(answer: &Answer) -> Option<String> {
    let link = answer.headers.get("link")?.to_str().expect("a link");
    let query = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\""));
    Some(query.unwrap_or_else(|| panic!("{link}")).to_owned())
}

/// Every event from a page on; `between` happens between pages.
async fn walk(api: &Api, user: &User, query: &str, between: impl AsyncFn(usize)) -> Vec<Value> {
    let (mut found, mut query) = (Vec::new(), query.to_owned());
    for pages in 0..1_000 {
        let answer = page(api, user, &query).await;
        found.extend(answer.expect(200).as_array().expect("a list").clone());
        match next(&answer) {
            Some(following) => query = following,
            None => return found,
        }
        between(pages).await;
    }
    panic!("pages without end: {query}");
}

fn ids(events: &[Value]) -> BTreeSet<String> {
    let ids: BTreeSet<String> = member(events, "id").into_iter().collect();
    assert_eq!(ids.len(), events.len(), "no event is listed twice: {events:?}");
    ids
}

/// The session that a token belongs to.
fn session(token: &str) -> String {
    let claims = token.split('.').nth(1).expect("claims");
    let claims = URL_SAFE_NO_PAD.decode(claims).expect("base64");
    let claims: Value = serde_json::from_slice(&claims).expect("JSON");
    claims["jti"].as_str().expect("a session").to_owned()
}

fn stack() -> Stack {
    tokio::task::block_in_place(|| {
        Stack::with(|config| {
            config.cheap_passwords();
        })
    })
}

#[tokio::test]
async fn a_user_sees_what_they_did_and_what_was_done_to_them() {
    let api = Stack::shared().api();
    let user = api.user().await;
    api.log_in(&user.username, "not this one at all").await.expect(401);
    let key = api.key(&user.token, "seen").await;
    let (id, agent) = (unique("revokes-"), unique("agent-"));
    let call = api.delete(&format!("/keys/{}", key.id)).bearer(&user.token);
    let receipt = call.header("x-request-id", &id).header("user-agent", &agent).send().await;
    let receipt = receipt.expect(200)["receipt"].clone();

    let all = events(&api, &user, "").await;
    for event in &all {
        exactly(event, &MEMBERS);
    }
    let actions: BTreeSet<String> = member(&all, "action").into_iter().collect();
    let expected = [
        "audit.read",
        "key.created",
        "key.revoked",
        "user.logged_in",
        "user.login_failed",
        "user.signed_up",
    ];
    assert_eq!(actions, expected.map(str::to_owned).into());
    let times: Vec<_> = all.iter().map(|event| time(&event["at"])).collect();
    assert!(times.is_sorted_by(|newer, older| newer >= older), "{times:?}");

    let of = |action: &str| all.iter().find(|event| event["action"] == action).expect(action);
    let revoked = of("key.revoked");
    let me = json!({"type": "user", "id": user.id, "name": null});
    assert_eq!(revoked["service"], "keys");
    assert!(revoked["id"].as_str().expect("an id").starts_with("keys-"), "{revoked}");
    assert_eq!((&revoked["outcome"], &revoked["reason"]), (&json!("success"), &Value::Null));
    assert_eq!(revoked["actor"], me);
    assert_eq!(revoked["target"], json!({"type": "key", "id": key.id}));
    assert_eq!((&revoked["request_id"], &revoked["user_agent"]), (&json!(id), &json!(agent)));
    assert_eq!((&revoked["ip"], &revoked["revision"]), (&json!("127.0.0.1"), &receipt["revision"]));
    let failed = of("user.login_failed");
    assert_eq!(
        (&failed["outcome"], &failed["reason"]),
        (&json!("failure"), &json!("wrong-credentials"))
    );
    assert_eq!(failed["actor"], json!({"type": "anonymous", "id": null, "name": null}));
    assert_eq!(failed["target"], json!({"type": "user", "id": user.id}));
    let read = of("audit.read");
    assert_eq!((&read["actor"], &read["service"]), (&me, &json!("identity")));
    assert_eq!(read["target"], json!({"type": "audit", "id": user.id}));
}

#[tokio::test]
async fn an_event_has_its_place_and_link_once_it_is_sealed_and_not_before() {
    let api = Stack::shared().api();
    let user = api.user().await;
    api.key(&user.token, "sealed").await;
    let all = poll::until_async("all is sealed", SEALED, async || {
        let all = events(&api, &user, "").await;
        for event in &all {
            let is_sealed = event["sealed"] == true;
            assert_eq!(is_sealed, event["seq"].is_i64(), "{event}");
            assert_eq!(is_sealed, event["hash"].is_string(), "{event}");
        }
        all.iter().all(|event| event["sealed"] == true).then_some(all)
    })
    .await;
    let links = member(&all, "hash");
    assert!(links.iter().all(|link| link.len() == 64), "{links:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_did_to_a_user_they_see() {
    let stack = stack();
    let api = stack.api();
    let user = api.user().await;
    for command in ["deactivate", "reactivate"] {
        let command = ["user", command, &user.username];
        let done = tokio::task::block_in_place(|| stack.operator(&command));
        assert_eq!(done.code, Some(0), "{}", done.stderr);
    }
    let token = api.token(&user.username, &user.password).await;
    let user = User { token, ..user };
    let done = events(&api, &user, "?actor=operator:operator&order=asc").await;
    assert_eq!(member(&done, "action"), ["user.deactivated", "user.reactivated"]);
    assert_eq!(done[0]["actor"], json!({"type": "operator", "id": null, "name": "operator"}));
}

#[tokio::test]
async fn reads_are_one_event_however_many_there_are_at_once() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let reads: Vec<_> = (0..16)
        .map(|_| {
            let (api, user) = (api.clone(), user.clone());
            tokio::spawn(async move { page(&api, &user, "?limit=1").await.status })
        })
        .collect();
    for read in reads {
        assert_eq!(read.await.expect("an answer"), 200);
    }
    assert_eq!(events(&api, &user, "?action=audit.").await.len(), 1);
    let query =
        "SELECT action FROM identity_audit_events WHERE target_type = 'audit' AND target_id = $1";
    let identity = Stack::shared().database(Service::Identity);
    let written = database::texts(&identity, query, &user.id.to_string()).await;
    assert_eq!(written, ["audit.read"]);
}

#[tokio::test]
async fn pages_hold_each_event_once_while_others_are_written() {
    let api = Stack::shared().api();
    let user = api.user().await;
    for number in 0..6 {
        let key = api.key(&user.token, &format!("paged {number}")).await;
        api.revoke(&user.token, key.id).await.expect(200);
        api.log_in(&user.username, "not this one at all").await.expect(401);
    }
    let before = ids(&events(&api, &user, "?limit=1000").await);
    let write = async |pages| {
        if pages < 3 {
            api.key(&user.token, "written meanwhile").await;
            api.log_in(&user.username, "not this one at all").await.expect(401);
        }
    };
    for limit in [1, 4] {
        let newest_first = walk(&api, &user, &format!("?limit={limit}"), write).await;
        let found = ids(&newest_first);
        assert!(found.is_superset(&before), "{found:?}");
        let query = format!("?limit={limit}&order=asc&until=2099-01-01T00%3A00%3A00%2B01%3A00");
        let oldest_first = walk(&api, &user, &query, write).await;
        let all = events(&api, &user, "?limit=1000").await;
        assert_eq!(
            ids(&oldest_first),
            ids(&all),
            "a walk to the end finds what was written meanwhile"
        );
        for (events, is_rising) in [(newest_first, false), (oldest_first, true)] {
            let mut times: Vec<_> = events.iter().map(|event| time(&event["at"])).collect();
            if !is_rising {
                times.reverse();
            }
            assert!(times.is_sorted(), "{times:?}");
        }
    }
    assert_eq!(next(&page(&api, &user, "?limit=1000").await), None);
    assert!(
        next(&page(&api, &user, "?limit=2&action=key.").await)
            .expect("more")
            .contains("action=key.")
    );
}

#[tokio::test]
async fn a_filter_takes_what_it_says() {
    let api = Stack::shared().api();
    let user = api.user().await;
    api.log_in(&user.username, "not this one at all").await.expect(401);
    let (one, other) = (api.key(&user.token, "one").await, api.key(&user.token, "other").await);
    let id = unique("filtered-");
    let call = api.delete(&format!("/keys/{}", one.id)).bearer(&user.token);
    call.header("x-request-id", &id).send().await.expect(200);
    let actions = async |query: &str| {
        let mut actions = member(&events(&api, &user, query).await, "action");
        actions.sort();
        actions
    };
    let keys = ["key.created", "key.created", "key.revoked"];
    assert_eq!(actions("?action=key.").await, keys);
    assert_eq!(actions("?action=key.c").await, ["key.created", "key.created"]);
    assert_eq!(actions("?outcome=failure").await, ["user.login_failed"]);
    assert_eq!(
        actions("?outcome=success&action=user.").await,
        ["user.logged_in", "user.signed_up"]
    );
    assert_eq!(actions(&format!("?target=key:{}", one.id)).await, ["key.created", "key.revoked"]);
    assert_eq!(actions(&format!("?target=key%3A{}", other.id)).await, ["key.created"]);
    assert_eq!(actions(&format!("?actor=user:{}&action=key.", user.id)).await, keys);
    assert_eq!(actions(&format!("?request_id={id}")).await, ["key.revoked"]);
    assert_eq!(actions("?ip=127.0.0.1&action=key.").await, keys);
    assert_eq!(actions("?ip=203.0.113.7").await, Vec::<String>::new());
    assert_eq!(actions("?since=2099-01-01T00:00:00Z").await, Vec::<String>::new());
    assert_eq!(actions("?until=2001-01-01T00:00:00Z").await, Vec::<String>::new());
    let revoked = &events(&api, &user, &format!("?request_id={id}")).await[0]["at"];
    let at = revoked.as_str().expect("a time");
    assert_eq!(actions(&format!("?since={at}&action=key.r")).await, ["key.revoked"]);
    assert_eq!(actions(&format!("?until={at}&action=key.r")).await, Vec::<String>::new());
}

#[tokio::test]
async fn nobody_sees_anothers_events_by_any_filter() {
    let api = Stack::shared().api();
    let (ann, bob) = (api.user().await, api.user().await);
    let id = unique("hers-");
    let body = json!({"name": "hers"});
    let call = api.post("/keys/create").bearer(&ann.token).json(&body);
    let key = call.header("x-request-id", &id).send().await.expect(201)["id"].clone();
    api.log_in(&ann.username, "not this one at all").await.expect(401);
    let second = api.token(&ann.username, &ann.password).await;
    api.post("/auth/logout").bearer(&second).send().await.expect(200);
    let own = |event: &Value| {
        (event["actor"]["id"] == bob.id && event["actor"]["type"] == "user")
            || event["target"] == json!({"type": "user", "id": bob.id})
    };
    for query in [
        String::new(),
        format!("?target=key:{key}"),
        format!("?target=user:{}", ann.id),
        format!("?target=audit:{}", ann.id),
        format!("?target=session:{}", session(&second)),
        format!("?actor=user:{}", ann.id),
        format!("?request_id={id}"),
        "?ip=127.0.0.1".to_owned(),
        "?action=key.".to_owned(),
        "?outcome=failure".to_owned(),
        "?since=2001-01-01T00:00:00Z&until=2099-01-01T00:00:00Z&limit=1000".to_owned(),
        "?order=asc&after=a0-0".to_owned(),
        "?after=d7fffffffffffffff-7fffffffffffffff&limit=1000".to_owned(),
    ] {
        let seen = walk(&api, &bob, &query, async |_| {}).await;
        assert!(seen.iter().all(own), "{query}: {seen:?}");
        let is_own = seen.is_empty()
            || !["key:", "user:", "audit:", "session:", "request_id"]
                .iter()
                .any(|it| query.contains(it));
        assert!(is_own, "{query}: {seen:?}");
        // Hers are where she looks.
        let hers = ids(&events(&api, &ann, "?limit=1000").await);
        assert!(ids(&seen).is_disjoint(&hers), "{query}");
    }
    assert_eq!(events(&api, &ann, &format!("?target=key:{key}")).await.len(), 1);
    let ended = events(&api, &ann, &format!("?target=session:{}", session(&second))).await;
    assert_eq!(member(&ended, "action"), ["user.logged_out"]);
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_the_name_of_each_field() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let long = "x".repeat(201);
    for (query, fields) in [
        ("limit=0", &["limit"][..]),
        ("limit=1001", &["limit"]),
        ("limit=x&order=up", &["order", "limit"]),
        ("order=", &["order"]),
        ("after=x", &["after"]),
        ("after=a1-1", &["after"]),
        ("order=asc&after=d1-1", &["after"]),
        ("after=d-1--1", &["after"]),
        ("action=", &["action"]),
        ("action=KEY", &["action"]),
        ("action=key%25", &["action"]),
        ("outcome=maybe", &["outcome"]),
        ("target=key", &["target"]),
        ("target=:7", &["target"]),
        ("actor=user:", &["actor"]),
        ("since=yesterday", &["since"]),
        ("until=2026-12-05", &["until"]),
        ("since=2026-12-05T23:00:00+01:00", &["since"]),
        ("ip=localhost", &["ip"]),
        ("request_id=", &["request_id"]),
        (&format!("request_id={long}"), &["request_id"]),
        ("owner=1", &["query"]),
        ("limit=1&limit=2", &["query"]),
        ("user_id=1&limit=1", &["query"]),
    ] {
        page(&api, &user, &format!("?{query}")).await.invalid(fields);
    }
}

#[tokio::test]
async fn a_key_is_no_credential_for_it() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let key = api.key(&user.token, "reads").await;
    api.get("/audit").api_key(&key.key).send().await.unauthenticated();
    api.get("/audit").bearer(&key.key).send().await.unauthenticated();
    api.get("/audit").send().await.unauthenticated();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_events_of_either_service_there_is_no_list() {
    for away in [Service::Keys, Service::Identity] {
        let mut cluster = tokio::task::block_in_place(|| Cluster::builder().start());
        let api = cluster.api(0);
        let user = api.user().await;
        page(&api, &user, "").await.expect(200);
        tokio::task::block_in_place(|| cluster.replica_mut(away, 0).kill());
        page(&api, &user, "").await.problem(503, "unavailable");
    }
}

#[tokio::test]
async fn a_token_that_was_narrowed_at_login_sees_nothing_of_it() {
    let api = Stack::shared().api();
    let user = api.user().await;
    for scope in ["orders:read", "latchkey:keys:read orders:*"] {
        let body = json!({"username": user.username, "password": user.password, "scope": scope});
        let login = api.post_json("/auth/login", &body).await.expect(200);
        let token = login["access_token"].as_str().expect("a token").to_owned();
        let narrowed = User { token, ..user.clone() };
        let refused = page(&api, &narrowed, "").await.problem(403, "does not hold");
        assert_eq!(refused["required"], json!([]));
        assert!(refused["type"].as_str().expect("a type").ends_with(":insufficient-scope"));
    }
    page(&api, &user, "").await.expect(200);
}
