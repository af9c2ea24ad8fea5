//! One key: shown, changed, disabled, enabled, revoked with a reason, purged; and a key that ends itself. What is taken
//! away is refused at every edge from the answer on.

use std::time::Duration;

use e2e::answer::id;
use e2e::poll::until_async;
use e2e::{Answer, Api, Service, Stack, User, database};
use serde_json::{Value, json};

/// Bound on whatever is waited for.
const SOON: Duration = Duration::from_mins(1);

async fn ready() -> (Api, User) {
    let api = Stack::shared().api();
    let user = api.user().await;
    (api, user)
}

/// A key that manages keys. What users may grant is told to the key service soon after a first start.
async fn managing(api: &Api, user: &User, scope: &str) -> Value {
    let body = json!({"name": "manages", "scopes": [scope]});
    until_async("a key manages keys", SOON, || async {
        let made = api.post("/keys").bearer(&user.token).json(&body).send().await;
        (made.status == 201).then(|| made.json())
    })
    .await
}

async fn patch(api: &Api, user: &User, key: i64, body: &Value) -> Answer {
    api.call("PATCH", &format!("/keys/{key}")).bearer(&user.token).json(body).send().await
}

async fn post(api: &Api, user: &User, key: i64, what: &str) -> Answer {
    api.post(&format!("/keys/{key}/{what}")).bearer(&user.token).send().await
}

async fn show(api: &Api, user: &User, key: i64) -> Answer {
    api.get(&format!("/keys/{key}")).bearer(&user.token).send().await
}

#[tokio::test]
async fn a_key_is_shown_and_changed_by_what_was_seen() {
    let (api, user) = ready().await;
    let key = api.key(&user.token, "seen").await;
    let shown = show(&api, &user, key.id).await;
    assert_eq!(shown.header("etag"), "\"v1\"");
    assert_eq!(id(&shown.expect(200)["id"]), key.id);
    let path = format!("/keys/{}", key.id);
    let call = |version: &str, name: &str| {
        let call = api.call("PATCH", &path).bearer(&user.token).header("if-match", version);
        call.body("application/merge-patch+json", json!({"name": name}).to_string()).send()
    };
    let changed = call("\"v1\"", "first").await;
    assert_eq!(changed.header("etag"), "\"v2\"");
    let body = changed.expect(200);
    assert_eq!(body["name"], "first");
    assert!(body["receipt"]["revision"].as_i64().is_some(), "{body}");
    call("\"v1\"", "second").await.problem(412, "changed since");
    call("W/\"v2\"", "second").await.problem(412, "changed since");
    assert_eq!(call("*", "second").await.expect(200)["version"], 3);
    assert_eq!(show(&api, &user, key.id).await.expect(200)["name"], "second");
}

#[tokio::test]
async fn a_patch_is_merged_and_is_strict() {
    let (api, user) = ready().await;
    let key = api.key(&user.token, "patched").await;
    let first = json!({"metadata": {"a": 1, "b": "x"}, "external_id": "c-1", "tags": ["team:core"],
        "description": "two\nlines", "scopes": ["orders:read"], "allowed_ips": ["127.0.0.0/8"]});
    patch(&api, &user, key.id, &first).await.expect(200);
    let second = json!({"metadata": {"a": null, "c": true}, "external_id": null, "tags": null});
    let body = patch(&api, &user, key.id, &second).await.expect(200);
    assert_eq!(body["metadata"], json!({"b": "x", "c": true}));
    assert_eq!((&body["external_id"], &body["tags"]), (&Value::Null, &json!([])));
    assert_eq!(body["description"], "two\nlines");
    assert_eq!(body["scopes"], json!(["orders:read"]));
    let faulty =
        json!({"scopes": null, "allowed_ips": null, "expires_at": null, "roles": [], "scope": []});
    let fields = ["scopes", "allowed_ips", "expires_at", "roles", "scope"];
    patch(&api, &user, key.id, &faulty).await.invalid(&fields);
    let bodies = [
        json!({"expires_at": "2020-01-01T00:00:00Z"}),
        json!({"expires_at": "2099-01-01T00:00:00Z"}),
    ];
    for body in bodies {
        patch(&api, &user, key.id, &body).await.invalid(&["expires_at"]);
    }
    let unchanged = patch(&api, &user, key.id, &json!({"description": "d"})).await.expect(200);
    assert!(unchanged.get("receipt").is_none(), "no edge has to know: {unchanged}");
    let text = json!([{"op": "remove", "path": "/tags"}]).to_string();
    let call = api.call("PATCH", &format!("/keys/{}", key.id)).bearer(&user.token);
    call.body("application/json-patch+json", text).send().await.problem(415, "JSON");
}

#[tokio::test]
async fn disabled_is_refused_and_enabled_accepted_at_once() {
    let (api, user) = ready().await;
    let key = api.key(&user.token, "switched").await;
    for _ in 0..2 {
        api.as_service(&key.key).await.expect(200);
        for _ in 0..2 {
            let body = post(&api, &user, key.id, "disable").await.expect(200);
            assert_eq!(body["state"], "disabled");
            assert!(body["receipt"]["revision"].as_i64().is_some(), "{body}");
            api.as_service(&key.key).await.unauthenticated();
        }
        for _ in 0..2 {
            let body = post(&api, &user, key.id, "enable").await.expect(200);
            assert_eq!(body["state"], "active");
            api.as_service(&key.key).await.expect(200);
        }
    }
}

#[tokio::test]
async fn a_revoke_has_a_reason_which_may_be_raised_and_never_lowered() {
    let (api, user) = ready().await;
    let key = api.key(&user.token, "ended").await;
    let revoke = async |body: Value| {
        let call = api.post(&format!("/keys/{}/revoke", key.id)).bearer(&user.token);
        call.json(&body).send().await
    };
    let impact = revoke(json!({"dry_run": true})).await.expect(200);
    assert_eq!((&impact["count"], &impact["ids"]), (&json!(1), &json!([key.id])));
    api.as_service(&key.key).await.expect(200);
    revoke(json!({"reason": "superseded", "note": "done"})).await.expect(200);
    api.as_service(&key.key).await.unauthenticated();
    revoke(json!({"reason": "cessation_of_operation", "note": "other"})).await.expect(200);
    let revocation = show(&api, &user, key.id).await.expect(200)["revocation"].clone();
    assert_eq!(
        (&revocation["reason"], &revocation["note"]),
        (&json!("superseded"), &json!("done"))
    );
    assert_eq!(revocation["by"]["type"], "user");
    revoke(json!({"reason": "key_compromise"})).await.expect(200);
    revoke(json!({})).await.expect(200);
    let revocation = show(&api, &user, key.id).await.expect(200)["revocation"].clone();
    assert_eq!(revocation["reason"], "key_compromise");
    patch(&api, &user, key.id, &json!({"name": "late"})).await.problem(409, "revoked");
    post(&api, &user, key.id, "enable").await.problem(409, "revoked");
    revoke(json!({"reason": "boredom", "dryrun": true})).await.invalid(&["reason", "dryrun"]);
}

#[tokio::test]
async fn purged_is_gone_and_only_what_is_revoked_can_be() {
    let (api, user) = ready().await;
    let key = api.key(&user.token, "personal").await;
    let path = format!("/keys/{}", key.id);
    let delete =
        async |query: &str| api.delete(&format!("{path}{query}")).bearer(&user.token).send().await;
    delete("?purge=true").await.problem(409, "revoked");
    delete("?reason=superseded&purge=true").await.invalid(&["purge"]);
    delete("?reason=superseded").await.expect(200);
    delete("?purge=true").await.expect(200);
    show(&api, &user, key.id).await.problem(404, "API key not found");
    patch(&api, &user, key.id, &json!({"name": "x"})).await.problem(404, "API key not found");
    delete("").await.problem(404, "API key not found");
    for query in ["", "?state=revoked", "?order=desc", "?name=%20", &format!("?lineage={}", key.id)]
    {
        let list = api.get(&format!("/keys{query}")).bearer(&user.token).send().await.expect(200);
        assert_eq!(list, json!([]), "{query}");
    }
    let look_up = api.post("/keys/lookup").bearer(&user.token).json(&json!({"key": key.key}));
    look_up.send().await.problem(404, "API key not found");
    delete("?purge=true").await.problem(404, "API key not found");
    for what in ["disable", "enable", "rotate", "revoke"] {
        post(&api, &user, key.id, what).await.problem(404, "API key not found");
    }
    let rotation = api.get(&format!("{path}/rotation")).bearer(&user.token).send().await;
    rotation.problem(404, "API key not found");
    let many = api.post("/keys/revoke").bearer(&user.token);
    let many = many.json(&json!({"ids": [key.id]})).send().await.expect(200);
    assert_eq!((&many["ids"], &many["missing"]), (&json!([]), &json!([key.id])));
    api.as_service(&key.key).await.unauthenticated();
}

#[tokio::test]
async fn what_has_expired_is_changed_no_more() {
    let (api, user) = ready().await;
    let key = api.key(&user.token, "short").await.id;
    let ended = "UPDATE api_keys SET expires_at = created_at WHERE CAST(id AS TEXT) = $1";
    let url = Stack::shared().database(Service::Keys);
    assert_eq!(database::execute(&url, ended, &key.to_string()).await, 1);
    assert_eq!(show(&api, &user, key).await.expect(200)["state"], "expired");
    for body in [json!({"expires_in_days": 30}), json!({"name": "late"}), json!({"tags": ["a"]})] {
        let refused = patch(&api, &user, key, &body).await;
        assert_eq!(refused.problem(409, "expired")["state"], "expired");
    }
}

#[tokio::test]
async fn another_s_key_is_as_one_that_there_is_not() {
    let (api, user) = ready().await;
    let other = api.user().await;
    let key = api.key(&other.token, "foreign").await;
    for one in [key.id, i64::MAX] {
        show(&api, &user, one).await.problem(404, "API key not found");
        patch(&api, &user, one, &json!({"name": "x"})).await.problem(404, "API key not found");
        for what in ["disable", "enable", "revoke"] {
            post(&api, &user, one, what).await.problem(404, "API key not found");
        }
    }
    api.as_service(&key.key).await.expect(200);
}

#[tokio::test]
async fn a_key_shows_and_ends_itself_without_any_scope() {
    let (api, user) = ready().await;
    let key = api.key(&user.token, "own").await;
    let noted = json!({"description": "what it opens", "tags": ["own"], "metadata": {"a": 1}});
    let own = patch(&api, &user, key.id, &noted).await.expect(200);
    let shown = api.get("/keys/self").api_key(&key.key).send().await.expect(200);
    assert_eq!(shown["id"], key.id);
    // What its owner wrote for themselves is not for whoever holds it; everything else is.
    let mut open = own.as_object().unwrap().clone();
    assert!(open.remove("description").is_some() && open.remove("receipt").is_some());
    let members = shown.as_object().unwrap();
    assert_eq!(members.keys().collect::<Vec<_>>(), open.keys().collect::<Vec<_>>(), "{shown}");
    assert_eq!((&shown["tags"], &shown["metadata"]), (&json!(["own"]), &json!({"a": 1})));
    api.get("/keys/self").bearer(&key.key).send().await.expect(200);
    api.get("/keys/self").bearer(&user.token).send().await.unauthenticated();
    api.delete("/keys/self?reason=superseded").api_key(&key.key).send().await.problem(422, "query");
    let withdrawn = json!({"reason": "privilege_withdrawn"});
    let call = api.post("/keys/self/revoke").api_key(&key.key).json(&withdrawn);
    call.send().await.invalid(&["reason"]);
    let body = api.delete("/keys/self").api_key(&key.key).send().await.expect(200);
    assert!(body["receipt"]["revision"].as_i64().is_some(), "{body}");
    api.as_service(&key.key).await.unauthenticated();
    let revocation = show(&api, &user, key.id).await.expect(200)["revocation"].clone();
    assert_eq!(revocation["by"], json!({"type": "key", "id": key.id}));
}

#[tokio::test]
async fn scopes_that_are_taken_away_are_gone_at_every_edge_when_the_answer_comes() {
    let (api, user) = ready().await;
    let made = managing(&api, &user, "latchkey:keys:read").await;
    let (key, id) = (made["key"].as_str().unwrap(), id(&made["id"]));
    let edges: Vec<Api> = api.edges().iter().map(|edge| Api::new(edge)).collect();
    for edge in &edges {
        edge.get("/keys").api_key(key).send().await.expect(200);
    }
    edges[0].get("/keys").api_key(key).send().await.expect(200);
    patch(&edges[0], &user, id, &json!({"scopes": []})).await.expect(200);
    let last = &edges[edges.len() - 1];
    let asked = (0..200).map(|_| last.get("/keys").api_key(key).send());
    for answer in futures_util::future::join_all(asked).await {
        answer.problem(403, "");
    }
    patch(&edges[0], &user, id, &json!({"scopes": ["latchkey:keys:read"]})).await.expect(200);
    for edge in &edges {
        edge.get("/keys").api_key(key).send().await.expect(200);
    }
}

#[tokio::test]
async fn a_key_that_may_write_keys_widens_none() {
    let (api, user) = ready().await;
    let wide = api.key(&user.token, "wide").await;
    post(&api, &user, wide.id, "disable").await.expect(200);
    let made = managing(&api, &user, "latchkey:keys:write").await;
    let (key, own) = (made["key"].as_str().unwrap(), id(&made["id"]));
    let call = |id: i64| api.call("PATCH", &format!("/keys/{id}")).api_key(key);
    for (id, body) in [
        (wide.id, json!({"name": "taken"})),
        (wide.id, json!({"scopes": ["latchkey:keys:write"]})),
        (own, json!({"scopes": ["*"]})),
        (own, json!({"expires_in_days": 3650})),
    ] {
        assert_eq!(
            call(id).json(&body).send().await.problem(403, "")["title"],
            "Insufficient scope"
        );
    }
    let enable = api.post(&format!("/keys/{}/enable", wide.id)).api_key(key).send().await;
    enable.problem(403, "");
    let shown = show(&api, &user, wide.id).await.expect(200);
    assert_eq!((&shown["name"], &shown["state"]), (&json!("wide"), &json!("disabled")));
    api.as_service(&wide.key).await.unauthenticated();
    let shown = show(&api, &user, own).await.expect(200);
    assert_eq!((&shown["version"], &shown["scopes"]), (&json!(1), &json!(["latchkey:keys:write"])));
}
