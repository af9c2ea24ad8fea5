//! `POST /keys/create`, `/keys` and `/keys/bulk`: what a key is said to be, who may make it, and how many there may be.

use std::collections::HashSet;

use e2e::answer::time;
use e2e::{Answer, Api, Stack, User};
use serde_json::{Value, json};

mod ended;
mod rows;

async fn ready() -> (Api, User) {
    let api = Stack::shared().api();
    let user = api.user().await;
    (api, user)
}

async fn post(api: &Api, token: &str, path: &str, body: &Value) -> Answer {
    api.post(path).bearer(token).json(body).send().await
}

async fn list(api: &Api, token: &str) -> Vec<Value> {
    let list = api.get("/keys?limit=1000").bearer(token).send().await.expect(200);
    list.as_array().expect("a list").clone()
}

/// Everything that can be said of a key.
fn full() -> Value {
    json!({
        "name": "full", "expires_at": "2027-12-24T00:00:00Z", "description": "two\nlines",
        "metadata": {"tenant": "acme", "seats": 5, "trial": false, "note": null}, "external_id": "cus_42",
        "tags": ["team:core", "ci", "ci"], "environment": "sandbox", "scopes": ["orders:write", "orders:read"],
        "allowed_ips": ["203.0.113.7", "2001:db8::/32"],
    })
}

#[tokio::test]
async fn an_old_clients_key_may_do_all_that_its_owner_may() {
    let (api, user) = ready().await;
    let made = api.make_key(&user.token, &json!({"name": "ci", "colour": "red"})).await.expect(201);
    assert_eq!((&made["scopes"], &made["state"]), (&json!(["*"]), &json!("active")));
    assert_eq!((&made["environment"], &made["origin"]), (&json!("live"), &json!("issued")));
    assert_eq!((&made["version"], &made["created_by"]), (&json!(1), &json!(user.id)));
}

#[tokio::test]
async fn all_that_is_said_of_a_key_is_kept_and_shown() {
    let (api, user) = ready().await;
    for path in ["/keys/create", "/keys"] {
        let mut made = post(&api, &user.token, path, &full()).await.expect(201);
        let key = made["key"].as_str().unwrap().to_owned();
        assert!(key.starts_with("sk_sandbox_"), "{key}");
        assert_eq!(time(&made["expires_at"]).unix_timestamp(), 1_829_606_400);
        let said = full();
        for member in ["name", "description", "metadata", "external_id", "environment"] {
            assert_eq!(made[member], said[member], "{made}");
        }
        assert_eq!(made["tags"], json!(["ci", "team:core"]));
        assert_eq!(made["scopes"], json!(["orders:read", "orders:write"]));
        assert_eq!(made["allowed_ips"], json!(["203.0.113.7/32", "2001:db8::/32"]));
        made.as_object_mut().unwrap().remove("key");
        assert_eq!(list(&api, &user.token).await.last(), Some(&made));
    }
}

#[tokio::test]
async fn every_fault_of_a_body_is_named_at_once_and_nothing_is_made() {
    let (api, user) = ready().await;
    let faulty = json!({"name": "", "expires_in_days": 0, "description": 7, "metadata": {"a": []}, "tags": ["A"],
        "external_id": " ", "environment": "Live", "scopes": null, "allowed_ips": ["10.0.0.1/8"], "roles": []});
    let fields = [
        "name",
        "expires_in_days",
        "description",
        "metadata",
        "tags",
        "external_id",
        "environment",
        "scopes",
        "allowed_ips",
        "roles",
    ];
    for path in ["/keys/create", "/keys"] {
        post(&api, &user.token, path, &faulty).await.invalid(&fields);
    }
    for (wrong, right) in [
        ("scope", "scopes"),
        ("permission", "scopes"),
        ("permissions", "scopes"),
        ("role", "roles"),
        ("ip", "allowed_ips"),
        ("ips", "allowed_ips"),
        ("allowed_ip", "allowed_ips"),
        ("ttl", "expires_in_days"),
        ("expires", "expires_at"),
        ("expiry", "expires_at"),
        ("rate_limit", "limits"),
        ("ratelimit", "limits"),
        ("env", "environment"),
    ] {
        let body = json!({"name": "near", "scopes": [], wrong: ["a"]});
        for path in ["/keys/create", "/keys"] {
            post(&api, &user.token, path, &body).await.invalid(&[right]);
        }
    }
    for body in [
        json!({"name": "n", "expires_at": "2020-01-01T00:00:00Z"}),
        json!({"name": "n", "expires_at": "2099-01-01T00:00:00Z"}),
        json!({"name": "n", "expires_at": null}),
        json!({"name": "n", "expires_at": "2027-01-01T00:00:00Z", "expires_in_days": 3}),
    ] {
        api.make_key(&user.token, &body).await.invalid(&["expires_at"]);
    }
    let other = json!({"name": "n", "environment": "staging"});
    api.make_key(&user.token, &other).await.invalid(&["environment"]);
    for owner in [json!({"type": "org", "id": 1}), json!(null)] {
        let body = json!({"name": "n", "owner": owner});
        api.make_key(&user.token, &body).await.invalid(&["owner"]);
    }
    assert_eq!(list(&api, &user.token).await, Vec::<Value>::new());
}

#[tokio::test]
async fn the_new_route_wants_scopes_and_knows_every_member() {
    let (api, user) = ready().await;
    post(&api, &user.token, "/keys", &json!({"name": "n"})).await.invalid(&["scopes"]);
    let body = json!({"name": "n", "scopes": [], "colour": "red"});
    post(&api, &user.token, "/keys", &body).await.invalid(&["colour"]);
    let none =
        post(&api, &user.token, "/keys", &json!({"name": "n", "scopes": []})).await.expect(201);
    assert_eq!(none["scopes"], json!([]), "an empty list grants nothing");
}

#[tokio::test]
async fn a_scope_beyond_the_owners_is_refused_and_named() {
    let (api, user) = ready().await;
    let body = json!({"name": "n", "scopes": ["orders:read", "latchkey:admin:write"]});
    let refused =
        post(&api, &user.token, "/keys", &body).await.problem(403, "latchkey:admin:write");
    assert_eq!(refused["required"], json!(["latchkey:admin:write"]));
    let body = json!({"keys": [{"name": "a", "scopes": []}, body]});
    post(&api, &user.token, "/keys/bulk", &body).await.problem(403, "latchkey:admin:write");
    assert_eq!(list(&api, &user.token).await, Vec::<Value>::new(), "all or none");
}

#[tokio::test]
async fn a_hundred_keys_are_made_at_once() {
    let (api, user) = ready().await;
    let keys: Vec<Value> =
        (0..100).map(|number| json!({"name": format!("k{number}"), "scopes": ["a"]})).collect();
    let body = json!({ "keys": keys });
    let made = post(&api, &user.token, "/keys/bulk", &body).await.expect(201);
    let made = made["keys"].as_array().unwrap();
    let texts: HashSet<&str> = made.iter().map(|key| key["key"].as_str().unwrap()).collect();
    assert_eq!((made.len(), texts.len()), (100, 100));
    for (number, key) in made.iter().enumerate() {
        assert_eq!(key["name"], format!("k{number}"));
    }
    let listed = list(&api, &user.token).await;
    assert_eq!(listed.len(), 100);
    for key in [&made[0], &made[99]] {
        let body = api.as_service(key["key"].as_str().unwrap()).await.expect(200);
        assert_eq!(body["service_name"], key["name"]);
    }
}

#[tokio::test]
async fn of_several_keys_all_are_made_or_none() {
    let (api, user) = ready().await;
    let good = json!({"name": "good", "scopes": []});
    let faulty = json!({"keys": [good, good, {"name": "n"}, {"name": " ", "scopes": [], "expires_in_days": 0}, 7]});
    let fields = ["keys[2].scopes", "keys[3].name", "keys[3].expires_in_days", "keys[4]"];
    post(&api, &user.token, "/keys/bulk", &faulty).await.invalid(&fields);
    let late = json!({"keys": [good, {"name": "n", "scopes": [], "environment": "staging"}]});
    post(&api, &user.token, "/keys/bulk", &late).await.invalid(&["keys[1].environment"]);
    for keys in [json!(null), json!([]), json!({}), json!(vec![good.clone(); 101])] {
        let body = json!({ "keys": keys });
        post(&api, &user.token, "/keys/bulk", &body).await.invalid(&["keys"]);
    }
    let more = json!({"keys": [good], "colour": 1});
    post(&api, &user.token, "/keys/bulk", &more).await.invalid(&["colour"]);
    // What a message cannot show is not made.
    let scopes: Vec<String> = (0..15).map(|number| format!("some-scope:{number}")).collect();
    let long = json!({"name": "ж".repeat(100), "scopes": scopes});
    let heavy = json!({ "keys": vec![long; 100] });
    post(&api, &user.token, "/keys/bulk", &heavy).await.invalid(&["keys"]);
    assert_eq!(list(&api, &user.token).await, Vec::<Value>::new());
}

#[tokio::test]
async fn an_owner_has_as_many_living_keys_as_are_allowed_and_no_more_by_a_race() {
    let stack = Stack::with(|config| {
        config.cheap_passwords().set("API_KEYS_PER_OWNER", "3");
    });
    let api = stack.api();
    let user = api.user().await;
    let first = api.key(&user.token, "first").await;
    api.key(&user.token, "second").await;
    let tries: Vec<_> = (0..64)
        .map(|number| {
            let (api, token) = (stack.api(), user.token.clone());
            let name = json!({"name": format!("try {number}")});
            tokio::spawn(async move { api.make_key(&token, &name).await })
        })
        .collect();
    let mut statuses = Vec::new();
    for one in tries {
        let answer = one.await.unwrap();
        if answer.status == 409 {
            assert_eq!(answer.problem(409, "living keys")["state"], "too_many_keys");
        }
        statuses.push(answer.status);
    }
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [201, 409, 503].contains(status)), "{statuses:?}");
    assert_eq!(list(&api, &user.token).await.len(), 3);
    let two = json!({"keys": [{"name": "a", "scopes": []}, {"name": "b", "scopes": []}]});
    api.revoke(&user.token, first.id).await.expect(200);
    post(&api, &user.token, "/keys/bulk", &two).await.problem(409, "living keys");
    api.key(&user.token, "in its place").await;
    assert_eq!(list(&api, &user.token).await.len(), 4);
    api.key(&api.user().await.token, "another owner's").await;
}

/// A credential in its place.
#[derive(Clone)]
enum Shown {
    Token(String),
    Key(String),
}

impl Shown {
    async fn post(&self, api: &Api, path: &str, body: &Value) -> Answer {
        let call = api.post(path).json(body);
        let call = match self {
            Self::Token(token) => call.bearer(token),
            Self::Key(key) => call.api_key(key),
        };
        call.send().await
    }
}

#[tokio::test]
async fn whoever_acts_with_less_makes_no_more_and_what_it_does_not_say_is_its_own() {
    let (api, user) = ready().await;
    let body = json!({"name": "maker", "scopes": ["latchkey:keys:write", "orders:*"], "environment": "sandbox",
        "allowed_ips": ["127.0.0.0/8", "::1"], "expires_in_days": 7});
    let maker = post(&api, &user.token, "/keys", &body).await.expect(201);
    let login = json!({"username": user.username, "password": user.password,
        "scope": "latchkey:keys:write orders:*"});
    let token = api.post_json("/auth/login", &login).await.expect(200);
    let key = Shown::Key(maker["key"].as_str().unwrap().to_owned());
    let token = Shown::Token(token["access_token"].as_str().unwrap().to_owned());
    let before = list(&api, &user.token).await;
    let within = json!({"name": "within", "scopes": ["orders:read"]});
    let beyond = json!({"name": "beyond", "scopes": ["users:read"]});
    for shown in [&key, &token] {
        shown.post(&api, "/keys/create", &json!({"name": "n"})).await.problem(403, "*");
        shown.post(&api, "/keys", &beyond).await.problem(403, "users:read");
        let several = json!({"keys": [within, beyond]});
        let refused = shown.post(&api, "/keys/bulk", &several).await;
        assert_eq!(refused.problem(403, "users:read")["required"], json!(["users:read"]));
        let lookup = json!({"key": maker["key"]});
        assert_eq!(shown.post(&api, "/keys/lookup", &lookup).await.status, 403);
    }
    for (member, wider) in
        [("environment", json!("live")), ("allowed_ips", json!([])), ("expires_in_days", json!(30))]
    {
        let mut body = within.clone();
        body[member] = wider;
        key.post(&api, "/keys", &body).await.problem(403, "further");
    }
    assert_eq!(list(&api, &user.token).await, before, "nothing was made");
    let made = key.post(&api, "/keys", &within).await.expect(201);
    for own in ["environment", "allowed_ips", "expires_at"] {
        assert_eq!(made[own], maker[own], "{own}");
    }
    let made = token.post(&api, "/keys", &within).await.expect(201);
    assert_eq!((&made["environment"], &made["allowed_ips"]), (&json!("live"), &json!([])));
    let several = json!({"keys": [within, within]});
    let made = key.post(&api, "/keys/bulk", &several).await.expect(201);
    assert_eq!(made["keys"][1]["environment"], "sandbox");
}
