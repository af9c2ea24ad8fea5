//! Steps that take their time: backfills, steps without a transaction, steps that take away.

use super::*;

#[tokio::test]
async fn a_step_that_takes_away_waits_for_older_releases_and_for_rows_that_they_have_written() {
    for (db, _folder) in engines().await {
        db.migrate(SERVICE, FIRST).await.unwrap();
        db.migrate(SERVICE, SECOND).await.unwrap();
        db.migrate(SERVICE, FIRST).await.unwrap();
        insert(&db, "written by the first release").await;
        // On Postgres the connections of a moment ago may be there for a moment.
        let taken = db.prepare(SERVICE, STEPS, Some(SOON)).await.unwrap();
        assert_eq!(taken, [3, 4, 5]);
        assert_eq!((db.lowest(SERVICE).await.unwrap(), count(&db, UNFILLED).await), (2, 0));
        assert_eq!(count(&db, QUIET).await, 0);
        let gone = db.check("SELECT legacy FROM trial_things").await;
        assert!(matches!(gone, Err(StoreError::Refused(_))), "{gone:?}");
        let refused = db.migrate(SERVICE, FIRST).await.unwrap_err();
        assert!(matches!(refused, MigrationError::Superseded { lowest: 2, .. }), "{refused}");
        db.migrate(SERVICE, SECOND).await.unwrap();
    }
    let url = postgres::fresh_database().await;
    let first = replica(&url, FIRST).await;
    let fourth = Db::open(&url, "replica", 2).await.unwrap();
    let refused = fourth.migrate(SERVICE, STEPS).await.unwrap_err();
    assert!(matches!(refused, MigrationError::InUse { lowest: 2, .. }), "{refused}");
    fourth.check("SELECT legacy FROM trial_things").await.unwrap();
    insert(&first, "goes on").await;
    first.close().await;
    fourth.prepare(SERVICE, STEPS, Some(SOON)).await.unwrap();
}

#[tokio::test]
async fn a_backfill_that_is_broken_off_is_gone_on_with_and_holds_nobody_up() {
    for (db, _folder) in engines().await {
        db.migrate(SERVICE, FIRST).await.unwrap();
        let many = 200 * BATCH;
        for number in 0..many {
            insert(&db, &format!("{number}")).await;
        }
        let filling = tokio::spawn({
            let db = db.clone();
            async move { db.migrate(SERVICE, SECOND).await }
        });
        poll::until_async("some are filled", SOON, || async {
            // The column is there a moment later.
            let unfilled: Result<Option<(i64,)>, _> = db.fetch_first(UNFILLED, &[]).await;
            let begun = matches!(unfilled, Ok(Some((left,))) if left < many);
            begun.then_some(())
        })
        .await;
        filling.abort();
        let ended = filling.await;
        if ended.is_err() {
            assert!(count(&db, UNFILLED).await > 0, "it was broken off");
        }
        db.migrate(SERVICE, SECOND).await.unwrap();
        assert_eq!((count(&db, UNFILLED).await, count(&db, ALL).await), (0, many));
    }
}

#[tokio::test]
async fn who_starts_during_a_backfill_does_not_wait_for_it_and_who_runs_goes_on() {
    let url = postgres::fresh_database().await;
    let first = replica(&url, FIRST).await;
    let second = replica(&url, SECOND).await;
    insert(&first, "held").await;
    let mut holder = PgConnection::connect(&url).await.unwrap();
    let mut held = holder.begin().await.unwrap();
    held.execute("SELECT 1 FROM trial_things FOR UPDATE").await.unwrap();
    let filling = tokio::spawn({
        let second = second.clone();
        async move { second.prepare(SERVICE, SECOND, None).await }
    });
    poll::until_async("the first batch waits for a row", SOON, || async {
        (count(&first, WAITING).await > 0).then_some(())
    })
    .await;
    let again = replica(&url, FIRST).await;
    insert(&again, "written meanwhile").await;
    insert(&first, "written meanwhile, too").await;
    assert!(!filling.is_finished(), "the backfill waits");
    held.rollback().await.unwrap();
    filling.await.unwrap().unwrap();
    assert_eq!(count(&second, UNFILLED).await, 0);
}

/// Whether the index of the third step is there, and good.
async fn index(db: &Db) -> Option<bool> {
    let found: Option<(bool,)> = db.fetch_first(INDEX, &[]).await.unwrap();
    found.map(|(is_valid,)| is_valid)
}

#[tokio::test]
async fn a_step_without_a_transaction_and_for_one_engine_is_repeated_from_its_beginning() {
    let [(sqlite, _folder), (postgres, _)] = engines().await;
    assert_eq!(sqlite.migrate(SERVICE, THIRD).await.unwrap(), [1, 2, 3]);
    assert_eq!(sqlite.migrate(SERVICE, THIRD).await.unwrap(), NONE);
    for name in ["twice", "twice"] {
        insert(&sqlite, name).await;
    }

    postgres.migrate(SERVICE, SECOND).await.unwrap();
    for name in ["twice", "twice"] {
        insert(&postgres, name).await;
    }
    let failed = postgres.migrate(SERVICE, THIRD).await.unwrap_err();
    assert!(matches!(failed, MigrationError::Failed { .. }), "{failed}");
    assert_eq!(
        index(&postgres).await,
        Some(false),
        "what it leaves stops nobody from repeating it"
    );
    // It holds for new rows already.
    postgres.execute(DELETE_LAST, &[]).await.unwrap();
    assert_eq!(postgres.migrate(SERVICE, THIRD).await.unwrap(), [3]);
    assert_eq!(index(&postgres).await, Some(true));
}

#[tokio::test]
async fn a_step_without_a_transaction_that_is_killed_in_its_middle_is_repeated() {
    let url = postgres::fresh_database().await;
    let db = replica(&url, SECOND).await;
    insert(&db, "row").await;
    // The index waits for whoever might not see it.
    let mut reader = PgConnection::connect(&url).await.unwrap();
    let mut reading = reader.begin().await.unwrap();
    reading.execute("UPDATE trial_things SET legacy = 1").await.unwrap();
    let making = tokio::spawn({
        let db = db.clone();
        async move { db.migrate(SERVICE, THIRD).await }
    });
    poll::until_async("the index is begun", SOON, || async { index(&db).await }).await;
    assert_eq!(index(&db).await, Some(false));
    db.execute(KILL_MAKING, &[]).await.unwrap();
    let broken = making.await.unwrap().unwrap_err();
    assert!(matches!(broken, MigrationError::Away(_)), "{broken}");
    reading.rollback().await.unwrap();
    assert_eq!(index(&db).await, Some(false));
    db.migrate(SERVICE, THIRD).await.unwrap();
    assert_eq!(index(&db).await, Some(true));
}

#[tokio::test]
async fn replicas_that_start_together_make_an_index_concurrently_once() {
    let url = postgres::fresh_database().await;
    let running = replica(&url, SECOND).await;
    let writing = tokio::spawn({
        let running = running.clone();
        async move {
            let mut number = 0;
            loop {
                insert(&running, &format!("{number}")).await;
                number += 1;
            }
        }
    });
    let starting = (0..4).map(|_| {
        let url = url.clone();
        tokio::spawn(async move {
            let db = Db::open(&url, "replica", 2).await.unwrap();
            db.prepare(SERVICE, THIRD, Some(SOON)).await.unwrap()
        })
    });
    let mut taken = Vec::new();
    for replica in starting.collect::<Vec<_>>() {
        taken.extend(replica.await.unwrap());
    }
    assert!(!writing.is_finished(), "nobody who writes was stopped");
    writing.abort();
    assert_eq!((taken, index(&running).await), (vec![3], Some(true)));
}
