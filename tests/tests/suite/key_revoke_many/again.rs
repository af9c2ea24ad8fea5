//! Ends that come again, row by row.

use e2e::acting::user as acting_user;
use latchkey_contract::KeyId;
use latchkey_contract::keys::{KeyFilter, RevocationReason, RevokeKeys, Which};
use latchkey_keys::store as keys;
use latchkey_keys::store::revoke_many::Many;
use latchkey_store::values;

use super::{NOW, OWNER, scenes};

#[tokio::test]
async fn another_reason_for_an_end_is_told_once_and_the_first_note_stays() {
    for scene in scenes().await {
        let key = scene.key(1).await;
        let end = async |reason: RevocationReason, note: &str| {
            let request = RevokeKeys {
                owner: OWNER,
                which: Which::Ids(vec![key]),
                reason,
                note: Some(note.to_owned()),
                dry_run: false,
                wait: true,
            };
            let by = acting_user(OWNER.0);
            keys::revoke_many::revoke(&scene.db, &request, &by, NOW).await.unwrap();
        };
        let events = async || {
            let sql = "SELECT COUNT(*) FROM keys_audit_events WHERE action = 'key.revoked'";
            let count: Option<(i64,)> = scene.db.fetch_first(sql, values![]).await.unwrap();
            count.unwrap().0
        };
        end(RevocationReason::Superseded, "first").await;
        assert_eq!(events().await, 1);
        for _ in 0..2 {
            end(RevocationReason::KeyCompromise, "second").await;
            assert_eq!(events().await, 2);
        }
        end(RevocationReason::Superseded, "third").await;
        assert_eq!(events().await, 2);
        let all = keys::key::list(&scene.db, OWNER, KeyId(0), 10, NOW).await.unwrap();
        let end = all[0].revocation.clone().unwrap();
        assert_eq!(end.reason, RevocationReason::KeyCompromise);
        assert_eq!(end.note.as_deref(), Some("first"));
    }
}

#[tokio::test]
async fn a_repeat_takes_in_what_was_ended_and_not_every_edge_is_known_to_know_of() {
    for scene in scenes().await {
        let (one, two) = (scene.key(1).await, scene.key(2).await);
        let filter =
            KeyFilter { external_id: None, name: Some("KEY".to_owned()), ..KeyFilter::default() };
        let first = scene.revoke(filter.clone()).await.unwrap();
        let ids = |many: &Many| many.keys.iter().map(|key| key.id).collect::<Vec<_>>();
        assert_eq!(ids(&first), [one, two]);
        let again = scene.revoke(filter.clone()).await.unwrap();
        assert_eq!(ids(&again), [one, two]);
        assert_eq!(again.unconfirmed, first.unconfirmed, "no end is another");
        let is_later = again.change.unwrap().revision() > first.change.unwrap().revision();
        assert!(is_later, "one wait of its own for all of them");
        keys::revoke_many::mark_confirmed(&scene.db, &first.unconfirmed).await.unwrap();
        let settled = scene.revoke(filter).await.unwrap();
        assert!(settled.keys.is_empty() && settled.change.is_none());
    }
}
