//! Transactions as the store gives them, each test on both engines: all or nothing, whatever ends them.

use std::time::Duration;

use e2e::lines::Lines;
use e2e::poll;
use latchkey_contract::Failure;
use latchkey_runtime::Root;
use latchkey_store::{Db, StoreError, values};

use crate::store::engines;

/// Bound on whatever comes by itself.
const SOON: Duration = Duration::from_mins(1);
const ADD: &str = "INSERT INTO keys_disabled_owners (owner_id, disabled_at) VALUES ($1, $2)";
const COUNT: &str = "SELECT COUNT(*) FROM keys_disabled_owners";

/// How many rows there are.
async fn rows(db: &Db) -> i64 {
    let (count,) = db.fetch_first::<(i64,)>(COUNT, &[]).await.unwrap().unwrap();
    count
}

#[tokio::test]
async fn what_is_committed_is_there_and_what_is_dropped_is_not() {
    for (db, _folder) in engines().await {
        let mut tx = db.begin("first").await.unwrap();
        assert_eq!(tx.execute(ADD, values![1, 1]).await.unwrap(), 1);
        tx.commit().await.unwrap();
        let mut tx = db.begin("second").await.unwrap();
        tx.execute(ADD, values![2, 1]).await.unwrap();
        drop(tx);
        // The next one waits until the lock is free again.
        let mut tx = db.begin("third").await.unwrap();
        tx.execute(ADD, values![2, 1]).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(rows(&db).await, 2);
    }
}

#[tokio::test]
async fn a_transaction_whose_future_is_dropped_within_a_statement_leaves_nothing() {
    for (db, _folder) in engines().await {
        for owner in 0..20 {
            let mut tx = db.begin("dropped").await.unwrap();
            tx.execute(ADD, values![100 + owner, 1]).await.unwrap();
            // One poll sends the statement; nobody waits for its end.
            let values = values![owner, 1];
            drop(tokio::time::timeout(Duration::ZERO, tx.execute(ADD, values)).await);
            drop(tx);
            assert_eq!(rows(&db).await, owner, "nothing of it is left");
            let mut tx = db.begin("whole").await.unwrap();
            tx.execute(ADD, values![owner, 1]).await.unwrap();
            tx.commit().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_statement_that_fails_ends_its_transaction() {
    for (db, _folder) in engines().await {
        let mut tx = db.begin("fails").await.unwrap();
        tx.execute(ADD, values![1, 1]).await.unwrap();
        let again = tx.execute(ADD, values![1, 1]).await.unwrap_err();
        assert!(again.is_unique_violation() && !again.is_away(), "{again}");
        assert!(matches!(tx.execute(ADD, values![2, 1]).await, Err(StoreError::Failed)));
        assert!(matches!(tx.commit().await, Err(StoreError::Failed)));
        assert_eq!(rows(&db).await, 0);
    }
}

#[tokio::test]
async fn a_connection_whose_database_was_full_within_a_transaction_is_not_used_again() {
    const LONG: i64 = 4_000;
    const FILL: &str = "INSERT INTO api_keys (owner_id, hash, hint, name, created_at, expires_at) \
        VALUES ($1, $2, $3, $3, 0, 0)";
    let [(db, _folder), _] = engines().await;
    // It holds for this connection alone, like what is left open on it.
    db.execute("PRAGMA max_page_count = 60", &[]).await.unwrap();
    let text = "x".repeat(usize::try_from(LONG).unwrap());
    let mut tx = db.begin("fill").await.unwrap();
    let mut full = None;
    for number in 0..LONG {
        let hash = number.to_be_bytes();
        let added = tx.execute(FILL, values![number, &hash, &text]).await;
        if let Err(error) = added {
            full = Some(error);
            break;
        }
    }
    let full = full.expect("the limit is hit");
    assert!(full.is_away(), "{full}");
    assert!(matches!(Failure::from(full), Failure::Unavailable(_)));
    drop(tx);
    for owner in 0..10 {
        let mut tx = db.begin("afterwards").await.unwrap();
        tx.execute(ADD, values![owner, 1]).await.unwrap();
        tx.commit().await.unwrap();
    }
    assert_eq!(rows(&db).await, 10);
}

#[tokio::test]
async fn who_holds_the_writing_connection_for_more_than_a_second_is_said_in_one_line() {
    let (lines, _listening) = Lines::listen();
    let [(db, _folder), _] = engines().await;
    let held = db.begin("dawdle").await.unwrap();
    // Whoever waits for it gives up after a second, and is told who has it.
    let late = db.begin("next").await.unwrap_err();
    assert!(matches!(late, StoreError::Held { holder: "dawdle", held_ms: 900.., .. }), "{late}");
    assert!(matches!(Failure::from(late), Failure::Unavailable(_)));
    drop(held);
    db.begin("after").await.unwrap().commit().await.unwrap();
    poll::until_async("the line", SOON, async || {
        let said = lines.with("held for more than a second");
        (!said.is_empty()).then(|| {
            assert!(said.len() == 1 && said[0].contains("holder=\"dawdle\""), "{said:?}");
        })
    })
    .await;
}

#[tokio::test]
async fn what_was_written_is_moved_into_the_file_by_nobodys_commit() {
    let [(db, folder), _] = engines().await;
    let file = folder.as_ref().unwrap().join("latchkey.db");
    let size = || std::fs::metadata(&file).unwrap().len();
    let write_rows = async || {
        for owner in 0..200 {
            let mut tx = db.begin("fill").await.unwrap();
            for row in 0..50 {
                tx.execute(ADD, values![owner * 50 + row, 1]).await.unwrap();
            }
            tx.commit().await.unwrap();
        }
    };
    let before = size();
    write_rows().await;
    assert_eq!(size(), before, "no commit has moved anything");
    let running = Root::start(db.upkeep().into_iter().collect()).await.unwrap();
    assert!(db.upkeep().is_none(), "it is done once");
    poll::until_async("the file has grown", SOON, async || (size() > before).then_some(())).await;
    running.stop().await;
}
