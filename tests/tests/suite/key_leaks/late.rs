//! Commands that were held up until what they rest on was taken away.

use std::sync::Arc;
use std::time::Duration;

use e2e::tap::Tap;
use e2e::{Cluster, Service, poll, replacing};
use latchkey_contract::keys::{KeyPatch, PurgeKey, RevocationReason, SetOwner, UpdateKey};
use latchkey_contract::lease::{Epoch, Revision};
use latchkey_contract::{AllowedIps, Caller, Mark, Refusal, wire};
use latchkey_keys::store as keys;
use latchkey_keys::store::owner::Outcome;
use latchkey_store::{Db, Engine, Tx, values};
use serde_json::json;
use tokio::task::block_in_place;

use super::{
    LEAKED, NOW, OWNER, acting, engines, grant, key, make, order, owner, patch, revoke,
    revoke_many, rotate, said, set, shown, target,
};

/// Bound on whatever comes by itself.
const SOON: Duration = Duration::from_mins(1);

/// Tells the key service whether the owner is deactivated.
async fn tell(db: &Db, disabled: bool, revision: i64) {
    let (epoch, revision) = (Epoch { made: 1, timeline: 1 }, Revision(revision));
    let told = SetOwner { owner: OWNER, disabled, ceiling: None, epoch, revision };
    let told = keys::again(|| async { keys::owner::set(db, &told, NOW).await }).await;
    assert!(matches!(told.unwrap(), Outcome::Set(_)));
}

fn described() -> KeyPatch {
    KeyPatch { description: Some("late".to_owned()), ..KeyPatch::default() }
}

#[tokio::test]
async fn nothing_is_given_back_to_an_owner_who_is_deactivated_and_all_can_be_taken_away() {
    for (db, _folder) in engines().await {
        let [off, on, ended] = [key(&db, 1).await, key(&db, 2).await, key(&db, 3).await];
        set(&db, target(&db, off, 1).await, false, false, &owner()).await.unwrap();
        revoke(&db, ended, RevocationReason::Unspecified, &owner()).await;
        db.execute("UPDATE api_keys SET is_settled = TRUE WHERE id = $1", values![ended.0])
            .await
            .unwrap();
        tell(&db, true, 1).await;
        let purge = PurgeKey { owner: OWNER, key: ended };
        let purged = keys::purge::purge(&db, &purge, &owner(), NOW).await.unwrap();
        let late = [
            set(&db, target(&db, off, 2).await, true, false, &owner()).await.unwrap_err(),
            patch(&db, target(&db, on, 3).await, described(), &owner()).await.unwrap_err(),
            rotate(&db, &replacing(target(&db, on, 4).await), 9, &owner()).await.unwrap_err(),
            purged.map_err(said).unwrap_err(),
        ];
        assert_eq!(late, [const { Refusal::SessionEnded }; 4]);
        assert_eq!(shown(&db, on).await.version, 1);
        set(&db, target(&db, on, 5).await, false, false, &owner()).await.unwrap();
        revoke(&db, on, RevocationReason::Unspecified, &owner()).await;
        tell(&db, false, 2).await;
        set(&db, target(&db, off, 6).await, true, false, &owner()).await.unwrap();
    }
}

/// Who waits for an owner's lock on Postgres.
const WAITING: &str = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() \
    AND wait_event_type = 'Lock' AND wait_event = 'advisory'";
/// Who waits for a row.
const HELD_UP: &str = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() \
    AND wait_event_type = 'Lock' AND wait_event = 'transactionid'";

async fn until(db: &Db, what: &str, sql: &'static str) {
    poll::until_async(what, SOON, async || {
        let row: Option<(i64,)> = db.fetch_first(sql, values![]).await.unwrap();
        (row.unwrap().0 > 0).then_some(())
    })
    .await;
}

/// Has `command` wait for what the transaction that `held` begins has, and `change` come meanwhile: it waits for the
/// command, whose rows it does not want. SQLite has one writer, behind whom everybody waits.
async fn waits(
    db: Db,
    held: impl AsyncFn(&Db) -> Tx,
    command: impl Future<Output = ()> + Send + 'static,
    change: impl Future<Output = ()> + Send + 'static,
) {
    let tx = held(&db).await;
    let command = tokio::spawn(command);
    until(&db, "the command is held up", HELD_UP).await;
    let change = tokio::spawn(change);
    poll::until_async("the change waits or is done", SOON, async || {
        let row: Option<(i64,)> = db.fetch_first(WAITING, values![]).await.unwrap();
        (row.unwrap().0 > 0 || change.is_finished()).then_some(())
    })
    .await;
    assert!(!change.is_finished(), "it was answered before the command was done or given up");
    drop(tx);
    command.await.unwrap();
    change.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deactivation_is_answered_when_what_was_decided_before_is_done() {
    for (db, _folder) in engines().await {
        if db.engine() != Engine::Postgres {
            continue;
        }
        let id = key(&db, 1).await;
        let held = async |db: &Db| {
            let mut tx = db.begin("hold a tag").await.unwrap();
            let tag = "INSERT INTO key_tags (tag, key_id) VALUES ('ci', $1)";
            tx.execute(tag, values![id.0]).await.unwrap();
            tx
        };
        let (target, one, other) = (target(&db, id, 1).await, db.clone(), db.clone());
        let command = async move {
            let tagged = KeyPatch { tags: Some(vec!["ci".to_owned()]), ..KeyPatch::default() };
            patch(&one, target, tagged, &owner()).await.unwrap();
        };
        let change = async move { tell(&other, true, 1).await };
        Box::pin(waits(db.clone(), held, command, change)).await;
        assert_eq!(shown(&db, id).await.tags, ["ci"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leak_is_told_when_what_was_replaced_before_is_there() {
    for (db, _folder) in engines().await {
        if db.engine() != Engine::Postgres {
            continue;
        }
        let first = key(&db, 1).await;
        let request = replacing(target(&db, first, 1).await);
        let second = rotate(&db, &request, 2, &owner()).await.unwrap().object.id;
        let request = Arc::new(replacing(target(&db, second, 2).await));
        // Somebody else is about to add a row with the same hash.
        let held = async |db: &Db| {
            let mut tx = db.begin("hold a hash").await.unwrap();
            let row = "INSERT INTO api_keys (owner_id, hash, hint, name, created_at, expires_at) \
                SELECT 99, $2, hint, name, created_at, expires_at FROM api_keys WHERE id = $1";
            tx.execute(row, values![first.0, &[3_u8; 32]]).await.unwrap();
            tx
        };
        let (one, other) = (db.clone(), db.clone());
        let command = async move {
            rotate(&one, &request, 3, &owner()).await.unwrap();
        };
        let reason = RevocationReason::KeyCompromise;
        let change = async move { revoke_many(&other, vec![first], reason).await };
        Box::pin(waits(db.clone(), held, command, change)).await;
        let third = shown(&db, second).await.lineage.replaced_by.unwrap();
        let refused = rotate(&db, &replacing(target(&db, third, 3).await), 4, &owner()).await;
        assert_eq!(refused.unwrap_err(), LEAKED);
    }
}

#[tokio::test]
async fn a_key_acts_from_where_it_may_be_used_when_the_command_is_carried_out() {
    for (db, _folder) in engines().await {
        let (acts, other) = (key(&db, 1).await, key(&db, 2).await);
        for id in [acts, other] {
            grant(&db, id, "latchkey:keys:write").await;
            let sql = "UPDATE api_keys SET allowed_ips = '10.0.0.0/8' WHERE id = $1";
            db.execute(sql, values![id.0]).await.unwrap();
        }
        let from = |text: &str| {
            let address = (!text.is_empty()).then(|| text.parse().unwrap());
            Caller { address, ..acting(acts) }
        };
        let late = from("10.1.2.3");
        patch(&db, target(&db, other, 1).await, described(), &late).await.unwrap();
        let narrower = AllowedIps::of(["10.9.0.0/16"]).unwrap();
        let narrow = KeyPatch { allowed_ips: Some(narrower), ..KeyPatch::default() };
        for id in [acts, other] {
            patch(&db, target(&db, id, 2).await, narrow.clone(), &owner()).await.unwrap();
        }
        for by in [&late, &from("")] {
            let target = target(&db, other, 3).await;
            let refused = patch(&db, target.clone(), described(), by).await;
            assert_eq!(refused.unwrap_err(), Refusal::IpDenied);
            let refused = rotate(&db, &replacing(target), 3, by).await;
            assert_eq!(refused.unwrap_err(), Refusal::IpDenied);
            let refused = make(&db, order(OWNER.0, 4, NOW, NOW.plus(9)), by).await;
            assert_eq!(refused.unwrap_err(), Refusal::IpDenied);
        }
        let here = from("10.9.1.1");
        patch(&db, target(&db, other, 4).await, described(), &here).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_lay_on_the_bus_until_its_owner_was_deactivated_is_not_done() {
    let builder = Cluster::builder().replicas(Service::Edge, 1).replicas(Service::Keys, 2);
    let cluster = block_in_place(|| builder.cheap_passwords().start());
    let api = cluster.api(0);
    let user = api.user().await;
    let made = api.key(&user.token, "before").await;
    let mut tap = Tap::on(&cluster.bus_url(), "v1.keys.update").await;
    let path = format!("/keys/{}", made.id);
    let call = api.call("PATCH", &path).bearer(&user.token);
    call.json(&json!({"description": "first"})).send().await.expect(200);
    // The next one of the same session is on its way.
    let mut message = tap.next().await;
    let (contract, mut late): (u16, UpdateKey) =
        wire::decode(&message.payload, wire::Contracts::OWN).unwrap();
    (late.target.version, late.target.mark) = (2, Mark([9; 16]));
    late.patch = described();
    message.payload = wire::encode(&late, contract).unwrap().into();
    let operate = |command: &str| {
        let done = block_in_place(|| cluster.operator(&["user", command, &user.username]));
        assert_eq!(done.code, Some(0), "{}", done.stderr);
    };
    operate("deactivate");
    tap.again(&message).await;
    operate("reactivate");
    let token = api.token(&user.username, e2e::account::PASSWORD).await;
    let shown = api.get(&path).bearer(&token).send().await.expect(200);
    assert_eq!((&shown["description"], &shown["version"]), (&json!("first"), &json!(2)));
    // It was a message that is carried out where nothing stands against it.
    tap.again(&message).await;
    let shown = api.get(&path).bearer(&token).send().await.expect(200);
    assert_eq!((&shown["description"], &shown["version"]), (&json!("late"), &json!(3)));
}
