//! The janitor on a SQLite file, with a wall clock that the test moves.

use latchkey_contract::lease::Tag;
use latchkey_contract::wire::CONTRACT;
use latchkey_revocation::MemberState;
use latchkey_runtime::periodic::PeriodicTask;

use super::*;
use crate::bench::{HASH, NOW, SQL, at, bench, hasty_bench, warnings};
use crate::changes::new_epoch;

#[tokio::test]
async fn a_member_is_retired_after_ten_leases_and_what_its_note_may_be_behind() {
    let bench = bench("retire").await;
    let key = bench.member(1, CONTRACT).await;
    let janitor = Janitor::new(Arc::clone(&bench.authority));
    let warnings = warnings();
    bench.clock.advance(25_000);
    janitor.run().await;
    assert_eq!(bench.store.rows(NOW).await.unwrap()[0].state, MemberState::Member);
    assert_eq!(warnings(), 0);
    bench.clock.advance(1);
    janitor.run().await;
    assert_eq!(bench.store.rows(NOW).await.unwrap()[0].state, MemberState::Retired);
    assert_eq!(bench.noted(&key).await, Some(NOW.0));
    // Another replica that has seen it quiet too, and the next run.
    let quiet_before = bench.now();
    assert_eq!(bench.store.retire_quiet(key.id, quiet_before).await.unwrap(), None);
    janitor.run().await;
    assert_eq!(warnings(), 1, "it is told of once");
    bench.end().await;
}

#[tokio::test]
async fn a_change_stays_recorded_for_ten_minutes() {
    let bench = bench("recorded").await;
    let key = bench.member(1, CONTRACT).await;
    bench.commit(Tag::Credential(HASH)).await;
    let janitor = Janitor::new(Arc::clone(&bench.authority));
    for (later, records) in [(600_000, 1), (1, 0)] {
        bench.clock.advance(later);
        janitor.run().await;
        let (_, changes) = bench.store.renew(&key, at(0)).await.unwrap();
        assert_eq!(changes.rows.len(), records);
    }
    bench.end().await;
}

#[tokio::test]
async fn a_retired_row_stays_for_a_whole_wait_after_it_was_first_seen() {
    let bench = hasty_bench("delete").await;
    let key = bench.member(1, CONTRACT).await;
    bench.store.retire(key.id).await.unwrap();
    let janitor = Janitor::new(Arc::clone(&bench.authority));
    let seen = bench.authority.moment();
    while bench.noted(&key).await.is_some() {
        janitor.run().await;
    }
    assert!(bench.authority.moment().since(seen) >= bench.authority.bounds().wait());
    bench.end().await;
}

#[tokio::test]
async fn another_history_is_watched_for_a_whole_wait() {
    let bench = hasty_bench("watched").await;
    let mut tx = bench.store.db.begin("test").await.unwrap();
    new_epoch(&mut tx, &SQL, 77).await.unwrap();
    tx.commit().await.unwrap();
    let janitor = Janitor::new(Arc::clone(&bench.authority));
    let seen = bench.authority.moment();
    while !bench.store.revision().await.unwrap().is_watched() {
        janitor.run().await;
    }
    assert!(bench.authority.moment().since(seen) >= bench.authority.bounds().wait());
    bench.end().await;
}
