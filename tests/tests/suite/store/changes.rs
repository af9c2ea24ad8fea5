//! Changes of keys that come late, twice, or after something newer.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use e2e::{acting_user, poll};
use latchkey_authority::Change;
use latchkey_contract::keys::{
    ExpiresIn, KeyPatch, KeyState, KeyTarget, RevocationReason, SetKeyEnabled, UpdateKey,
};
use latchkey_contract::refusal::Conflict;
use latchkey_contract::scope::Scopes;
use latchkey_contract::{Actor, Caller, KeyId, Mark, Owner, Refusal, RequestId, UserId};
use latchkey_keys::store as keys;
use latchkey_keys::store::acting::Barred;
use latchkey_keys::store::held::{self, Done};
use latchkey_keys::store::update::Allowed;
use latchkey_store::{Db, Engine, StoreError, values};
use tokio::sync::Barrier;

use super::{NOW, engines, insert, key};

const OWNER: UserId = UserId(1);
const ALLOWED: Allowed = Allowed { max_days: 3_650, may_restrict: true };

fn target(key: KeyId, version: i64, mark: u8) -> KeyTarget {
    KeyTarget { owner: OWNER, key, version, mark: Mark([mark; 16]), narrowed: None }
}

fn to_scopes(target: KeyTarget, scopes: &str) -> UpdateKey {
    let patch = KeyPatch { scopes: Some(Scopes::parse(scopes).unwrap()), ..KeyPatch::default() };
    UpdateKey { target, patch, wait: true }
}

async fn update(db: &Db, request: &UpdateKey, by: &Caller) -> Result<Done, Refusal> {
    said(keys::update::update(db, request, ALLOWED, by, NOW).await.unwrap())
}

async fn set(db: &Db, target: KeyTarget, enabled: bool, by: &Caller) -> Result<Done, Refusal> {
    let request = SetKeyEnabled { target, enabled, note: None, confirm: false, wait: true };
    said(keys::state::set(db, &request, true, by, NOW).await.unwrap())
}

fn said(done: Result<Done, Barred>) -> Result<Done, Refusal> {
    done.map_err(|barred| match barred {
        Barred::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    })
}

fn earlier(done: &Done) -> Option<bool> {
    done.change.and_then(|change: Change| change.earlier).map(|(_, is_settled)| is_settled)
}

async fn events(db: &Db) -> i64 {
    let count = "SELECT COUNT(*) FROM keys_audit_events";
    let row: Option<(i64,)> = db.fetch_first(count, values![]).await.unwrap();
    row.unwrap().0
}

#[tokio::test]
async fn a_doubled_change_waits_like_the_first_and_a_late_one_does_nothing() {
    for (db, _folder) in engines().await {
        let (id, owner) = (insert(&db, key(1, 1, NOW.plus(60_000))).await, acting_user(1));
        let first = to_scopes(target(id, 1, 1), "orders:read");
        let done = update(&db, &first, &owner).await.unwrap();
        assert_eq!((done.object.version, earlier(&done)), (2, None));
        let again = update(&db, &first, &owner).await.unwrap();
        assert_eq!((again.object.version, earlier(&again)), (2, Some(false)));
        held::settle(&db, id, again.change.unwrap().revision()).await.unwrap();
        let again = update(&db, &first, &owner).await.unwrap();
        assert_eq!(earlier(&again), Some(true));
        // Somebody else makes it so once more, and decides on what is there.
        let same = update(&db, &to_scopes(target(id, 2, 2), "orders:read"), &owner).await.unwrap();
        assert_eq!((same.object.version, earlier(&same)), (3, Some(true)));
        assert_eq!(update(&db, &first, &owner).await.unwrap_err(), Refusal::Stale);
        let disabled = set(&db, target(id, 3, 3), false, &owner).await.unwrap();
        assert_eq!(disabled.object.state, KeyState::Disabled);
        let enabled = set(&db, target(id, 4, 4), true, &owner).await.unwrap();
        assert_eq!(enabled.object.state, KeyState::Active);
        let late = set(&db, target(id, 3, 3), false, &owner).await;
        assert_eq!(late.unwrap_err(), Refusal::Stale);
        assert_eq!(events(&db).await, 4, "made, changed, disabled, enabled");
    }
}

#[tokio::test]
async fn a_repeat_waits_for_what_was_made_so_and_not_seen_to_its_end() {
    for (db, _folder) in engines().await {
        let (id, owner) = (insert(&db, key(1, 1, NOW.plus(60_000))).await, acting_user(1));
        let first = set(&db, target(id, 1, 1), false, &owner).await.unwrap().change.unwrap();
        // The replica that waited is gone; whoever asks again does so by another message.
        let second = set(&db, target(id, 2, 2), false, &owner).await.unwrap().change.unwrap();
        assert_eq!(second.earlier, Some((first.revision(), false)));
        let text = KeyPatch { description: Some("d".to_owned()), ..KeyPatch::default() };
        let described = UpdateKey { target: target(id, 3, 3), patch: text, wait: true };
        assert!(update(&db, &described, &owner).await.unwrap().change.is_none());
        let third = set(&db, target(id, 4, 4), false, &owner).await.unwrap().change.unwrap();
        assert_eq!(third.earlier, Some((first.revision(), false)));
    }
}

#[tokio::test]
async fn nothing_comes_back_after_a_revoke_and_a_leak_marks_the_lineage() {
    for (db, _folder) in engines().await {
        let (one, owner) = (insert(&db, key(1, 1, NOW.plus(60_000))).await, acting_user(1));
        let two = insert(&db, key(1, 2, NOW.plus(60_000))).await;
        let join = "UPDATE api_keys SET lineage_id = $1 WHERE id = $2";
        db.execute(join, values![one.0, two.0]).await.unwrap();
        set(&db, target(one, 1, 1), false, &owner).await.unwrap();
        let leak = e2e::ending(OWNER, two);
        let reason = RevocationReason::KeyCompromise;
        let leak = latchkey_contract::keys::RevokeKey { reason, ..leak };
        keys::revoke(&db, &leak, &owner, NOW).await.unwrap().change().unwrap();
        let enabled = set(&db, target(one, 2, 2), true, &owner).await;
        assert_eq!(enabled.unwrap_err(), Refusal::Conflict(Conflict::Leaked));
        for refused in [
            set(&db, target(two, 1, 3), true, &owner).await.unwrap_err(),
            update(&db, &to_scopes(target(two, 1, 4), "*"), &owner).await.unwrap_err(),
        ] {
            assert_eq!(refused, Refusal::Conflict(Conflict::Revoked));
        }
    }
}

#[tokio::test]
async fn a_key_changes_only_what_lies_within_itself_before_and_after() {
    for (db, _folder) in engines().await {
        let ends = NOW.plus(60_000);
        let ids = [
            insert(&db, key(1, 1, ends)).await,
            insert(&db, key(1, 2, ends)).await,
            insert(&db, key(1, 3, ends)).await,
        ];
        let ceiling =
            "INSERT INTO keys_ceilings (owner_id, ceiling) VALUES (1, '* latchkey:keys:write')";
        db.execute(ceiling, values![]).await.unwrap();
        let grant = "UPDATE api_keys SET scopes = $2 WHERE id = $1";
        for (id, scopes) in [(ids[0], "latchkey:keys:write orders:*"), (ids[1], "orders:read")] {
            db.execute(grant, values![id.0, scopes]).await.unwrap();
        }
        let actor = Actor::Key { id: ids[0], owner: Owner::User(OWNER) };
        let acting = Caller::of(actor, RequestId::new("test"));
        update(&db, &to_scopes(target(ids[1], 1, 1), "orders:write"), &acting).await.unwrap();
        let wide = [
            update(&db, &to_scopes(target(ids[1], 2, 2), "*"), &acting).await.unwrap_err(),
            update(&db, &to_scopes(target(ids[2], 1, 3), "orders:read"), &acting)
                .await
                .unwrap_err(),
            update(&db, &to_scopes(target(ids[0], 1, 4), "users:read"), &acting).await.unwrap_err(),
            set(&db, target(ids[2], 1, 5), true, &acting).await.unwrap_err(),
        ];
        for refusal in wide {
            assert!(matches!(refusal, Refusal::InsufficientScope { .. }), "{refusal:?}");
        }
        // Nothing of it was done; and a key that has disabled itself learns so.
        let off = set(&db, target(ids[0], 1, 6), false, &acting).await.unwrap();
        assert_eq!(off.object.version, 2);
        assert_eq!(
            earlier(&set(&db, target(ids[0], 1, 6), false, &acting).await.unwrap()),
            Some(false)
        );
        let over = update(&db, &to_scopes(target(ids[1], 2, 7), "orders:read"), &acting).await;
        assert_eq!(over.unwrap_err(), Refusal::SessionEnded);
    }
}

const TOUCH: &str = "UPDATE api_keys SET version = version + 1 WHERE id = $1";

#[tokio::test]
async fn commands_that_want_each_others_rows_are_both_done() {
    for (db, _folder) in engines().await {
        // SQLite has one writer: nobody else has a row.
        if db.engine() != Engine::Postgres {
            continue;
        }
        let one = insert(&db, key(1, 1, NOW.plus(60_000))).await;
        let other = insert(&db, key(1, 2, NOW.plus(60_000))).await;
        let (both, tries) = (Barrier::new(2), AtomicUsize::new(0));
        let touch = async |first: KeyId, second: KeyId| -> Result<(), StoreError> {
            let mut tx = db.begin("touch").await?;
            tx.execute(TOUCH, values![first.0]).await?;
            // Each has its first row before it wants the other's; whoever tries again finds them free.
            if tries.fetch_add(1, Ordering::Relaxed) < 2 {
                both.wait().await;
            }
            tx.execute(TOUCH, values![second.0]).await?;
            tx.commit().await
        };
        let (there, back) =
            tokio::join!(keys::again(|| touch(one, other)), keys::again(|| touch(other, one)));
        there.unwrap();
        back.unwrap();
        assert!(tries.into_inner() > 2, "one of them at least was given up");
    }
}

#[tokio::test]
async fn nobody_changes_a_key_that_has_expired_and_it_goes_with_its_tags() {
    for (db, _folder) in engines().await {
        let (old, ends) = (insert(&db, key(1, 1, NOW)).await, NOW.plus(60_000));
        let young = insert(&db, key(1, 2, ends)).await;
        let (owner, tag) = (
            acting_user(1),
            [
                "INSERT INTO key_tags (tag, key_id) VALUES ('ci', $1)",
                "UPDATE api_keys SET tags = 'ci' WHERE id = $1",
            ],
        );
        for id in [old, young] {
            for sql in tag {
                db.execute(sql, values![id.0]).await.unwrap();
            }
        }
        let at = KeyPatch { expires: Some(ExpiresIn::At(ends)), ..KeyPatch::default() };
        let name = KeyPatch { name: Some("n".to_owned()), ..KeyPatch::default() };
        for patch in [at, name] {
            let request = UpdateKey { target: target(old, 1, 1), patch, wait: true };
            let refused = update(&db, &request, &owner).await.unwrap_err();
            assert_eq!(refused, Refusal::Conflict(Conflict::Expired));
        }
        assert_eq!(keys::delete_expired(&db, NOW.plus(1), 10).await.unwrap(), 1);
        let tags: Vec<(i64,)> = db.fetch("SELECT key_id FROM key_tags", &[]).await.unwrap();
        assert_eq!(tags, [(young.0,)]);
    }
}

const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
    AND wait_event_type = 'Lock' AND query LIKE 'DELETE FROM api_keys%'";

#[tokio::test]
async fn whoever_sweeps_deletes_by_what_holds_at_the_write() {
    for (db, _folder) in engines().await {
        // SQLite has one writer: nothing changes between what it reads and what it deletes.
        if db.engine() != Engine::Postgres {
            continue;
        }
        let id = insert(&db, key(1, 1, NOW)).await;
        let mut tx = db.begin("give a key more time").await.unwrap();
        let later = "UPDATE api_keys SET expires_at = expires_at + 60000 WHERE id = $1";
        tx.execute(later, values![id.0]).await.unwrap();
        let given = async {
            poll::until_async("the sweep waits for the row", Duration::from_mins(1), || async {
                let waiting: Option<(i64,)> = db.fetch_first(WAITING, &[]).await.unwrap();
                (waiting == Some((1,))).then_some(())
            })
            .await;
            tx.commit().await.unwrap();
        };
        let (deleted, ()) = tokio::join!(keys::delete_expired(&db, NOW.plus(1), 10), given);
        assert_eq!(deleted.unwrap(), 0);
    }
}
