//! The rows of kept answers, each test on both engines.

use e2e::{acting_user, ending, order};
use latchkey_contract::keys::KeyState;
use latchkey_contract::{CredentialHash, KeyId, Refusal, Scopes, Timestamp, UserId};
use latchkey_keys::acting::WRITE;
use latchkey_keys::store as keys;
use latchkey_keys::store::acting::Barred;
use latchkey_keys::store::idempotency::{Claim, RETENTION, Slot};
use latchkey_keys::store::issue::{Inserted, Policy};
use latchkey_keys::store::replay::{Asked, Shown, confirm, show};
use latchkey_keys::sweeper::Sweeper;
use latchkey_runtime::Clock;
use latchkey_store::Db;

use crate::store::{NOW, engines};

const OWNER: UserId = UserId(1);

fn claim(number: u8, at: Timestamp) -> Claim {
    let (actor, key_hash) = ("session:1".to_owned(), [number; 32]);
    let slot = Slot { owner: OWNER, actor, route: "POST /keys", key_hash };
    Claim { slot, request_hash: [number; 32], salt: [number; 16], sealed: vec![number; 9], at }
}

/// Adds keys with these hashes under a claim.
async fn insert(db: &Db, hashes: &[u8], claim: &Claim) -> Inserted<Vec<KeyId>> {
    let of = |hash: &u8| order(OWNER.0, *hash, claim.at, claim.at.plus(90 * Timestamp::DAY));
    let orders = hashes.iter().map(of).collect();
    let (policy, by) = (Policy::default(), acting_user(OWNER.0));
    match keys::issue::insert_once(db, orders, &policy, &by, Some(claim)).await.unwrap() {
        Inserted::Key(made) => Inserted::Key(made.iter().map(|key| key.id).collect()),
        Inserted::Claimed => Inserted::Claimed,
        other => panic!("{other:?}"),
    }
}

async fn shown(db: &Db, hashes: &[u8]) -> Result<Shown, Barred> {
    shown_to(db, hashes, None).await
}

/// What a token is shown that is narrowed to these scopes.
async fn shown_to(db: &Db, hashes: &[u8], narrowed: Option<&Scopes>) -> Result<Shown, Barred> {
    let made: Vec<CredentialHash> = hashes.iter().map(|hash| CredentialHash([*hash; 32])).collect();
    let by = acting_user(OWNER.0);
    let (replaced, needed, is_self) = (None, WRITE, false);
    let asked = Asked { by: &by, owner: OWNER, narrowed, needed, is_self, made: &made, replaced };
    show(db, &asked, NOW).await.unwrap()
}

#[tokio::test]
async fn whoever_comes_second_adds_nothing_until_the_answer_is_kept_no_longer() {
    for (db, _folder) in engines().await {
        let first = claim(1, NOW);
        assert!(
            matches!(insert(&db, &[1, 2], &first).await, Inserted::Key(made) if made.len() == 2)
        );
        let late = claim(1, NOW.plus(RETENTION - 1));
        assert_eq!(insert(&db, &[3], &late).await, Inserted::Claimed);
        assert_eq!(shown(&db, &[3]).await.unwrap_err(), Barred::Refused(Refusal::KeyNotFound));
        let row = keys::idempotency::find(&db, &late.slot, late.at).await.unwrap().unwrap();
        assert_eq!((row.sealed, row.salt), (first.sealed, first.salt.to_vec()));
        for other in [
            Slot { owner: UserId(2), ..late.slot.clone() },
            Slot { actor: "key:1".to_owned(), ..late.slot.clone() },
            Slot { route: "POST /keys/create", ..late.slot.clone() },
            Slot { key_hash: [9; 32], ..late.slot.clone() },
        ] {
            assert!(keys::idempotency::find(&db, &other, late.at).await.unwrap().is_none());
        }
        // Nobody has swept it yet, and it counts as gone.
        let after = claim(1, NOW.plus(RETENTION));
        assert!(keys::idempotency::find(&db, &after.slot, after.at).await.unwrap().is_none());
        assert!(matches!(insert(&db, &[3], &after).await, Inserted::Key(_)));
        let row = keys::idempotency::find(&db, &after.slot, after.at).await.unwrap();
        assert!(row.is_some());
    }
}

#[tokio::test]
async fn what_is_refused_is_not_kept() {
    for (db, _folder) in engines().await {
        let full = Policy { per_owner: Some(1), ..Policy::default() };
        let (by, claim) = (acting_user(OWNER.0), claim(1, NOW));
        let orders = (1..3).map(|hash| order(OWNER.0, hash, NOW, NOW.plus(1_000))).collect();
        let refused = keys::issue::insert_once(&db, orders, &full, &by, Some(&claim)).await;
        assert_eq!(refused.unwrap(), Inserted::Full);
        assert!(keys::idempotency::find(&db, &claim.slot, NOW).await.unwrap().is_none());
        assert!(matches!(insert(&db, &[1], &claim).await, Inserted::Key(_)));
    }
}

#[tokio::test]
async fn a_repeat_waits_for_what_was_done_since_until_that_was_seen_to_its_end() {
    for (db, _folder) in engines().await {
        let made = insert(&db, &[1, 2], &claim(1, NOW)).await;
        let Inserted::Key(made) = made else { panic!("{made:?}") };
        let fresh = shown(&db, &[1, 2]).await.unwrap();
        assert!(fresh.change.is_none() && fresh.open.is_empty());
        let revoke = async |key: KeyId| {
            let by = acting_user(OWNER.0);
            let done = keys::revoke(&db, &ending(OWNER, key), &by, NOW).await.unwrap();
            done.change().unwrap().revision()
        };
        let revision = revoke(made[0]).await;
        let one = shown(&db, &[1, 2]).await.unwrap();
        let states: Vec<KeyState> = one.keys.iter().map(|key| key.state).collect();
        assert_eq!(states, [KeyState::Revoked, KeyState::Active]);
        assert_eq!(one.change.unwrap().earlier, Some((revision, false)));
        // Of two it is one that is behind both.
        let later = revoke(made[1]).await;
        let both = shown(&db, &[1, 2]).await.unwrap();
        assert!(both.change.unwrap().revision() > later);
        assert_eq!(both.open.len(), 2);
        confirm(&db, &both.open).await.unwrap();
        let over = shown(&db, &[1, 2]).await.unwrap();
        assert!(over.change.is_none() && over.open.is_empty());
    }
}

#[tokio::test]
async fn whoever_is_deactivated_is_shown_nothing() {
    for (db, _folder) in engines().await {
        assert!(matches!(insert(&db, &[1], &claim(1, NOW)).await, Inserted::Key(_)));
        let sql = "INSERT INTO keys_disabled_owners (owner_id, disabled_at) VALUES (1, 5)";
        db.execute(sql, &[]).await.unwrap();
        assert_eq!(shown(&db, &[1]).await.unwrap_err(), Barred::Refused(Refusal::SessionEnded));
    }
}

#[tokio::test]
async fn whoever_has_less_by_now_is_shown_no_secret_that_has_more() {
    for (db, _folder) in engines().await {
        assert!(matches!(insert(&db, &[1], &claim(1, NOW)).await, Inserted::Key(_)));
        let wide = Scopes::parse(&format!("* {WRITE}")).unwrap();
        assert_eq!(shown_to(&db, &[1], Some(&wide)).await.unwrap().keys.len(), 1);
        for narrow in [WRITE.to_owned(), format!("{WRITE} orders:read")] {
            let narrow = Scopes::parse(&narrow).unwrap();
            let barred = shown_to(&db, &[1], Some(&narrow)).await.unwrap_err();
            let is_scope = matches!(barred, Barred::Refused(Refusal::InsufficientScope { .. }));
            assert!(is_scope, "{barred:?}");
        }
    }
}

#[tokio::test]
async fn answers_are_swept_after_a_day_some_at_a_time() {
    for (db, _folder) in engines().await {
        for number in 1..=5 {
            let at = NOW.plus(i64::from(number));
            assert!(matches!(insert(&db, &[number], &claim(number, at)).await, Inserted::Key(_)));
        }
        let clock = Clock::manual(NOW.0 + RETENTION);
        let sweeper = Sweeper { db: db.clone(), clock: clock.clone() };
        assert_eq!(sweeper.sweep_answers().await.unwrap(), 0);
        clock.advance(3);
        assert_eq!(keys::idempotency::delete_old(&db, NOW.plus(3), 2).await.unwrap(), 2);
        assert_eq!(sweeper.sweep_answers().await.unwrap(), 1);
        clock.advance(10);
        assert_eq!(sweeper.sweep_answers().await.unwrap(), 2);
        assert_eq!(sweeper.sweep_answers().await.unwrap(), 0);
    }
}
