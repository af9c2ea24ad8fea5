//! Keys of which one may be somebody else's, and what a key or a deactivated owner has no say in any more: the key
//! service's store, each test on both engines.

mod late;
mod said;

use e2e::{acting_user, order, replacing};
use latchkey_contract::keys::{
    KeyObject, KeyPatch, KeyTarget, RevocationReason, RevokeKey, RevokeKeys, RotateKey,
    SetKeyEnabled, UpdateKey, Which,
};
use latchkey_contract::refusal::Conflict;
use latchkey_contract::{Actor, Caller, KeyId, Mark, Owner, Refusal, RequestId, Timestamp, UserId};
use latchkey_keys::store as keys;
use latchkey_keys::store::acting::Barred;
use latchkey_keys::store::held::Done;
use latchkey_keys::store::issue::{Inserted, Order, Policy};
use latchkey_keys::store::revoke_many::ManyRevoked;
use latchkey_keys::store::rotate::{Replaced, Rotated};
use latchkey_keys::store::update::Allowed;
use latchkey_store::{Db, values};

use super::store::{NOW, engines};

const OWNER: UserId = UserId(1);
const ALLOWED: Allowed = Allowed { max_days: 3_650, may_restrict: true };
const LEAKED: Refusal = Refusal::Conflict(Conflict::Leaked);
/// When keys end here of which nothing else is said.
const ENDS: Timestamp = Timestamp(NOW.0 + 9 * Timestamp::DAY);

/// Whoever owns every key here.
fn owner() -> Caller {
    acting_user(OWNER.0)
}

/// A key of theirs.
fn acting(id: KeyId) -> Caller {
    Caller::of(Actor::Key { id, owner: Owner::User(OWNER) }, RequestId::new("test"))
}

fn said(barred: Barred) -> Refusal {
    let Barred::Refused(refusal) = barred else { panic!("{barred:?}") };
    refusal
}

async fn make(db: &Db, order: Order, by: &Caller) -> Result<KeyObject, Refusal> {
    match keys::issue::insert(db, order, &Policy::default(), by).await.unwrap() {
        Inserted::Key(made) => Ok(*made),
        Inserted::Barred(barred) => Err(said(barred)),
        other => panic!("{other:?}"),
    }
}

async fn key(db: &Db, number: u8) -> KeyId {
    make(db, order(OWNER.0, number, NOW, ENDS), &owner()).await.unwrap().id
}

/// Gives a key scopes, and its owner a ceiling that reaches as far.
async fn grant(db: &Db, key: KeyId, scopes: &str) {
    let ceiling = "INSERT INTO keys_ceilings (owner_id, ceiling) \
        VALUES (1, '* latchkey:keys:write latchkey:keys:rotate-self') ON CONFLICT DO NOTHING";
    db.execute(ceiling, values![]).await.unwrap();
    let grant = "UPDATE api_keys SET scopes = $2 WHERE id = $1";
    db.execute(grant, values![key.0, scopes]).await.unwrap();
}

async fn shown(db: &Db, key: KeyId) -> KeyObject {
    keys::key::get(db, OWNER, key, NOW).await.unwrap().unwrap()
}

/// What is decided on a key as it is now.
async fn target(db: &Db, key: KeyId, mark: u8) -> KeyTarget {
    let version = shown(db, key).await.version;
    KeyTarget { owner: OWNER, key, version, mark: Mark([mark; 16]), narrowed: None }
}

async fn set(
    db: &Db,
    target: KeyTarget,
    enabled: bool,
    confirm: bool,
    by: &Caller,
) -> Result<Done, Refusal> {
    let note = Some("ask Ada".to_owned());
    let request = SetKeyEnabled { target, enabled, note, confirm, wait: true };
    keys::state::set(db, &request, true, by, NOW).await.unwrap().map_err(said)
}

async fn patch(db: &Db, target: KeyTarget, patch: KeyPatch, by: &Caller) -> Result<Done, Refusal> {
    let request = UpdateKey { target, patch, wait: true };
    keys::update::update(db, &request, ALLOWED, by, NOW).await.unwrap().map_err(said)
}

/// Replaces a key with a grace by one with this hash.
async fn rotate(db: &Db, request: &RotateKey, hash: u8, by: &Caller) -> Result<Replaced, Refusal> {
    rotate_until(db, request, (hash, Some(NOW.plus(Timestamp::DAY))), by).await
}

async fn rotate_until(
    db: &Db,
    request: &RotateKey,
    (hash, retires_at): (u8, Option<Timestamp>),
    by: &Caller,
) -> Result<Replaced, Refusal> {
    let rotation = e2e::rotation(request, hash, retires_at);
    match keys::rotate::rotate(db, &rotation, by, NOW).await.unwrap() {
        Rotated::Key(replaced) => Ok(*replaced),
        Rotated::Barred(barred) => Err(said(barred)),
        other @ (Rotated::NotFound | Rotated::Claimed) => panic!("{other:?}"),
    }
}

/// A key, and the one that replaced it because it may be somebody else's; both live.
async fn leaked(db: &Db) -> (KeyId, KeyId) {
    let first = key(db, 1).await;
    let request = RotateKey {
        reason: RevocationReason::KeyCompromise,
        confirm: true,
        ..replacing(target(db, first, 1).await)
    };
    (first, rotate(db, &request, 2, &owner()).await.unwrap().object.id)
}

async fn revoke(db: &Db, key: KeyId, reason: RevocationReason, by: &Caller) {
    let request = RevokeKey { reason, ..e2e::ending(OWNER, key) };
    assert!(keys::revoke(db, &request, by, NOW).await.unwrap().change().is_some());
}

async fn revoke_many(db: &Db, ids: Vec<KeyId>, reason: RevocationReason) {
    let which = Which::Ids(ids);
    let (note, dry_run, wait) = (None, false, true);
    let request = RevokeKeys { owner: OWNER, which, reason, note, dry_run, wait };
    let done =
        keys::again(|| async { keys::revoke_many::revoke(db, &request, &owner(), NOW).await });
    assert!(matches!(done.await.unwrap(), ManyRevoked::Done(_)));
}

#[tokio::test]
async fn what_is_born_into_a_leaked_lineage_is_enabled_by_who_confirms_it_alone() {
    for (db, _folder) in engines().await {
        let (_, second) = leaked(&db).await;
        set(&db, target(&db, second, 2).await, false, false, &owner()).await.unwrap();
        let enabled = set(&db, target(&db, second, 3).await, true, false, &owner()).await;
        assert_eq!(enabled.unwrap_err(), LEAKED);
        set(&db, target(&db, second, 4).await, true, true, &owner()).await.unwrap();
        // As the third is, which was made by who had confirmed it.
        let request = RotateKey { confirm: true, ..replacing(target(&db, second, 5).await) };
        let third = rotate(&db, &request, 3, &owner()).await.unwrap().object.id;
        let refused = rotate(&db, &replacing(target(&db, third, 6).await), 4, &owner()).await;
        assert_eq!(refused.unwrap_err(), LEAKED);
        set(&db, target(&db, third, 7).await, false, false, &owner()).await.unwrap();
        let enabled = set(&db, target(&db, third, 8).await, true, false, &owner()).await;
        assert_eq!(enabled.unwrap_err(), LEAKED);
    }
}

#[tokio::test]
async fn a_leak_is_known_for_as_long_as_a_key_of_the_lineage_is_kept() {
    for (db, _folder) in engines().await {
        let (first, second) = leaked(&db).await;
        let marks = async || {
            let sql = "SELECT COUNT(*) FROM keys_leaked_lineages";
            db.fetch_first::<(i64,)>(sql, values![]).await.unwrap().unwrap().0
        };
        let end = async |key: KeyId| {
            let sql = "UPDATE api_keys SET expires_at = $2 WHERE id = $1";
            db.execute(sql, values![key.0, NOW.plus(-1).0]).await.unwrap();
            assert_eq!(keys::delete_expired(&db, NOW, 10).await.unwrap(), 1);
        };
        end(first).await;
        assert_eq!(marks().await, 1);
        let refused = rotate(&db, &replacing(target(&db, second, 2).await), 3, &owner()).await;
        assert_eq!(refused.unwrap_err(), LEAKED);
        set(&db, target(&db, second, 3).await, false, false, &owner()).await.unwrap();
        let enabled = set(&db, target(&db, second, 4).await, true, false, &owner()).await;
        assert_eq!(enabled.unwrap_err(), LEAKED);
        end(second).await;
        assert_eq!(marks().await, 0);
    }
}

#[tokio::test]
async fn no_key_confirms_for_itself_or_another_that_a_leak_does_not_matter() {
    for (db, _folder) in engines().await {
        let (_, second) = leaked(&db).await;
        let (acts, other) = (key(&db, 8).await, key(&db, 9).await);
        for id in [acts, second, other] {
            grant(&db, id, "latchkey:keys:write latchkey:keys:rotate-self").await;
        }
        let itself = |request: RotateKey| RotateKey { is_self: true, ..request };
        for (confirm, refused) in [(false, LEAKED), (true, Refusal::UsersOnly)] {
            let request = RotateKey { confirm, ..itself(replacing(target(&db, second, 2).await)) };
            let told = rotate(&db, &request, 3, &acting(second)).await;
            assert_eq!(told.unwrap_err(), refused);
        }
        // Nor that it goes on while it says that it may be somebody else's.
        let reason = RevocationReason::KeyCompromise;
        let request = itself(replacing(target(&db, other, 3).await));
        let request = RotateKey { reason, confirm: true, ..request };
        let told = rotate(&db, &request, 4, &acting(other)).await;
        assert_eq!(told.unwrap_err(), Refusal::UsersOnly);
        set(&db, target(&db, second, 5).await, false, false, &owner()).await.unwrap();
        for (confirm, refused) in [(false, LEAKED), (true, Refusal::UsersOnly)] {
            let target = target(&db, second, 6).await;
            let told = set(&db, target, true, confirm, &acting(acts)).await;
            assert_eq!(told.unwrap_err(), refused);
        }
        set(&db, target(&db, second, 7).await, true, true, &owner()).await.unwrap();
        // At once it may, as it may end itself.
        let told = rotate_until(&db, &request, (5, None), &acting(other)).await;
        assert!(told.unwrap().is_revoked);
    }
}
