//! `POST /keys/revoke`: several keys end by one request, and nothing is born into a set that is being ended.

mod again;

use std::sync::Arc;

use e2e::acting::{ANYBODY, user as acting_user};
use e2e::{Api, Folder, Key, Service, Stack, User, database, order, poll, postgres, replacing};
use latchkey_authority::Store;
use latchkey_contract::keys::{
    KeyFilter, KeyTarget, RevocationReason, RevokeKeys, RotateKey, Which,
};
use latchkey_contract::refusal::Conflict;
use latchkey_contract::{Actor, Caller, KeyId, Mark, Refusal, RequestId, Timestamp, UserId};
use latchkey_keys::store as keys;
use latchkey_keys::store::acting::Barred;
use latchkey_keys::store::issue::{Inserted, Policy};
use latchkey_keys::store::revoke_many::{Many, ManyRevoked};
use latchkey_keys::store::rotate::{Rotated, Rotation};
use latchkey_store::{Db, StoreError};
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp(1_800_000_000_000);

async fn revoke(api: &Api, token: &str, body: &Value) -> e2e::Answer {
    api.post("/keys/revoke").bearer(token).json(body).send().await
}

/// Gives keys of a user a tag, whatever routes there are for that.
async fn tag(stack: &Stack, user: &User, tag: &str) {
    let url = stack.database(Service::Keys);
    let value = format!("{}={tag}", user.id);
    let rows = "INSERT INTO key_tags (tag, key_id) SELECT SUBSTR($1, LENGTH(CAST(owner_id AS TEXT)) + 2), id \
        FROM api_keys WHERE $1 LIKE CAST(owner_id AS TEXT) || '=%'";
    let shown = "UPDATE api_keys SET tags = SUBSTR($1, LENGTH(CAST(owner_id AS TEXT)) + 2) \
        WHERE $1 LIKE CAST(owner_id AS TEXT) || '=%'";
    assert!(database::execute(&url, rows, &value).await > 0);
    assert!(database::execute(&url, shown, &value).await > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_keys_of_a_tag_are_refused_by_every_edge_from_the_one_answer_on() {
    const KEYS: usize = 100;
    let stack = Stack::shared();
    let api = stack.api();
    let edges: Vec<Api> = stack.edges().iter().map(|url| Api::new(url)).collect();
    let user = api.user().await;
    let mut tagged: Vec<Key> = Vec::new();
    for _ in 0..KEYS {
        tagged.push(api.key(&user.token, "tagged").await);
    }
    tag(stack, &user, "team:core").await;
    let stays = api.key(&user.token, "stays").await;
    for edge in &edges {
        for key in tagged.iter().chain([&stays]) {
            edge.as_service(&key.key).await.expect(200);
        }
    }
    let mut ids: Vec<i64> = tagged.iter().map(|key| key.id).collect();
    ids.sort_unstable();
    let mut body =
        json!({"filter": {"tag": "team:core"}, "reason": "affiliation_changed", "dry_run": true});
    let dry = revoke(&api, &user.token, &body).await.expect(200);
    assert_eq!((&dry["count"], &dry["ids"]), (&json!(KEYS), &json!(ids)));
    assert_eq!(dry["keys"].as_array().map(Vec::len), Some(KEYS));
    assert!(
        dry["keys"][0].as_object().unwrap().contains_key("last_used_at")
            && dry["receipt"].is_null()
    );
    edges[0].as_service(&tagged[0].key).await.expect(200);
    body["dry_run"] = json!(false);
    let done = revoke(&api, &user.token, &body).await.expect(200);
    assert_eq!((&done["count"], &done["ids"]), (&dry["count"], &dry["ids"]));
    assert!(done["receipt"]["revision"].as_i64().unwrap() > 0 && done["keys"].is_null());
    for edge in edges.iter().rev() {
        for key in &tagged {
            edge.as_service(&key.key).await.unauthenticated();
        }
        edge.as_service(&stays.key).await.expect(200);
    }
    // A repeat finds nothing once every edge is known to know.
    poll::until_async("nothing is left", std::time::Duration::from_mins(1), async || {
        let again = revoke(&api, &user.token, &body).await.expect(200);
        (again["count"] == 0).then_some(())
    })
    .await;
    let list = api.get("/keys?limit=1000").bearer(&user.token).send().await.expect(200);
    let one = &list.as_array().unwrap()[0]["revocation"];
    assert_eq!(one["reason"], "affiliation_changed");
    assert_eq!(one["by"], json!({"type": "user", "id": user.id}));
}

#[tokio::test]
async fn ids_that_are_nobodys_or_others_are_missing_and_the_others_are_ended() {
    let api = Stack::shared().api();
    let (user, other) = (api.user().await, api.user().await);
    let (one, two) = (api.key(&user.token, "one").await, api.key(&user.token, "two").await);
    let foreign = api.key(&other.token, "foreign").await;
    let ids = json!([two.id, i64::MAX, foreign.id, one.id, two.id]);
    let dry = revoke(&api, &user.token, &json!({"ids": ids, "dry_run": true})).await.expect(200);
    let done = revoke(&api, &user.token, &json!({"ids": ids})).await.expect(200);
    for answer in [&dry, &done] {
        assert_eq!(answer["ids"], json!([one.id, two.id]));
        assert_eq!(answer["missing"], json!([foreign.id, i64::MAX]));
    }
    for key in [&one, &two] {
        api.as_service(&key.key).await.unauthenticated();
    }
    api.as_service(&foreign.key).await.expect(200);
    let again = revoke(&api, &user.token, &json!({"ids": [one.id]})).await.expect(200);
    assert_eq!(again["ids"], json!([one.id]));
    let later = api.key(&user.token, "later").await;
    let call = api.post("/keys/revoke?wait=false").bearer(&user.token);
    let later = call.json(&json!({"ids": [later.id]})).send().await.expect(202);
    assert!(later["exact_from"].is_string() && later["revision"].is_i64(), "{later}");
}

#[tokio::test]
async fn a_faulty_request_is_named_and_ends_nothing() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let key = api.key(&user.token, "stays").await;
    let too_many: Vec<i64> = (1..=1_001).collect();
    for (body, fields) in [
        (json!({}), &["filter"][..]),
        (json!({"ids": [], "dry_run": false}), &["ids"]),
        (json!({"ids": too_many}), &["ids"]),
        (json!({"ids": [key.id, "7"]}), &["ids"]),
        (json!({"ids": [key.id], "filter": {"tag": "x"}}), &["filter"]),
        (json!({"filter": {}}), &["filter"]),
        (json!({"filter": {"tag": null}}), &["filter.tag", "filter"]),
        (json!({"ids": [key.id], "dry_run": null}), &["dry_run"]),
        (json!({"ids": [key.id], "reason": null}), &["reason"]),
        (json!({"ids": null}), &["ids"]),
        (json!({"filter": {"environment": "live", "external_id": null}}), &["filter.external_id"]),
        (json!({"filter": {"tags": "x", "lineage": key.id}}), &["filter.tags"]),
        (json!({"filter": {"environment": "\u{0}"}}), &["filter.environment"]),
        (json!({"filter": {"environment": "Live", "lineage": key.id}}), &["filter.environment"]),
        (json!({"filter": {"lineage": "x"}}), &["filter.lineage", "filter"]),
        (json!({"filter": {"state": "good", "lineage": key.id}}), &["filter.state"]),
        (json!({"ids": [key.id], "dryrun": true}), &["dryrun"]),
        (json!({"ids": [key.id], "reason": "lost"}), &["reason"]),
        (json!({"ids": [key.id], "note": "x".repeat(501)}), &["note"]),
    ] {
        revoke(&api, &user.token, &body).await.invalid(fields);
    }
    let call = api.post("/keys/revoke?dry_run=true").bearer(&user.token);
    call.json(&json!({"ids": [key.id]})).send().await.invalid(&["query"]);
    api.as_service(&key.key).await.expect(200);
}

#[tokio::test]
async fn a_lineage_ends_with_all_its_keys() {
    let api = Stack::shared().api();
    let user = api.user().await;
    let first = api.key(&user.token, "first").await;
    let path = format!("/keys/{}/rotate", first.id);
    let second = api.post(&path).bearer(&user.token).send().await.expect(201);
    let stays = api.key(&user.token, "stays").await;
    // Any key of it names it.
    let body =
        json!({"filter": {"lineage": second["id"]}, "reason": "key_compromise", "note": null});
    let done = revoke(&api, &user.token, &body).await.expect(200);
    assert_eq!(done["ids"], json!([first.id, second["id"]]));
    for key in [&first.key, second["key"].as_str().unwrap()] {
        api.as_service(key).await.unauthenticated();
    }
    api.as_service(&stays.key).await.expect(200);
}

/// A user's keys on one engine.
struct Scene {
    db: Db,
    _folder: Option<Folder>,
}

const OWNER: UserId = UserId(1);

async fn scenes() -> [Arc<Scene>; 2] {
    let folder = Folder::new();
    let url = format!("sqlite://{}", folder.join("latchkey.db").display());
    let sqlite = Db::open(&url, "test", 8).await.unwrap();
    let postgres = Db::open(&postgres::fresh_database().await, "test", 8).await.unwrap();
    let mut scenes = Vec::new();
    for (db, folder) in [(sqlite, Some(folder)), (postgres, None)] {
        db.migrate("keys", keys::MIGRATIONS).await.unwrap();
        Store { db: db.clone(), sql: &keys::AUTHORITY }.begin(7).await.unwrap();
        scenes.push(Arc::new(Scene { db, _folder: folder }));
    }
    scenes.try_into().ok().unwrap()
}

fn rotation(key: KeyId, version: i64, seed: u8) -> RotateKey {
    let (owner, mark) = (OWNER, Mark([seed; 16]));
    replacing(KeyTarget { owner, key, version, mark, narrowed: None })
}

fn checked(request: &RotateKey, hash: u8) -> Rotation<'_> {
    e2e::rotation(request, hash, Some(NOW.plus(Timestamp::DAY)))
}

impl Scene {
    async fn key(&self, hash: u8) -> KeyId {
        let key = order(OWNER.0, hash, NOW, NOW.plus(9 * Timestamp::DAY));
        match keys::issue::insert(&self.db, key, &Policy::default(), &acting_user(OWNER.0))
            .await
            .unwrap()
        {
            Inserted::Key(key) => key.id,
            other => panic!("{other:?}"),
        }
    }

    async fn rotate(&self, key: KeyId, version: i64, hash: u8) -> Result<Rotated, StoreError> {
        let request = rotation(key, version, hash);
        keys::rotate::rotate(&self.db, &checked(&request, hash), &acting_user(OWNER.0), NOW).await
    }

    async fn revoke(&self, filter: KeyFilter) -> Result<Many, StoreError> {
        let request = RevokeKeys {
            owner: OWNER,
            which: Which::Filter(filter),
            reason: RevocationReason::Unspecified,
            note: None,
            dry_run: false,
            wait: true,
        };
        let by = acting_user(OWNER.0);
        match keys::revoke_many::revoke(&self.db, &request, &by, NOW).await? {
            ManyRevoked::Done(many) => Ok(many),
            ManyRevoked::Barred(barred) => panic!("{barred:?}"),
        }
    }

    async fn living(&self) -> usize {
        let all = keys::key::list(&self.db, OWNER, KeyId(0), 1_000, NOW).await.unwrap();
        all.iter().filter(|key| !key.is_revoked()).count()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_of_a_lineage_that_is_being_ended_leaves_no_key_that_lives() {
    for scene in scenes().await {
        for number in 0..60 {
            let first = scene.key(3 * number + 1).await;
            // The first of its lineage, or one in its place: their rows are not the same.
            let key = if number % 4 < 2 {
                first
            } else {
                let Rotated::Key(next) = scene.rotate(first, 1, 3 * number + 3).await.unwrap()
                else {
                    panic!("the first key is replaced")
                };
                next.object.id
            };
            let filter = if number % 2 == 0 {
                KeyFilter { lineage: Some(first), ..KeyFilter::default() }
            } else {
                KeyFilter { environment: Some("live".to_owned()), ..KeyFilter::default() }
            };
            let rotating = Arc::clone(&scene);
            let rotating =
                tokio::spawn(async move { rotating.rotate(key, 1, 3 * number + 2).await });
            if number % 3 == 0 {
                tokio::task::yield_now().await;
            }
            let many = scene.revoke(filter).await.unwrap();
            drop(rotating.await.unwrap());
            assert!(!many.more && !many.keys.is_empty());
            assert_eq!(scene.living().await, 0, "{number}");
        }
    }
}

#[tokio::test]
async fn a_rotation_that_comes_twice_or_late_makes_one_key() {
    for scene in scenes().await {
        let key = scene.key(1).await;
        let Rotated::Key(first) = scene.rotate(key, 1, 2).await.unwrap() else { panic!("none") };
        let Rotated::Key(again) = scene.rotate(key, 1, 2).await.unwrap() else { panic!("none") };
        assert_eq!(again.object.id, first.object.id);
        let (revision, is_confirmed) = again.change.earlier.unwrap();
        assert_eq!((revision, is_confirmed), (first.change.revision(), false), "it waits, too");
        assert!(matches!(scene.rotate(key, 1, 3).await.unwrap(), Rotated::Barred(_)), "another");
        assert!(matches!(scene.rotate(key, 2, 3).await.unwrap(), Rotated::Barred(_)), "retiring");
        assert_eq!(scene.living().await, 2);
    }
}

#[tokio::test]
async fn a_rotation_that_was_given_up_is_done_or_never_will_be() {
    for scene in scenes().await {
        let system = Caller::of(Actor::System { service: "edge".into() }, RequestId::new("test"));
        let overtake = async |key: KeyId, hash: u8| {
            let request = rotation(key, KeyTarget::NEVER, hash);
            assert!(keys::rotate::is_withdrawal(&request, &system));
            assert!(!keys::rotate::is_withdrawal(&request, &ANYBODY));
            keys::rotate::overtake(&scene.db, &checked(&request, hash), NOW).await.unwrap()
        };
        let (held, done) = (scene.key(1).await, scene.key(2).await);
        assert!(matches!(overtake(held, 3).await, Rotated::Barred(_)));
        assert!(matches!(scene.rotate(held, 1, 3).await.unwrap(), Rotated::Barred(_)), "late");
        let Rotated::Key(made) = scene.rotate(done, 1, 4).await.unwrap() else { panic!("none") };
        let Rotated::Key(found) = overtake(done, 4).await else { panic!("not found") };
        assert_eq!(found.object.id, made.object.id);
        assert_eq!(scene.living().await, 3, "the first as it was, and both of the second");
    }
}

#[tokio::test]
async fn a_limit_of_living_keys_counts_what_is_replaced_with_a_grace() {
    for scene in scenes().await {
        let key = scene.key(1).await;
        let of = async |most: u32, hash: u8, retires_at: Option<Timestamp>| {
            let request = rotation(key, 1, hash);
            let full = checked(&request, hash);
            let full = Rotation { per_owner: Some(most), retires_at, ..full };
            keys::rotate::rotate(&scene.db, &full, &acting_user(OWNER.0), NOW).await.unwrap()
        };
        let later = Some(NOW.plus(Timestamp::DAY));
        let full = of(1, 2, later).await;
        let is_refused = matches!(
            full,
            Rotated::Barred(Barred::Refused(Refusal::Conflict(Conflict::TooManyKeys)))
        );
        assert!(is_refused, "{full:?}");
        assert_eq!(scene.living().await, 1);
        assert!(matches!(of(1, 3, None).await, Rotated::Key(_)), "one in the place of one");
    }
}
