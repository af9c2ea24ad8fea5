//! What was sealed is not sealed anew, whoever takes its place away; old events are taken out so that it shows, and a
//! key can be changed.

use latchkey_audit::Halt;
use latchkey_audit::keeper::Keeper;
use latchkey_audit::pruner::Pruner;
use latchkey_runtime::periodic::PeriodicTask as _;

use super::*;

/// Days for which events are kept here.
const DAYS: i64 = 30;

fn sealer_with(db: &Db, keys: ChainKeys) -> Sealer {
    Sealer::new(db.clone(), &AUDIT, keys, Clock::System)
}

fn changed_key(from: &str, to: &str) -> ChainKeys {
    ChainKeys { current: key_of(to), previous: Some(key_of(from)) }
}

async fn walk_with(db: &Db, keys: &ChainKeys) -> Verified {
    verify(db, &AUDIT, keys, None).await.unwrap()
}

#[tokio::test]
async fn an_event_whose_place_was_taken_away_is_not_sealed_anew_until_it_has_it_again() {
    for (db, _folder) in engines().await {
        write(&db, 0..30).await;
        sealer(&db).seal().await.unwrap();
        let taken = "UPDATE keys_audit_events SET action = 'key.created', seq = NULL, hash = NULL \
            WHERE seq IN (13, 14)";
        assert_eq!(db.execute(taken, values![]).await.unwrap(), 2);
        write(&db, 30..40).await;
        // Also by one that begins now, and has not seen it sealed.
        let sealer = sealer(&db);
        assert_eq!(sealer.seal().await.unwrap(), 0);
        assert_eq!(sealer.halted(), Some(Halt::Lost { seq: 14 }));
        assert_eq!(count(&db, "SELECT COUNT(*) FROM keys_audit_events WHERE seq > 30").await, 0);
        assert_eq!(walk(&db).await, Verified::Broken { seq: 13 });

        let given = "UPDATE keys_audit_events SET seq = id WHERE seq IS NULL AND id < 30";
        assert_eq!(db.execute(given, values![]).await.unwrap(), 2);
        assert_eq!(sealer.seal().await.unwrap(), 10);
        assert_eq!(sealer.halted(), None);
        assert_eq!(walk(&db).await, Verified::Broken { seq: 13 }, "it stays shown");
    }
}

#[tokio::test]
async fn a_sealer_notices_that_the_newest_events_are_gone_and_one_that_looks_on_does_too() {
    for (db, _folder) in engines().await {
        write(&db, 0..20).await;
        let (one, other) = (sealer(&db), sealer(&db));
        assert_eq!(one.seal().await.unwrap(), 20);
        assert!(other.look(false).await.unwrap());
        for gone in [
            "DELETE FROM keys_audit_events WHERE seq > 15",
            "UPDATE keys_audit_events SET seq = NULL WHERE seq > 10",
        ] {
            assert_eq!(db.execute(gone, values![]).await.unwrap(), 5);
            for sealer in [&one, &other] {
                assert_eq!(sealer.seal().await.unwrap(), 0);
                assert_eq!(sealer.halted(), Some(Halt::Lost { seq: 20 }));
            }
        }
        // Others in their places are others.
        super::sealer(&db).seal().await.unwrap();
        write(&db, 20..40).await;
        super::sealer(&db).seal().await.unwrap();
        assert_eq!(one.seal().await.unwrap(), 0);
        assert_eq!(one.halted(), Some(Halt::Lost { seq: 20 }));
        assert!(!one.look(false).await.unwrap());
    }
}

#[tokio::test]
async fn the_last_event_has_to_be_what_was_sealed() {
    for (db, _folder) in engines().await {
        write(&db, 0..5).await;
        sealer(&db).seal().await.unwrap();
        let [change, back] = [
            "UPDATE keys_audit_events SET actor_id = 1 WHERE seq = 5",
            "UPDATE keys_audit_events SET actor_id = NULL WHERE seq = 5",
        ];
        assert_eq!(db.execute(change, values![]).await.unwrap(), 1);
        write(&db, 5..6).await;
        let sealer = sealer(&db);
        assert_eq!(sealer.seal().await.unwrap(), 0);
        assert_eq!(sealer.halted(), Some(Halt::Unknown { seq: 5 }));
        assert_eq!(db.execute(back, values![]).await.unwrap(), 1);
        assert!(sealer.look(false).await.unwrap(), "it looks again by itself");
        assert_eq!(sealer.seal().await.unwrap(), 1);
    }
}

#[tokio::test]
async fn a_time_that_no_calendar_has_keeps_nothing_from_being_sealed() {
    for (db, _folder) in engines().await {
        write(&db, 0..3).await;
        let impossible = "UPDATE keys_audit_events SET at = 9223372036854775807 WHERE id = \
            (SELECT MIN(id) FROM keys_audit_events)";
        assert_eq!(db.execute(impossible, values![]).await.unwrap(), 1);
        assert_eq!(sealer(&db).seal().await.unwrap(), 3);
        assert_eq!(walk(&db).await, Verified::Whole { from: 1, to: 3 });
    }
}

#[tokio::test]
async fn a_changed_key_leaves_one_event_that_says_so_and_a_whole_chain() {
    for (db, _folder) in engines().await {
        write(&db, 0..5).await;
        sealer(&db).seal().await.unwrap();
        write(&db, 5..8).await;
        // Without the former key it is not known whether the log is what it was.
        let unknowing = sealer_with(&db, ChainKeys::of(key_of("n")));
        assert_eq!(unknowing.seal().await.unwrap(), 0);
        assert_eq!(unknowing.halted(), Some(Halt::Unknown { seq: 5 }));
        let both = changed_key("k", "n");
        let sealer = sealer_with(&db, both.clone());
        assert_eq!(sealer.seal().await.unwrap(), 3);
        assert!(unknowing.look(false).await.unwrap(), "it can seal now");
        write(&db, 8..9).await;
        assert_eq!(unknowing.seal().await.unwrap(), 1);
        let seams =
            "SELECT COUNT(*) FROM keys_audit_events WHERE action = 'audit.key_changed' AND seq = 6";
        assert_eq!(count(&db, seams).await, 1);

        assert_eq!(walk_with(&db, &both).await, Verified::Whole { from: 1, to: 10 });
        let without = ChainKeys::of(key_of("n"));
        assert_eq!(walk_with(&db, &without).await, Verified::Broken { seq: 1 });
        let swapped = changed_key("n", "k");
        assert_eq!(walk_with(&db, &swapped).await, Verified::Broken { seq: 6 });
        // Whoever has the former key can make links up to the seam, and not over it.
        let late = "UPDATE keys_audit_events SET action = 'key.revoked' WHERE seq = 6";
        assert_eq!(db.execute(late, values![]).await.unwrap(), 1);
        assert_eq!(walk_with(&db, &both).await, Verified::Broken { seq: 6 });
    }
}

#[tokio::test]
async fn a_log_that_was_sealed_without_a_key_is_gone_on_with_under_one() {
    let [(db, _folder), _] = engines().await;
    write(&db, 0..2).await;
    sealer_with(&db, ChainKeys::of(ChainKey::Unkeyed)).seal().await.unwrap();
    write(&db, 2..4).await;
    let keys = ChainKeys { current: key_of("k"), previous: Some(ChainKey::Unkeyed) };
    assert_eq!(sealer_with(&db, keys.clone()).seal().await.unwrap(), 2);
    assert_eq!(walk_with(&db, &keys).await, Verified::Whole { from: 1, to: 5 });
}

fn keeper(db: &Db, clock: &Clock) -> Keeper {
    let sealer = Sealer::new(db.clone(), &AUDIT, chain_key(), clock.clone());
    Keeper::new(sealer, Pruner::new(clock.clone(), DAYS))
}

/// When an event of now is as old as any that is kept.
fn just_kept() -> Clock {
    Clock::manual(NOW.0 + DAYS * 24 * 60 * 60 * 1_000)
}

#[tokio::test]
async fn old_events_are_taken_out_and_the_log_begins_behind_them() {
    for (db, _folder) in engines().await {
        write_at(&db, 0..20, NOW.plus(-1)).await;
        keeper(&db, &Clock::manual(NOW.0)).run().await;
        let early = last(&db, &AUDIT).await.unwrap();
        write_at(&db, 20..21, NOW.plus(-1)).await;
        write(&db, 21..25).await;
        keeper(&db, &Clock::manual(NOW.0)).run().await;
        assert_eq!(walk(&db).await, Verified::Whole { from: 1, to: 25 }, "nothing is too old");
        let keeper = keeper(&db, &just_kept());
        keeper.run().await;
        assert_eq!(count(&db, "SELECT MIN(seq) FROM keys_audit_events").await, 22);
        keeper.run().await;
        assert_eq!(walk(&db).await, Verified::Whole { from: 22, to: 26 });
        let pruned = Verified::Pruned { through: 21 };
        assert_eq!(verify(&db, &AUDIT, &chain_key(), early).await.unwrap(), pruned);

        // Whoever has not the key takes nothing out so that it does not show, whatever they write.
        db.execute("DELETE FROM keys_audit_events WHERE seq = 22", values![]).await.unwrap();
        assert_eq!(walk(&db).await, Verified::Broken { seq: 22 });
        let forged = "INSERT INTO keys_audit_events (at, action, outcome, actor_type, target_type, target_id, \
            request_id, changes) SELECT at, action, outcome, actor_type, target_type, target_id, request_id, \
            REPLACE(changes, '\"through\":21', '\"through\":22') FROM keys_audit_events \
            WHERE action = 'audit.pruned'";
        assert_eq!(db.execute(forged, values![]).await.unwrap(), 1);
        assert_eq!(walk(&db).await, Verified::Broken { seq: 22 });
    }
}

#[tokio::test]
async fn the_last_event_stays_however_old_it_is() {
    for (db, _folder) in engines().await {
        write(&db, 0..BATCH + 5).await;
        let clock = Clock::manual(NOW.0 + 2 * DAYS * 24 * 60 * 60 * 1_000);
        let keeper = keeper(&db, &clock);
        keeper.run().await;
        let kept = "SELECT COUNT(*) FROM keys_audit_events WHERE seq IS NOT NULL";
        assert_eq!(count(&db, kept).await, 1);
        keeper.run().await;
        let places = BATCH + 6;
        assert_eq!(walk(&db).await, Verified::Whole { from: BATCH + 5, to: places });
        // One that begins with what is left finds nothing wrong.
        write(&db, 0..1).await;
        assert_eq!(sealer(&db).seal().await.unwrap(), 1);
    }
}
