//! What a key has no say in besides: whose keys in the owner's own system it makes. And what the log, and the row of a purged
//! key, say.

use e2e::replacing;
use latchkey_contract::keys::{
    ExpiresIn, KeyPatch, PurgeKey, RevocationReason, RevokeKey, RotateKey, UpdateKey,
};
use latchkey_contract::refusal::Conflict;
use latchkey_contract::scope::Scopes;
use latchkey_contract::{Refusal, Timestamp};
use latchkey_keys::store as keys;
use latchkey_keys::store::issue::{Inserted, Order, Policy};
use latchkey_store::{Db, values};
use serde_json::{Value, json};

use super::{
    ALLOWED, ENDS, NOW, OWNER, acting, engines, grant, key, make, order, owner, patch, revoke,
    revoke_many, rotate, rotate_until, said, set, target,
};

/// What the events of this action changed, the oldest first.
async fn changes(db: &Db, action: &str) -> Vec<Value> {
    let sql =
        "SELECT COALESCE(changes, 'null') FROM keys_audit_events WHERE action = $1 ORDER BY id";
    let rows: Vec<(String,)> = db.fetch(sql, values![action]).await.unwrap();
    rows.into_iter().map(|(text,)| serde_json::from_str(&text).unwrap()).collect()
}

fn of(number: u8, external_id: Option<&str>) -> Order {
    let scopes = Some(Scopes::parse("latchkey:keys:write").unwrap());
    let external_id = external_id.map(str::to_owned);
    Order { scopes, external_id, ..order(OWNER.0, number, NOW, NOW.plus(9)) }
}

#[tokio::test]
async fn a_key_of_somebody_in_the_owner_s_system_makes_and_changes_theirs_alone() {
    let beyond = Refusal::InsufficientScope { required: Vec::new() };
    for (db, _folder) in engines().await {
        let (acts, free) = (key(&db, 1).await, key(&db, 2).await);
        for id in [acts, free] {
            grant(&db, id, "latchkey:keys:write").await;
        }
        let name = |text: Option<&str>| {
            let external_id = Some(text.map(str::to_owned));
            KeyPatch { external_id, ..KeyPatch::default() }
        };
        patch(&db, target(&db, acts, 1).await, name(Some("cus_1")), &owner()).await.unwrap();
        let (acts, free) = (acting(acts), acting(free));
        let own = make(&db, of(3, None), &acts).await.unwrap();
        assert_eq!(own.external_id.as_deref(), Some("cus_1"));
        make(&db, of(4, Some("cus_1")), &acts).await.unwrap();
        assert_eq!(make(&db, of(5, Some("cus_2")), &acts).await.unwrap_err(), beyond);
        let nobodys = make(&db, of(6, None), &free).await.unwrap();
        let others = make(&db, of(7, Some("cus_2")), &free).await.unwrap();
        for id in [nobodys.id, others.id] {
            let refused = [
                patch(&db, target(&db, id, 2).await, name(Some("cus_1")), &acts).await.unwrap_err(),
                set(&db, target(&db, id, 2).await, true, false, &acts).await.unwrap_err(),
                rotate(&db, &replacing(target(&db, id, 2).await), 8, &acts).await.unwrap_err(),
            ];
            for refusal in refused {
                assert_eq!(refusal, beyond);
            }
        }
        for to in [None, Some("cus_2")] {
            let refused = patch(&db, target(&db, own.id, 3).await, name(to), &acts).await;
            assert_eq!(refused.unwrap_err(), beyond);
        }
        let new = rotate(&db, &replacing(target(&db, own.id, 4).await), 9, &acts).await.unwrap();
        assert_eq!(new.object.external_id.as_deref(), Some("cus_1"));
        // One that is nobody's in particular makes keys for everybody.
        patch(&db, target(&db, others.id, 5).await, name(Some("cus_3")), &free).await.unwrap();
    }
}

#[tokio::test]
async fn of_a_purged_key_no_use_is_written_down_and_of_a_note_that_there_was_one() {
    for (db, _folder) in engines().await {
        let (purged, kept) = (key(&db, 1).await, key(&db, 2).await);
        revoke(&db, purged, RevocationReason::Unspecified, &owner()).await;
        db.execute("UPDATE api_keys SET is_settled = TRUE WHERE id = $1", values![purged.0])
            .await
            .unwrap();
        let purge = PurgeKey { owner: OWNER, key: purged };
        keys::purge::purge(&db, &purge, &owner(), NOW).await.unwrap().unwrap();
        keys::record_uses(&db, &[(purged, NOW), (kept, NOW)]).await.unwrap();
        let sql = "SELECT last_used_at FROM api_keys ORDER BY id";
        let used: Vec<(Option<i64>,)> = db.fetch(sql, values![]).await.unwrap();
        assert_eq!(used, [(None,), (Some(NOW.0),)]);
        set(&db, target(&db, kept, 1).await, false, false, &owner()).await.unwrap();
        set(&db, target(&db, kept, 2).await, true, false, &owner()).await.unwrap();
        for action in ["key.disabled", "key.enabled"] {
            assert_eq!(changes(&db, action).await, [json!({"note": {}})]);
        }
    }
}

#[tokio::test]
async fn the_log_says_what_a_new_key_may_and_what_became_of_the_old_one() {
    for (db, _folder) in engines().await {
        let first = key(&db, 1).await;
        let made = json!({
            "scopes": {"from": null, "to": ["*"]},
            "environment": {"from": null, "to": "live"},
            "expires_at": {"from": null, "to": ENDS},
        });
        assert_eq!(changes(&db, "key.created").await, [made]);
        let second =
            rotate(&db, &replacing(target(&db, first, 1).await), 2, &owner()).await.unwrap();
        let second = second.object;
        let reason = RevocationReason::KeyCompromise;
        let request = RotateKey { reason, ..replacing(target(&db, second.id, 2).await) };
        let third = rotate_until(&db, &request, (3, None), &owner()).await.unwrap().object;
        let rotated = changes(&db, "key.rotated").await;
        assert_eq!(rotated[0]["replaced_by"]["to"], second.id.0);
        assert_eq!(rotated[0]["state"], json!({"from": "active", "to": "retiring"}));
        assert!(rotated[0].get("is_leaked").is_none(), "{rotated:?}");
        assert_eq!(rotated[1]["replaced_by"]["to"], third.id.0);
        assert_eq!(rotated[1]["state"], json!({"from": "active", "to": "revoked"}));
        assert_eq!(rotated[1]["is_leaked"], json!({"from": false, "to": true}));
    }
}

#[tokio::test]
async fn a_reason_that_is_raised_is_told_in_one_way_of_one_key_and_of_several() {
    for (db, _folder) in engines().await {
        let (one, two) = (key(&db, 1).await, key(&db, 2).await);
        for id in [one, two] {
            revoke(&db, id, RevocationReason::Superseded, &owner()).await;
        }
        let leak = RevokeKey { reason: RevocationReason::KeyCompromise, ..e2e::ending(OWNER, one) };
        keys::revoke(&db, &leak, &owner(), NOW).await.unwrap();
        revoke_many(&db, vec![two], RevocationReason::KeyCompromise).await;
        let raised = json!({"reason": {"from": "superseded", "to": "key_compromise"}});
        let told = changes(&db, "key.revoked").await;
        assert_eq!(told, [Value::Null, Value::Null, raised.clone(), raised]);
        let sql = "SELECT COUNT(revision) FROM keys_audit_events WHERE action = 'key.revoked'";
        let revisions: Option<(i64,)> = db.fetch_first(sql, values![]).await.unwrap();
        assert_eq!(revisions, Some((2,)), "a raise takes none");
    }
}

#[tokio::test]
async fn an_end_is_moved_while_it_is_to_come_and_a_key_that_retires_counts_as_before() {
    for (db, _folder) in engines().await {
        let old = key(&db, 1).await;
        let end =
            |at: Timestamp| KeyPatch { expires: Some(ExpiresIn::At(at)), ..KeyPatch::default() };
        rotate(&db, &replacing(target(&db, old, 1).await), 2, &owner()).await.unwrap();
        let policy = Policy { per_owner: Some(2), ..Policy::default() };
        let is_full = async || {
            let next = order(OWNER.0, 3, NOW, ENDS);
            let made = keys::issue::insert(&db, next, &policy, &owner()).await.unwrap();
            made == Inserted::Full
        };
        assert!(is_full().await);
        let later = patch(&db, target(&db, old, 2).await, end(ENDS), &owner()).await.unwrap();
        assert_eq!(later.object.lineage.retires_at, Some(ENDS));
        assert!(is_full().await);
        // What has ended when the change is written stays so, also where it had not when that was asked.
        let target = target(&db, old, 3).await;
        let request = UpdateKey { target, patch: end(ENDS.plus(-1)), wait: true };
        let over = keys::update::update(&db, &request, ALLOWED, &owner(), ENDS).await.unwrap();
        assert_eq!(over.map_err(said).unwrap_err(), Refusal::Conflict(Conflict::Expired));
        let request = UpdateKey { patch: end(ENDS.plus(9)), ..request };
        let over = keys::update::update(&db, &request, ALLOWED, &owner(), ENDS).await.unwrap();
        assert_eq!(over.map_err(said).unwrap_err(), Refusal::Conflict(Conflict::Expired));
    }
}
