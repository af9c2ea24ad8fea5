//! Each act on keys is one event, whoever does it and by whichever route, and a repeat that changes nothing is none.

use e2e::Stack;

use super::*;

impl Acts {
    /// A key of the user's, of which the log is not asked.
    async fn key(&self, bearer: &str, scopes: &Value) -> (String, String) {
        let body = json!({"name": "audited", "scopes": scopes});
        let made = self.api.post("/keys").bearer(bearer).json(&body).send().await.expect(201);
        (made["id"].to_string(), made["key"].as_str().expect("a key").to_owned())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_act_on_a_key_is_one_event_and_a_repeat_that_changes_nothing_is_none() {
    let mut acts = acts();
    database::until_told(&acts.stack.database(Service::Keys)).await;
    let user = acts.api.user().await;
    let (api, token) = (acts.api.clone(), user.token.as_str());
    let (key, _) = acts.key(token, &json!(["orders:read"])).await;
    let by_user = |what: &str, key: &str| format!("key.{what} user:{} key:{key}", user.id);
    let at = format!("/keys/{key}");
    let patch = |body: Value| api.call("PATCH", &at).bearer(token).json(&body);
    let post = |what: &str| api.post(&format!("{at}/{what}")).bearer(token);

    let updated = by_user("updated success -", &key);
    acts.act(patch(json!({"scopes": []})), 200, &updated, "revision").await;
    acts.nothing(patch(json!({"scopes": []})), 200).await;
    acts.act(patch(json!({"description": "of the build"})), 200, &updated, "-").await;
    acts.nothing(patch(json!({"expires_at": "2020-01-01T00:00:00Z"})), 422).await;
    let disabled = by_user("disabled success -", &key);
    acts.act(post("disable"), 200, &disabled, "revision").await;
    acts.nothing(post("disable"), 200).await;
    acts.nothing(post("rotate"), 409).await;
    acts.act(post("enable"), 200, &by_user("enabled success -", &key), "revision").await;
    acts.nothing(post("enable"), 200).await;
    let rotated = by_user("rotated success superseded", &key);
    acts.act(post("rotate"), 201, &rotated, "revision").await;
    acts.nothing(post("rotate"), 409).await;
    let revoke = || post("revoke").json(&json!({"reason": "key_compromise"}));
    acts.nothing(post("revoke").json(&json!({"dry_run": true})), 200).await;
    acts.act(revoke(), 200, &by_user("revoked success key_compromise", &key), "revision").await;
    acts.nothing(revoke(), 200).await;
    let purge = || api.delete(&format!("{at}?purge=true")).bearer(token);
    acts.act(purge(), 200, &by_user("purged success -", &key), "-").await;
    acts.nothing(purge(), 404).await;

    // By keys, on themselves.
    let (key, text) = acts.key(token, &json!(["latchkey:keys:rotate-self"])).await;
    let own = format!("key.rotated success superseded key:{key} key:{key}");
    let rotate = api.post("/keys/self/rotate").api_key(&text);
    let next = acts.act(rotate, 201, &own, "revision").await;
    let (key, text) = (next["id"].to_string(), next["key"].as_str().unwrap().to_owned());
    let ended = format!("key.revoked success - key:{key} key:{key}");
    acts.act(api.delete("/keys/self").api_key(&text), 200, &ended, "revision").await;
    acts.nothing(api.delete("/keys/self").api_key(&text), 401).await;

    for (id, event) in &acts.said {
        assert_eq!(events(&acts.stack, id).await, [event.as_str()]);
    }
}

/// The events of a request, but for what is the same in all of them.
async fn several(stack: &Stack, call: Call, status: u16) -> (Value, Vec<String>) {
    let id = unique("audited-");
    let body = call.header("x-request-id", &id).send().await.expect(status);
    let events = events(stack, &id).await.into_iter();
    (body, events.map(|event| event.split(" 127.0.0.1").next().unwrap().to_owned()).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_act_on_several_keys_is_one_event_for_each_of_them() {
    let stack = Stack::shared();
    let api = stack.api();
    let user = api.user().await;
    let one = |name: &str| json!({"name": name, "scopes": ["*"]});
    let create = || {
        let body = json!({"keys": [one("a"), one("b"), one("c")]});
        api.post("/keys/bulk").bearer(&user.token).json(&body)
    };
    let (made, events) = several(stack, create(), 201).await;
    let ids: Vec<&Value> = made["keys"].as_array().unwrap().iter().map(|key| &key["id"]).collect();
    let of = |what: &str| -> Vec<String> {
        ids.iter().map(|id| format!("key.{what} user:{} key:{id}", user.id)).collect()
    };
    assert_eq!(events, of("created success -"));
    let end = |more: Value| {
        let mut body = json!({"ids": ids.clone(), "reason": "superseded"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        api.post("/keys/revoke").bearer(&user.token).json(&body)
    };
    let (_, events) = several(stack, end(json!({"dry_run": true})), 200).await;
    assert_eq!(events, Vec::<String>::new());
    let (_, events) = several(stack, end(json!({})), 200).await;
    assert_eq!(events, of("revoked success superseded"));
    let (_, events) = several(stack, end(json!({})), 200).await;
    assert_eq!(events, Vec::<String>::new());
}
