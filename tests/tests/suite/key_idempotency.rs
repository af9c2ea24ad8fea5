//! `Idempotency-Key`: a request that makes a secret and comes again gets the first answer, and nothing more is done.

use std::collections::BTreeSet;
use std::time::Duration;

use e2e::account::PASSWORD;
use e2e::{AUDIT_KEY, Answer, Api, Service, Stack, User, database, poll, unique};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::key_rotation::{grant, shown};

mod kept;
mod rows;

/// Bound on whatever comes by itself.
const SOON: Duration = Duration::from_mins(1);
const REPLAYED: &str = "idempotency-replayed";

/// A stack that keeps answers, and a user.
async fn ready() -> (Stack, Api, User) {
    let stack = Stack::with(|config| {
        config.cheap_passwords();
        if Stack::is_cluster() {
            config.set("AUDIT_KEY", AUDIT_KEY);
        }
    });
    let api = stack.api();
    let user = api.user().await;
    (stack, api, user)
}

/// A name for one request.
fn name() -> String {
    unique("0123456789abcdef-")
}

async fn post(api: &Api, token: &str, path: &str, name: &str, body: &Value) -> Answer {
    api.post(path).bearer(token).header("idempotency-key", name).json(body).send().await
}

fn is_replayed(answer: &Answer) -> bool {
    let said = answer.headers.get(REPLAYED).map(|value| value.to_str().unwrap());
    assert!(matches!(said, None | Some("true")), "{said:?}");
    said.is_some()
}

/// The answer to a request that was answered before.
fn replayed(answer: &Answer) -> Value {
    let body = answer.expect(201);
    assert!(is_replayed(answer), "{:?}", answer.headers);
    body
}

/// The answer to one that was not.
fn fresh(answer: &Answer) -> Value {
    let body = answer.expect(201);
    assert!(!is_replayed(answer), "{:?}", answer.headers);
    body
}

async fn count(api: &Api, token: &str) -> usize {
    let list = api.get("/keys?limit=1000").bearer(token).send().await.expect(200);
    list.as_array().unwrap().len()
}

/// How many events of the user's have this action.
async fn events(api: &Api, token: &str, action: &str) -> usize {
    let list = api.get(&format!("/audit?action={action}")).bearer(token).send().await.expect(200);
    list.as_array().unwrap().len()
}

#[tokio::test]
async fn of_sixteen_at_once_one_makes_a_key_and_all_are_shown_it() {
    let (_stack, api, user) = ready().await;
    let (name, body) = (name(), json!({"name": "ci", "tags": ["a"]}));
    let mut asking = JoinSet::new();
    for _ in 0..16 {
        let (api, token, name, body) =
            (api.clone(), user.token.clone(), name.clone(), body.clone());
        asking.spawn(async move {
            poll::until_async("an answer", SOON, async || {
                let answer = post(&api, &token, "/keys/create", &name, &body).await;
                if answer.status == 409 {
                    assert_eq!(answer.header("retry-after"), "1");
                    assert_eq!(answer.json()["state"], "in_flight");
                    return None;
                }
                Some(answer)
            })
            .await
        });
    }
    let answers = asking.join_all().await;
    let first = answers[0].expect(201);
    for answer in &answers {
        assert_eq!(answer.expect(201), first);
    }
    assert_eq!(answers.iter().filter(|answer| !is_replayed(answer)).count(), 1);
    assert_eq!(count(&api, &user.token).await, 1);
    assert_eq!(events(&api, &user.token, "key.created").await, 1);
    api.as_service(first["key"].as_str().unwrap()).await.expect(200);
}

#[tokio::test]
async fn every_route_that_makes_a_secret_gives_its_answer_again() {
    let (_stack, api, user) = ready().await;
    let scoped = json!({"name": "n", "scopes": ["a:b"], "metadata": {"x": 1, "y": 2}});
    let bulk = json!({"keys": [{"name": "one", "scopes": []}, {"name": "two", "scopes": ["*"]}]});
    let other = json!({"name": "other", "scopes": []});
    let many = json!({"keys": [other.clone()]});
    let cases = [
        ("/keys/create", json!({"name": "n"}), &other),
        ("/keys", scoped, &other),
        ("/keys/bulk", bulk, &many),
    ];
    let same = name();
    for (path, body, other) in cases {
        // The same name elsewhere is another.
        let first = fresh(&post(&api, &user.token, path, &same, &body).await);
        let again = replayed(&post(&api, &user.token, path, &same, &body).await);
        assert_eq!(again, first, "{path}");
        let spaced = serde_json::to_string_pretty(&body).unwrap();
        let call = api.post(path).bearer(&user.token).header("idempotency-key", &same);
        assert_eq!(replayed(&call.body("application/json", spaced).send().await), first);
        let refused = post(&api, &user.token, path, &same, other).await;
        let problem = refused.problem(422, "Idempotency-Key");
        assert_eq!(problem["type"], "urn:problem-type:latchkey:idempotency-mismatch");
    }
    assert_eq!(count(&api, &user.token).await, 4);
    assert_eq!(events(&api, &user.token, "key.created").await, 4);
}

#[tokio::test]
async fn a_malformed_name_is_refused_and_nothing_is_done() {
    let (_stack, api, user) = ready().await;
    let old = api.key(&user.token, "old").await;
    let rotate = format!("/keys/{}/rotate", old.id);
    let good = name();
    let long = "x".repeat(256);
    for path in ["/keys/create", "/keys", "/keys/bulk", &rotate] {
        for bad in ["", "0123456789abcde", "0123456789 abcdef", "0123456789abcde\u{e9}", &long] {
            let answer = post(&api, &user.token, path, bad, &json!({"name": "n"})).await;
            answer.problem(400, "`Idempotency-Key`");
            answer.problem(400, "16 to 255 visible ASCII characters");
        }
        let call = api.post(path).bearer(&user.token).header("idempotency-key", &good);
        let twice = call.header("idempotency-key", &good).json(&json!({"name": "n"}));
        twice.send().await.problem(400, "once");
    }
    assert_eq!(count(&api, &user.token).await, 1);
    // What was refused is not kept, and the longest name is a name.
    let name = "~".repeat(255);
    post(&api, &user.token, "/keys/create", &name, &json!({"name": ""})).await.invalid(&["name"]);
    fresh(&post(&api, &user.token, "/keys/create", &name, &json!({"name": "n"})).await);
}

#[tokio::test]
async fn a_rotation_that_comes_again_shows_the_new_key_and_what_it_replaces() {
    let (_stack, api, user) = ready().await;
    for grace in [json!({"grace_seconds": 3600}), json!({"grace_seconds": 0}), json!({})] {
        let old = api.key(&user.token, "old").await;
        let (path, name) = (format!("/keys/{}/rotate", old.id), name());
        let version = shown(&api, &user.token, old.id).await["version"].clone();
        let ask = async |name: &str| {
            let call = api.post(&path).bearer(&user.token).header("idempotency-key", name);
            // By then the old key has another version.
            call.header("if-match", format!("\"v{version}\"")).json(&grace).send().await
        };
        let first = fresh(&ask(&name).await);
        let again = replayed(&ask(&name).await);
        for member in ["id", "key", "name", "lineage", "replaces", "scopes", "state", "expires_at"]
        {
            assert_eq!(again[member], first[member], "{member}: {again}");
        }
        assert_eq!(again["replaces"]["id"], old.id);
        assert_eq!(again["receipt"]["revision"], first["receipt"]["revision"]);
        let unasked = self::name();
        ask(&unasked).await.problem(412, "If-Match");
        let call = api.post(&format!("{path}?wait=false")).bearer(&user.token);
        let hasty = call.header("idempotency-key", &name).json(&grace).send().await;
        assert!(is_replayed(&hasty) && hasty.expect(202)["key"] == first["key"]);
        api.as_service(first["key"].as_str().unwrap()).await.expect(200);
        // The key that the path names is a part of what is asked for.
        let third = api.key(&user.token, "third").await;
        let elsewhere = format!("/keys/{}/rotate", third.id);
        let other = post(&api, &user.token, &elsewhere, &name, &grace).await;
        other.problem(422, "Idempotency-Key");
    }
    assert_eq!(events(&api, &user.token, "key.rotated").await, 3);
}

#[tokio::test]
async fn a_key_that_was_revoked_since_is_shown_as_that_and_is_refused_by_then() {
    let (stack, api, user) = ready().await;
    let (name, body) = (name(), json!({"name": "n"}));
    let first = fresh(&post(&api, &user.token, "/keys/create", &name, &body).await);
    let text = first["key"].as_str().unwrap();
    for edge in stack.edges() {
        Api::new(&edge).as_service(text).await.expect(200);
    }
    let hasty = api.delete(&format!("/keys/{}?wait=false", first["id"])).bearer(&user.token);
    hasty.send().await.expect(202);
    let again = replayed(&post(&api, &user.token, "/keys/create", &name, &body).await);
    for edge in stack.edges() {
        Api::new(&edge).as_service(text).await.unauthenticated();
    }
    assert_eq!((&again["key"], &again["id"]), (&first["key"], &first["id"]));
    assert_eq!((&again["state"], &again["is_revoked"]), (&json!("revoked"), &json!(true)));
    assert_eq!(events(&api, &user.token, "key.created").await, 1);
    assert_eq!(events(&api, &user.token, "key.revoked").await, 1);
    let purge = api.delete(&format!("/keys/{}?purge=true", first["id"])).bearer(&user.token);
    purge.send().await.expect(200);
    post(&api, &user.token, "/keys/create", &name, &body).await.problem(404, "");
}

#[tokio::test]
async fn another_session_and_another_key_are_others_and_who_has_ended_is_shown_nothing() {
    let (stack, api, user) = ready().await;
    database::until_told(&stack.database(Service::Keys)).await;
    let (name, body) = (name(), json!({"name": "n", "scopes": ["a:b"]}));
    let first = fresh(&post(&api, &user.token, "/keys", &name, &body).await);
    let other = api.token(&user.username, PASSWORD).await;
    let second = fresh(&post(&api, &other, "/keys", &name, &body).await);
    assert_ne!(first["key"], second["key"]);
    let mut made = vec![first["key"].clone(), second["key"].clone()];
    let mut acting = Vec::new();
    for place in 0..2 {
        let key = api.key(&user.token, &format!("acts {place}")).await;
        grant(&stack, key.id, "a:b latchkey:keys:write latchkey:keys:rotate-self").await;
        let call = || api.post("/keys").api_key(&key.key).header("idempotency-key", &name);
        let answer = call().json(&body).send().await;
        made.push(fresh(&answer)["key"].clone());
        assert_eq!(replayed(&call().json(&body).send().await), answer.json());
        acting.push(key);
    }
    let each: BTreeSet<&str> = made.iter().map(|key| key.as_str().unwrap()).collect();
    assert_eq!(each.len(), 4);
    // Another user's request is another, too.
    let stranger = api.user().await;
    let theirs = fresh(&post(&api, &stranger.token, "/keys", &name, &body).await);
    assert!(!each.contains(theirs["key"].as_str().unwrap()));

    let rotate = || {
        let call = api.post("/keys/self/rotate").api_key(&acting[1].key);
        call.header("idempotency-key", &name).json(&json!({"grace_seconds": 600})).send()
    };
    let rotated = fresh(&rotate().await);
    assert_eq!(replayed(&rotate().await)["key"], rotated["key"]);
    api.post("/auth/logout").bearer(&user.token).send().await.expect(200);
    api.revoke(&other, acting[0].id).await.expect(200);
    post(&api, &user.token, "/keys", &name, &body).await.unauthenticated();
    let by_key = api.post("/keys").api_key(&acting[0].key).header("idempotency-key", &name);
    by_key.json(&body).send().await.unauthenticated();
    // What was handed out before stays.
    for key in made {
        api.as_service(key.as_str().unwrap()).await.expect(200);
    }
}
