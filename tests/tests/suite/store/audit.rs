//! Events are written in the transactions of the changes that they tell of, and a chain shows what became of them.

use std::time::Duration;

use e2e::{ANYBODY, acting_user, ending, poll};
use latchkey_audit::anchor::last;
use latchkey_audit::chain::{ChainKey, ChainKeys};
use latchkey_audit::sealer::{BATCH, Sealer};
use latchkey_audit::verify::{Verified, verify};
use latchkey_audit::{Action, Event, Target, append};
use latchkey_contract::{KeyId, Secret, Timestamp, UserId};
use latchkey_keys::store as keys;
use latchkey_keys::store::AUDIT;
use latchkey_keys::store::issue::Policy;
use latchkey_runtime::Clock;
use latchkey_store::{Db, values};

use super::{NOW, engines, insert, key};

mod kept;

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
        assert!(
            keys::issue::insert(
                &db,
                key(1, 2, NOW.plus(60_000)),
                &Policy::default(),
                &acting_user(1)
            )
            .await
            .is_err()
        );
        let (request, owner) = (ending(UserId(1), made), acting_user(1));
        assert!(keys::revoke(&db, &request, &owner, NOW).await.is_err());
        assert_eq!(count(&db, "SELECT COUNT(*) FROM api_keys").await, 1);
        let revoked = "SELECT COUNT(*) FROM api_keys WHERE revoked_at IS NOT NULL";
        assert_eq!(count(&db, revoked).await, 0);
        assert_eq!(count(&db, "SELECT COUNT(*) FROM keys_invalidations").await, 0);
        db.execute("ALTER TABLE lost RENAME TO keys_audit_events", values![]).await.unwrap();
        super::revoke(&db, UserId(1), made, NOW).await.unwrap();
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
        keys::issue::insert(&db, key(1, 2, NOW.plus(60_000)), &Policy::default(), &acting_user(1))
            .await
            .unwrap();
        assert_eq!(count(&db, "SELECT COUNT(*) FROM keys_audit_events").await, 1);
    }
}

/// Changes of the event at the thirteenth place, each with the way back.
const CHANGES: [[&str; 2]; 4] = [
    [
        "UPDATE keys_audit_events SET action = 'key.revoked' WHERE seq = 13",
        "UPDATE keys_audit_events SET action = 'key.created' WHERE seq = 13",
    ],
    [
        "UPDATE keys_audit_events SET actor_id = 1 WHERE seq = 13",
        "UPDATE keys_audit_events SET actor_id = NULL WHERE seq = 13",
    ],
    [
        "UPDATE keys_audit_events SET at = at + 1 WHERE seq = 13",
        "UPDATE keys_audit_events SET at = at - 1 WHERE seq = 13",
    ],
    [
        "UPDATE keys_audit_events SET target_id = '99' WHERE seq = 13",
        "UPDATE keys_audit_events SET target_id = '12' WHERE seq = 13",
    ],
];

#[tokio::test]
async fn a_batch_is_sealed_by_its_rows_and_not_by_all_that_wait() {
    let [(db, _folder), _] = engines().await;
    let plan = format!("EXPLAIN QUERY PLAN {}", AUDIT.seal.of(db.engine()));
    let plan: &'static str = Box::leak(plan.into_boxed_str());
    let steps: Vec<(i64, i64, i64, String)> = db.fetch(plan, values!["[]"]).await.unwrap();
    let steps: Vec<_> = steps.into_iter().map(|(.., step)| step).collect();
    let [first, second] = &steps[..] else { panic!("{steps:?}") };
    assert!(first.contains("json_each") && second.contains("PRIMARY KEY"), "{steps:?}");
}

fn key_of(letter: &str) -> ChainKey {
    ChainKey::of(Some(Secret::new(letter.repeat(32))))
}

fn chain_key() -> ChainKeys {
    ChainKeys::of(key_of("k"))
}

fn sealer(db: &Db) -> Sealer {
    Sealer::new(db.clone(), &AUDIT, chain_key(), Clock::System)
}

/// Events of these keys, in one transaction.
async fn write(db: &Db, keys: std::ops::Range<i64>) {
    write_at(db, keys, NOW).await;
}

async fn write_at(db: &Db, keys: std::ops::Range<i64>, at: Timestamp) {
    let mut tx = db.begin("write events").await.unwrap();
    for key in keys {
        let event = Event::done(Action::KeyCreated, Target::Key(KeyId(key)), at, &ANYBODY);
        append(&mut tx, &AUDIT, &event).await.unwrap();
    }
    tx.commit().await.unwrap();
}

async fn walk(db: &Db) -> Verified {
    verify(db, &AUDIT, &chain_key(), None).await.unwrap()
}

#[tokio::test]
async fn events_are_sealed_in_the_order_of_their_ids_and_late_ones_behind_what_is_sealed() {
    for (db, _folder) in engines().await {
        assert_eq!(walk(&db).await, Verified::Whole { from: 1, to: 0 });
        write(&db, 0..BATCH + 9).await;
        let sealed = sealer(&db).seal().await.unwrap();
        assert_eq!(i64::try_from(sealed).unwrap(), BATCH + 9);
        // As if the transaction that took this id had been committed only now.
        write(&db, 0..1).await;
        let late = "UPDATE keys_audit_events SET id = -3 WHERE seq IS NULL";
        assert_eq!(db.execute(late, values![]).await.unwrap(), 1);
        assert_eq!(sealer(&db).seal().await.unwrap(), 1);
        assert_eq!(sealer(&db).seal().await.unwrap(), 0);
        let places: Vec<(i64,)> =
            db.fetch("SELECT seq FROM keys_audit_events ORDER BY id", values![]).await.unwrap();
        let places: Vec<i64> = places.into_iter().map(|(seq,)| seq).collect();
        assert_eq!(places[0], BATCH + 10, "the late one is the last");
        assert!(places[1..].is_sorted(), "{places:?}");
        assert_eq!(walk(&db).await, Verified::Whole { from: 1, to: BATCH + 10 });
        let other = ChainKeys::of(ChainKey::Unkeyed);
        let broken = verify(&db, &AUDIT, &other, None).await.unwrap();
        assert_eq!(broken, Verified::Broken { seq: 1 }, "it hangs on the key");
    }
}

#[tokio::test]
async fn a_chain_shows_the_first_row_that_was_changed_or_taken_out_and_an_anchor_the_newest_ones() {
    for (db, _folder) in engines().await {
        write(&db, 0..20).await;
        sealer(&db).seal().await.unwrap();
        let anchor = last(&db, &AUDIT).await.unwrap();
        assert_eq!(anchor.map(|anchor| anchor.seq), Some(20));
        write(&db, 20..30).await;
        sealer(&db).seal().await.unwrap();
        let from = async |anchor| verify(&db, &AUDIT, &chain_key(), anchor).await.unwrap();
        assert_eq!(from(None).await, Verified::Whole { from: 1, to: 30 });
        assert_eq!(from(anchor).await, Verified::Whole { from: 20, to: 30 });

        for [change, back] in CHANGES {
            for (sql, expected) in [
                (change, Verified::Broken { seq: 13 }),
                (back, Verified::Whole { from: 1, to: 30 }),
            ] {
                assert_eq!(db.execute(sql, values![]).await.unwrap(), 1, "{sql}");
                assert_eq!(walk(&db).await, expected, "{sql}");
            }
        }
        // The newest rows: nothing shows it but an anchor, also where others took their places.
        db.execute("DELETE FROM keys_audit_events WHERE seq > 15", values![]).await.unwrap();
        assert_eq!(from(None).await, Verified::Whole { from: 1, to: 15 });
        assert_eq!(from(anchor).await, Verified::Broken { seq: 20 });
        write(&db, 30..40).await;
        sealer(&db).seal().await.unwrap();
        assert_eq!(from(None).await, Verified::Whole { from: 1, to: 25 });
        assert_eq!(from(anchor).await, Verified::Broken { seq: 20 });
        db.execute("DELETE FROM keys_audit_events WHERE seq = 7", values![]).await.unwrap();
        assert_eq!(from(None).await, Verified::Broken { seq: 7 });
    }
}

#[tokio::test]
async fn sealers_side_by_side_make_one_chain() {
    for (db, _folder) in engines().await {
        let sealers: Vec<Sealer> = (0..4).map(|_| sealer(&db)).collect();
        for round in 0..10 {
            write(&db, round * 50..round * 50 + 50).await;
            let seals = sealers.iter().map(Sealer::seal);
            // One whose place another took says so, or that the database waited too long, and tries again.
            drop(futures_util::future::join_all(seals).await);
        }
        let whole = async || {
            drop(sealers[0].seal().await);
            (walk(&db).await == Verified::Whole { from: 1, to: 500 }).then_some(())
        };
        poll::until_async("every event is sealed", Duration::from_mins(1), whole).await;
    }
}
