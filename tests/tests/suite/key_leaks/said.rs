//! What a key has no say in besides: whose keys in the owner's own system it makes. And what the log, and the row of a purged
//! key, say.

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
    revoke_many, rotate, rotate_until, rotation, said, set, target,
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
