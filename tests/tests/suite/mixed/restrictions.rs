//! What restricts a key, asked for while a release may use the tables that would not look at it: nothing is restricted, and
//! whoever asks is told why.

use e2e::answer::id;
use e2e::{Answer, Api, User};
use latchkey_keys::store::MIGRATIONS;
use serde_json::{Value, json};

use super::*;

/// Has a process play not to know the newest steps. A release build does not know it.
const UNKNOWN_STEPS: &str = "LATCHKEY_TEST_UNKNOWN_STEPS";
/// The last step before the one that brought what restricts a key.
const BEFORE_RESTRICTIONS: i64 = 7;
/// As it is where the tables were made by that release.
const LOWER: &str = "UPDATE keys_schema SET lowest = 7 WHERE $1 = ''";

fn is_older(answer: &Answer) {
    let body = answer.problem(409, "release");
    assert_eq!(body["state"], "older_release", "{body}");
    assert!(body["type"].as_str().unwrap().ends_with(":conflict"), "{body}");
}

async fn patch(api: &Api, user: &User, key: i64, body: &Value) -> Answer {
    api.call("PATCH", &format!("/keys/{key}")).bearer(&user.token).json(body).send().await
}

async fn post(api: &Api, user: &User, path: &str, body: &Value) -> Answer {
    api.post(path).bearer(&user.token).json(body).send().await
}

/// The keys of a user, but for when they were used: that is written down a while after.
async fn list(api: &Api, user: &User) -> Value {
    let mut keys = api.get("/keys?limit=1000").bearer(&user.token).send().await.expect(200);
    for key in keys.as_array_mut().unwrap() {
        key.as_object_mut().unwrap().remove("last_used_at");
    }
    keys
}

/// Stops every key service, and starts them again; the first as the release before restrictions, or as this one.
fn restart(cluster: &mut Cluster, older: i64) {
    cluster.replica_mut(Service::Keys, 0).set(UNKNOWN_STEPS, &older.to_string());
    for replica in cluster.of(Service::Keys) {
        replica.restart();
    }
    cluster.launch();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_restricts_a_key_while_an_older_key_service_runs() {
    let builder = Cluster::builder().unhurried().replicas(Service::Keys, 2).cheap_passwords();
    let mut cluster = block_in_place(|| builder.start());
    database::until_told(cluster.database(Service::Keys)).await;
    let newest = MIGRATIONS.last().unwrap().version;
    assert_eq!(database::execute(cluster.database(Service::Keys), LOWER, "").await, 1);
    block_in_place(|| restart(&mut cluster, newest - BEFORE_RESTRICTIONS));
    let api = cluster.api(0);
    let user = api.user().await;
    let key = api.key(&user.token, "free").await;
    api.as_service(&key.key).await.expect(200);
    let before = list(&api, &user).await;
    let free = json!({"name": "new", "scopes": ["*"]});
    let with = |name: &str, value: Value| {
        let mut body = free.clone();
        body[name] = value;
        body
    };
    // Each replica is asked at some time.
    for _ in 0..4 {
        is_older(&post(&api, &user, &format!("/keys/{}/disable", key.id), &json!({})).await);
        for body in [
            json!({"scopes": ["orders:read"]}),
            json!({"scopes": []}),
            json!({"allowed_ips": ["127.0.0.0/8"]}),
        ] {
            is_older(&patch(&api, &user, key.id, &body).await);
        }
        for body in [
            with("scopes", json!(["orders:read"])),
            with("scopes", json!([])),
            with("environment", json!("sandbox")),
            with("allowed_ips", json!(["10.0.0.0/8"])),
        ] {
            is_older(&post(&api, &user, "/keys", &body).await);
            is_older(&post(&api, &user, "/keys/create", &body).await);
            let many = json!({"keys": [free, body]});
            is_older(&post(&api, &user, "/keys/bulk", &many).await);
        }
    }
    assert_eq!(list(&api, &user).await, before, "nothing changed, and nothing was made");
    api.as_service(&key.key).await.expect(200);

    // Whatever the older one knows goes on.
    patch(&api, &user, key.id, &json!({"name": "renamed"})).await.expect(200);
    let free = post(&api, &user, "/keys", &free).await.expect(201);
    let rotate = format!("/keys/{}/rotate", id(&free["id"]));
    post(&api, &user, &rotate, &json!({"grace_seconds": 0})).await.expect(201);

    // It is left to this release: then all of it is there.
    block_in_place(|| restart(&mut cluster, 0));
    let replica = cluster.replica(Service::Keys, 1);
    let finished = block_in_place(|| replica.run(&["migrate", "--finish"]));
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    patch(&api, &user, key.id, &json!({"scopes": ["orders:read"]})).await.expect(200);
    post(&api, &user, &format!("/keys/{}/disable", key.id), &json!({})).await.expect(200);
    api.as_service(&key.key).await.unauthenticated();
    post(&api, &user, "/keys", &with("environment", json!("sandbox"))).await.expect(201);
}
