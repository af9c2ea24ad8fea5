//! Events are written in the transactions of the changes that they tell of.

use e2e::ANYBODY;
use latchkey_contract::UserId;
use latchkey_keys::store as keys;
use latchkey_store::{Db, values};

use super::{NOW, engines, insert, key};

async fn count(db: &Db, sql: &'static str) -> i64 {
    let rows: Option<(i64,)> = db.fetch_first(sql, values![]).await.unwrap();
    rows.unwrap().0
}

#[tokio::test]
async fn a_change_whose_event_cannot_be_written_is_not_made() {
    for (db, _folder) in engines().await {
        let made = insert(&db, key(1, 1, NOW.plus(60_000))).await;
        assert_eq!(count(&db, "SELECT COUNT(*) FROM keys_audit_events").await, 1);
        db.execute("ALTER TABLE keys_audit_events RENAME TO lost", values![]).await.unwrap();
        assert!(keys::insert(&db, key(1, 2, NOW.plus(60_000)), &ANYBODY).await.is_err());
        assert!(keys::revoke(&db, UserId(1), made, &ANYBODY, NOW).await.is_err());
        assert_eq!(count(&db, "SELECT COUNT(*) FROM api_keys").await, 1);
        let revoked = "SELECT COUNT(*) FROM api_keys WHERE revoked_at IS NOT NULL";
        assert_eq!(count(&db, revoked).await, 0);
        assert_eq!(count(&db, "SELECT COUNT(*) FROM keys_invalidations").await, 0);
        db.execute("ALTER TABLE lost RENAME TO keys_audit_events", values![]).await.unwrap();
        keys::revoke(&db, UserId(1), made, &ANYBODY, NOW).await.unwrap().unwrap();
        assert_eq!(count(&db, "SELECT COUNT(*) FROM keys_audit_events").await, 2);
    }
}

#[tokio::test]
async fn a_key_that_is_not_made_is_no_event() {
    for (db, _folder) in engines().await {
        let new = || key(1, 1, NOW.plus(60_000));
        insert(&db, new()).await;
        // The same message once more.
        insert(&db, new()).await;
        super::disable(&db, 1, true, 1).await.unwrap();
        keys::insert(&db, key(1, 2, NOW.plus(60_000)), &ANYBODY).await.unwrap();
        assert_eq!(count(&db, "SELECT COUNT(*) FROM keys_audit_events").await, 1);
    }
}
