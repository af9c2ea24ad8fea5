//! Rotation: a key is replaced by a new one, and the old one works until its grace is over, or not at all any more.

mod grace;

use std::time::Duration;

use e2e::account::PASSWORD;
use e2e::answer::{exactly, id, time};
use e2e::miniature::{Engine, Miniature};
use e2e::stories::Way;
use e2e::stories::front::Ask;
use e2e::tap::Tap;
use e2e::{Answer, Api, Cluster, Key, Service, Stack, User, database, poll};
use serde_json::{Value, json};
use tokio::task::block_in_place;

/// Bound on whatever comes by itself.
const SOON: Duration = Duration::from_mins(1);

fn edges(stack: &Stack) -> Vec<Api> {
    stack.edges().iter().map(|url| Api::new(url)).collect()
}

async fn rotate(api: &Api, token: &str, key: i64, body: &Value) -> Answer {
    api.post(&format!("/keys/{key}/rotate")).bearer(token).json(body).send().await
}

/// The new key of an answer.
fn made(answer: &Answer) -> Key {
    let body = answer.expect(201);
    let text = |member: &str| body[member].as_str().expect("a text").to_owned();
    Key { id: id(&body["id"]), key: text("key"), name: text("name") }
}

pub async fn shown(api: &Api, token: &str, key: i64) -> Value {
    let all = api.get("/keys?limit=1000").bearer(token).send().await.expect(200);
    let one = all.as_array().unwrap().iter().find(|one| one["id"] == key).cloned();
    one.expect("the key in its owner's list")
}

/// What each of a user's keys is worth, by rising id.
async fn states(api: &Api, token: &str) -> Vec<String> {
    let all = api.get("/keys?limit=1000").bearer(token).send().await.expect(200);
    let state = |key: &Value| key["state"].as_str().unwrap().to_owned();
    all.as_array().unwrap().iter().map(state).collect()
}

/// Grants a key something before anybody has looked at it, whatever routes there are for that.
pub async fn grant(stack: &Stack, key: i64, scopes: &str) {
    let url = stack.database(Service::Keys);
    let value = format!("{key}={scopes}");
    let sql = "UPDATE api_keys SET scopes = SUBSTR($1, LENGTH(CAST(id AS TEXT)) + 2) \
        WHERE $1 LIKE CAST(id AS TEXT) || '=%'";
    assert_eq!(database::execute(&url, sql, &value).await, 1);
}

#[tokio::test]
async fn a_rotated_key_and_its_successor_both_work_until_the_grace_is_over() {
    let stack = Stack::shared();
    let (api, edges) = (stack.api(), edges(stack));
    let user = api.user().await;
    let old = api.key(&user.token, "rotates").await;
    for edge in &edges {
        edge.as_service(&old.key).await.expect(200);
    }
    let answer = rotate(&api, &user.token, old.id, &json!({"grace_seconds": 5})).await;
    let (new, body) = (made(&answer), answer.json());
    exactly(&body["replaces"], &["id", "retires_at"]);
    exactly(&body["receipt"], &["revision", "edges_confirmed", "waited_ms"]);
    assert_eq!(body["replaces"]["id"], old.id);
    assert_eq!((body["name"].as_str(), body["state"].as_str()), (Some("rotates"), Some("active")));
    let lineage = json!({"id": old.id, "generation": 2, "replaces": old.id, "replaced_by": null, "retires_at": null});
    assert_eq!(body["lineage"], lineage);
    let before = shown(&api, &user.token, old.id).await;
    assert_eq!(before["lineage"]["replaced_by"], new.id);
    if before["state"] != "expired" {
        assert_eq!(before["state"], "retiring");
    }
    for member in [&before["expires_at"], &before["lineage"]["retires_at"]] {
        assert_eq!(*member, body["replaces"]["retires_at"]);
    }
    for edge in &edges {
        edge.as_service(&new.key).await.expect(200);
    }
    let progress = api.get(&format!("/keys/{}/rotation", new.id)).bearer(&user.token).send().await;
    let progress = progress.expect(200);
    assert_eq!(progress["lineage"], old.id);
    let of: Vec<_> =
        progress["keys"].as_array().unwrap().iter().map(|key| &key["key_id"]).collect();
    assert_eq!(of, [old.id, new.id]);
    assert_eq!(progress["keys"][0]["retires_at"], body["replaces"]["retires_at"]);
    assert!(progress["keys"][1]["verdict"].is_null());
    // The key was remembered with a year to live: every memory holds the new end.
    for edge in &edges {
        poll::until_async("the old key has ended", SOON, async || {
            (edge.as_service(&old.key).await.status == 401).then_some(())
        })
        .await;
        edge.as_service(&new.key).await.expect(200);
    }
    let ended = ::time::OffsetDateTime::now_utc();
    assert!(ended >= time(&body["replaces"]["retires_at"]), "{body}");
}

#[tokio::test]
async fn an_old_key_works_on_while_its_grace_lasts() {
    let stack = Stack::shared();
    let (api, edges) = (stack.api(), edges(stack));
    let user = api.user().await;
    let old = api.key(&user.token, "stays").await;
    for edge in &edges {
        edge.as_service(&old.key).await.expect(200);
    }
    let answer = rotate(&api, &user.token, old.id, &json!({})).await;
    let life =
        time(&answer.expect(201)["replaces"]["retires_at"]) - time(&answer.json()["created_at"]);
    assert_eq!(life.whole_seconds(), 86_400, "as it is configured");
    let until = ::time::OffsetDateTime::now_utc() + Duration::from_hours(2);
    let format = ::time::format_description::well_known::Rfc3339;
    let until = until.replace_nanosecond(0).unwrap().format(&format).unwrap();
    let new = made(&answer);
    let answer = rotate(&api, &user.token, new.id, &json!({"until": until})).await;
    assert_eq!(answer.expect(201)["replaces"]["retires_at"], until.as_str());
    for edge in &edges {
        for key in [&old.key, &new.key, &made(&answer).key] {
            edge.as_service(key).await.expect(200);
        }
    }
}

#[tokio::test]
async fn without_a_grace_the_old_key_is_refused_from_the_answer_on() {
    let stack = Stack::shared();
    let (api, edges) = (stack.api(), edges(stack));
    let user = api.user().await;
    let mut key = api.key(&user.token, "at once").await;
    for number in 0..20 {
        for edge in &edges {
            edge.as_service(&key.key).await.expect(200);
        }
        let edge = &edges[number % edges.len()];
        let answer = rotate(edge, &user.token, key.id, &json!({"grace_seconds": 0})).await;
        let new = made(&answer);
        for edge in edges.iter().rev() {
            edge.as_service(&key.key).await.unauthenticated();
            edge.as_service(&new.key).await.expect(200);
        }
        let before = shown(&api, &user.token, key.id).await;
        assert_eq!(before["state"], "revoked");
        assert_eq!(before["revocation"]["reason"], "superseded");
        assert_eq!(before["revocation"]["by"], json!({"type": "user", "id": user.id}));
        key = new;
    }
}

#[tokio::test]
async fn without_a_grace_no_clock_has_a_say() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let miniature = Miniature::start(11, engine).await;
        miniature.calm();
        let way = |edge: usize| Way { edge, name: "rotates".to_owned(), patience: SOON };
        let body = json!({"email": "a@example.com", "username": "ada", "password": PASSWORD});
        assert_eq!(
            miniature.send(&way(0), &Ask::post("/auth/signup").with(&body)).await.status,
            201
        );
        let login = miniature.send(&way(0), &Ask::post("/auth/login").with(&body)).await;
        let token = login.body["access_token"].as_str().expect("a token").to_owned();
        let named = json!({"name": "old"});
        let create = Ask::post("/keys/create").bearer(&token).with(&named);
        let old = miniature.send(&way(0), &create).await.body;
        let text = old["key"].as_str().unwrap();
        // Edges and services are an hour apart from each other.
        miniature.set_edges_back(3_600_000);
        for edge in 0..miniature.edges() {
            let used = miniature.send(&way(edge), &Ask::get("/protected/service").key(text)).await;
            assert_eq!(used.status, 200);
        }
        let at_once = json!({"grace_seconds": 0});
        let path = format!("/keys/{}/rotate", old["id"]);
        let rotate = Ask::post(&path).bearer(&token).with(&at_once);
        let new = miniature.send(&way(0), &rotate).await;
        assert_eq!(new.status, 201, "{:?}", new.body);
        for edge in 0..miniature.edges() {
            let used = miniature.send(&way(edge), &Ask::get("/protected/service").key(text)).await;
            assert_eq!(used.status, 401);
        }
        miniature.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_rotations_at_once_one_wins() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let key = api.key(&user.token, "raced").await;
    let racers = (0..16).map(|_| {
        let (api, token, key) = (api.clone(), user.token.clone(), key.id);
        tokio::spawn(async move { rotate(&api, &token, key, &json!({"grace_seconds": 60})).await })
    });
    let racers: Vec<_> = racers.collect();
    let mut statuses = Vec::new();
    for racer in racers {
        let answer = racer.await.unwrap();
        if answer.status != 201 {
            assert_eq!(answer.problem(409, "")["state"], "retiring");
        }
        statuses.push(answer.status);
    }
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert_eq!(states(&api, &user.token).await, ["retiring", "active"]);
}

#[tokio::test]
async fn what_cannot_be_rotated_says_its_state() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let refused = async |key: i64, body: Value, state: &str| {
        let answer = rotate(&api, &user.token, key, &body).await;
        assert_eq!(answer.problem(409, "")["state"], state);
    };
    let ended = api.key(&user.token, "ended").await;
    api.revoke(&user.token, ended.id).await.expect(200);
    refused(ended.id, json!({}), "revoked").await;
    // Five of a lineage live at a time.
    let first = api.key(&user.token, "first").await;
    let mut last = first.id;
    for _ in 0..4 {
        last = made(&rotate(&api, &user.token, last, &json!({})).await).id;
    }
    refused(first.id, json!({}), "retiring").await;
    refused(last, json!({"grace_seconds": 60}), "lineage_full").await;
    last = made(&rotate(&api, &user.token, last, &json!({"grace_seconds": 0})).await).id;
    api.revoke(&user.token, first.id).await.expect(200);
    made(&rotate(&api, &user.token, last, &json!({})).await);
    // A key that may be somebody else's.
    let key = api.key(&user.token, "leaked").await;
    let compromised = json!({"reason": "key_compromise"});
    let answer = rotate(&api, &user.token, key.id, &compromised).await;
    answer.invalid(&["grace_seconds"]);
    let confirmed = json!({"reason": "key_compromise", "confirm": true});
    let new = made(&rotate(&api, &user.token, key.id, &confirmed).await);
    refused(new.id, json!({}), "leaked").await;
    made(&rotate(&api, &user.token, new.id, &json!({"confirm": true})).await);
    let at_once = json!({"reason": "key_compromise", "grace_seconds": 0});
    let key = api.key(&user.token, "stolen").await;
    made(&rotate(&api, &user.token, key.id, &at_once).await);
    let stolen = shown(&api, &user.token, key.id).await;
    assert_eq!(stolen["revocation"]["reason"], "key_compromise");
}

#[tokio::test]
async fn a_faulty_rotation_is_named_and_replaces_nothing() {
    let api = Stack::shared().api();
    let (user, other) = (api.user().await, api.user().await);
    let key = api.key(&user.token, "stays").await;
    for (body, field) in [
        (json!({"grace_seconds": -1}), "grace_seconds"),
        (json!({"grace_seconds": 1.5}), "grace_seconds"),
        (json!({"grace_seconds": "5"}), "grace_seconds"),
        (json!({"grace": 5}), "grace"),
        (json!({"until": "2020-01-01T00:00:00Z"}), "until"),
        (json!({"until": "tomorrow"}), "until"),
        (json!({"grace_seconds": 5, "until": "2099-01-01T00:00:00Z"}), "until"),
        (json!({"expires_in_days": 0}), "expires_in_days"),
        (json!({"expires_in_days": 3651}), "expires_in_days"),
        (json!({"expires_in_days": "1"}), "expires_in_days"),
        (json!({"reason": "lost"}), "reason"),
        (json!({"confirm": 1}), "confirm"),
    ] {
        rotate(&api, &user.token, key.id, &body).await.invalid(&[field]);
    }
    let path = format!("/keys/{}/rotate", key.id);
    let query = api.post(&format!("{path}?grace_seconds=0")).bearer(&user.token);
    query.send().await.invalid(&["query"]);
    rotate(&api, &other.token, key.id, &json!({})).await.problem(404, "API key not found");
    rotate(&api, &user.token, i64::MAX, &json!({})).await.problem(404, "API key not found");
    let rotation = api.get(&format!("/keys/{}/rotation", key.id)).bearer(&other.token);
    rotation.send().await.problem(404, "API key not found");
    let other_version = api.post(&path).bearer(&user.token).header("if-match", "\"v99\"");
    other_version.send().await.problem(412, "");
    assert_eq!(states(&api, &user.token).await, ["active"]);
    let this_version = api.post(&path).bearer(&user.token).header("if-match", "\"v1\"");
    this_version.send().await.expect(201);
}

#[tokio::test]
async fn a_new_key_lives_as_long_as_the_old_one_was_to_unless_its_user_says() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let body = json!({"name": "month", "expires_in_days": 30});
    let first = api.make_key(&user.token, &body).await.expect(201);
    let life = |body: &Value| (time(&body["expires_at"]) - time(&body["created_at"])).whole_days();
    let second = rotate(&api, &user.token, id(&first["id"]), &json!({})).await.expect(201);
    assert_eq!(life(&second), 30);
    let body = json!({"expires_in_days": 90});
    let third = rotate(&api, &user.token, id(&second["id"]), &body).await.expect(201);
    assert_eq!(life(&third), 90);
    // A grace beyond the old key's own end is over with that.
    let body = json!({"until": "2099-01-01T00:00:00Z"});
    let fourth = rotate(&api, &user.token, id(&third["id"]), &body).await.expect(201);
    assert_eq!(fourth["replaces"]["retires_at"], third["expires_at"]);
}

/// A key of the user's that holds these scopes.
async fn key_of(stack: &Stack, user: &User, scopes: &str) -> Key {
    let key = stack.api().key(&user.token, "acts").await;
    grant(stack, key.id, scopes).await;
    key
}

#[tokio::test]
async fn a_key_replaces_itself_where_it_may_and_for_no_longer_than_before() {
    let stack = Stack::shared();
    let (api, edges) = (stack.api(), edges(stack));
    let user = api.user().await;
    let own = async |key: &Key, body: &Value| {
        api.post("/keys/self/rotate").api_key(&key.key).json(body).send().await
    };
    let plain = api.key(&user.token, "plain").await;
    let refused = own(&plain, &json!({})).await.problem(403, "latchkey:keys:rotate-self");
    assert_eq!(refused["required"], json!(["latchkey:keys:rotate-self"]));
    api.post("/keys/self/rotate").bearer(&user.token).send().await.unauthenticated();
    let key = key_of(stack, &user, "orders:read latchkey:keys:rotate-self").await;
    for edge in &edges {
        edge.as_service(&key.key).await.expect(200);
    }
    let wide = own(&key, &json!({"expires_in_days": 400})).await;
    assert_eq!(wide.problem(403, "")["required"], json!([]));
    own(&key, &json!({"reason": "privilege_withdrawn"})).await.invalid(&["reason"]);
    let by_id = api.post(&format!("/keys/{}/rotate", key.id)).api_key(&key.key).send().await;
    by_id.problem(403, "latchkey:keys:write");
    let second = made(&own(&key, &json!({"expires_in_days": 30})).await);
    // Without a grace it ends itself, and its successor is shown all the same.
    let answer = own(&second, &json!({"grace_seconds": 0})).await;
    let third = made(&answer);
    for edge in &edges {
        edge.as_service(&second.key).await.unauthenticated();
        edge.as_service(&third.key).await.expect(200);
        edge.as_service(&key.key).await.expect(200);
    }
    let last = shown(&api, &user.token, third.id).await;
    assert_eq!(last["scopes"], json!(["latchkey:keys:rotate-self", "orders:read"]), "{last}");
    assert_eq!(last["state"], "active");
    let ended = shown(&api, &user.token, second.id).await;
    assert_eq!(ended["revocation"]["by"], json!({"type": "key", "id": second.id}));
}

#[tokio::test]
async fn a_key_replaces_no_key_that_may_more_than_itself() {
    let stack = Stack::shared();
    let (api, user) = (stack.api(), stack.api().user().await);
    let acts =
        key_of(stack, &user, "latchkey:keys:rotate-self latchkey:keys:write orders:read").await;
    let wide = api.key(&user.token, "wide").await;
    let narrow = key_of(stack, &user, "orders:read").await;
    let by =
        async |key: i64| api.post(&format!("/keys/{key}/rotate")).api_key(&acts.key).send().await;
    let refused = by(wide.id).await.problem(403, "");
    assert_eq!(refused["required"], json!(["*"]));
    assert_eq!(shown(&api, &user.token, wide.id).await["version"], 1, "nothing changed");
    made(&by(acts.id).await);
    // It ends after the key that acts, which is retiring by now.
    let later = by(narrow.id).await;
    assert_eq!(later.problem(403, "")["required"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_that_the_bus_delivers_again_replaces_nothing_more() {
    let builder = Cluster::builder().replicas(Service::Edge, 1).replicas(Service::Keys, 2);
    let cluster = block_in_place(|| {
        let cheap = [("ARGON2_MEMORY_KIB", "8192"), ("ARGON2_ITERATIONS", "1")];
        cheap.into_iter().fold(builder, |builder, (name, value)| builder.set(name, value)).start()
    });
    let api = cluster.api(0);
    let user = api.user().await;
    let first = api.key(&user.token, "doubled").await;
    let mut tap = Tap::on(&cluster.bus_url(), "v1.keys.rotate").await;
    let second = made(&rotate(&api, &user.token, first.id, &json!({"grace_seconds": 60})).await);
    let message = tap.next().await;
    tap.again(&message).await;
    assert_eq!(states(&api, &user.token).await, ["retiring", "active"]);
    let at_once = json!({"grace_seconds": 0});
    let third = made(&rotate(&api, &user.token, second.id, &at_once).await);
    api.revoke(&user.token, third.id).await.expect(200);
    let all = api.get("/keys").bearer(&user.token).send().await.expect(200);
    tap.again(&message).await;
    let newest = tap.next().await;
    tap.again(&newest).await;
    let after = api.get("/keys").bearer(&user.token).send().await.expect(200);
    assert_eq!(after, all, "a late copy changes nothing");
}
