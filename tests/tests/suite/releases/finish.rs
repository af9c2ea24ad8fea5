//! Tables that are left to a release for good, while older ones run, start and write.

use super::*;

#[tokio::test]
async fn finish_is_refused_while_something_older_is_there_and_waits_for_its_end() {
    let url = postgres::fresh_database().await;
    let (first, second) = (replica(&url, FIRST).await, replica(&url, SECOND).await);
    let refused = second.finish(SERVICE, SECOND, Duration::ZERO).await.unwrap_err();
    let line = refused.to_string();
    assert!(matches!(refused, MigrationError::InUse { lowest: 2, .. }), "{line}");
    assert!(line.contains("trial") && line.contains("knows step 1"), "{line}");
    assert_eq!(second.lowest(SERVICE).await.unwrap(), 1, "nothing has changed");
    insert(&first, "goes on").await;
    let again = replica(&url, FIRST).await;
    again.close().await;

    let ending = async {
        insert(&first, "the last").await;
        first.close().await;
    };
    let (done, ()) = tokio::join!(second.finish(SERVICE, SECOND, SOON), ending);
    assert_eq!(done.unwrap(), Finished { lowest: 2, is_raised: true });
    assert_eq!(count(&second, UNFILLED).await, 0);
}

#[tokio::test]
async fn finish_is_refused_while_somebody_is_there_who_does_not_say_what_they_know() {
    let url = postgres::fresh_database().await;
    replica(&url, FIRST).await.close().await;
    let db = Db::open(&url, "replica", 2).await.unwrap();
    // As a release from before, which says nothing.
    let named = format!("{url}?application_name=before");
    let mut before = PgConnection::connect(&named).await.unwrap();
    before.execute("SELECT 1").await.unwrap();
    poll::until_async("nobody else is there", SOON, || async {
        let refused = db.finish(SERVICE, SECOND, Duration::ZERO).await.unwrap_err();
        assert!(matches!(refused, MigrationError::InUse { .. }), "{refused}");
        refused.to_string().contains("\"before\"").then_some(())
    })
    .await;
    // A session that a pooler keeps for its next client is nobody's.
    before.execute("DISCARD ALL").await.unwrap();
    db.finish(SERVICE, SECOND, SOON).await.unwrap();
    before.close().await.unwrap();
}

#[tokio::test]
async fn an_older_process_that_was_cut_off_while_it_was_finished_never_comes_back() {
    let url = postgres::fresh_database().await;
    let (first, second) = (replica(&url, FIRST).await, Db::open(&url, "new", 2).await.unwrap());
    second.migrate(SERVICE, SECOND).await.unwrap();
    first.check_ready().await.unwrap();
    second.execute(CUT_OFF, &[]).await.unwrap();
    second.finish(SERVICE, SECOND, SOON).await.unwrap();
    for _ in 0..3 {
        let refused = first.execute(INSERT, values!["too late"]).await.unwrap_err();
        assert!(refused.is_away(), "{refused}");
        assert!(first.check_ready().await.is_err() && first.begin("too late").await.is_err());
    }
    let refused = first.ping().await.unwrap_err();
    assert!(matches!(refused, StoreError::Superseded(_)), "{refused}");
    assert_eq!(count(&second, ALL).await, 0);
}

#[tokio::test]
async fn an_older_process_that_begins_between_the_look_and_the_commit_is_refused() {
    let url = postgres::fresh_database().await;
    let (first, second) = (replica(&url, FIRST).await, Db::open(&url, "new", 2).await.unwrap());
    second.migrate(SERVICE, SECOND).await.unwrap();
    // The first replica lives, and has no connection at the moment.
    second.execute(CUT_OFF, &[]).await.unwrap();
    let mut holder = PgConnection::connect(&url).await.unwrap();
    // It says something, so that nobody waits for its end.
    holder.execute("SELECT pg_advisory_lock_shared(1, 1)").await.unwrap();
    let mut held = holder.begin().await.unwrap();
    held.execute("SELECT 1 FROM trial_schema FOR UPDATE").await.unwrap();
    let finishing = tokio::spawn({
        let second = second.clone();
        async move { second.finish(SERVICE, SECOND, SOON).await }
    });
    poll::until_async("it has looked", SOON, || async {
        (count(&second, RAISING).await > 0).then_some(())
    })
    .await;
    let starting = tokio::spawn({
        let url = url.clone();
        async move {
            let db = Db::open(&url, "replica", 2).await.unwrap();
            db.prepare(SERVICE, FIRST, Some(SOON)).await
        }
    });
    let late = first.execute(INSERT, values!["too late"]).await;
    assert!(late.is_err(), "{late:?}");
    poll::until_async("the other one has begun", SOON, || async {
        let begins = starting.is_finished() || count(&second, BEGINNING).await > 0;
        begins.then_some(())
    })
    .await;
    held.rollback().await.unwrap();
    finishing.await.unwrap().unwrap();
    let refused = starting.await.unwrap();
    assert!(
        matches!(refused, Err(MigrationError::Superseded { lowest: 2, known: 1, .. })),
        "{refused:?}"
    );
    assert!(first.ping().await.is_err());
    assert_eq!(count(&second, ALL).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_an_older_release_writes_is_missed_whenever_it_starts_while_it_is_finished() {
    for _ in 0..3 {
        let url = postgres::fresh_database().await;
        replica(&url, FIRST).await.close().await;
        let older = (0..2).map(|task| {
            let url = url.clone();
            tokio::spawn(async move {
                let mut written = 0;
                for round in 0..MAX_STARTS {
                    let db = Db::open(&url, "replica", 2).await.unwrap();
                    match db.prepare(SERVICE, FIRST, Some(SOON)).await {
                        Ok(_) => {}
                        Err(MigrationError::Superseded { .. }) => break,
                        Err(error) => panic!("{error}"),
                    }
                    let name = format!("{task} {round}");
                    written += i64::from(db.execute(INSERT, values![&name]).await.is_ok());
                    db.close().await;
                }
                written
            })
        });
        let older: Vec<_> = older.collect();
        let newer = replica(&url, SECOND).await;
        poll::until_async("it is finished", SOON, || async {
            match newer.finish(SERVICE, SECOND, Duration::ZERO).await {
                Ok(done) => Some(done),
                Err(MigrationError::InUse { .. } | MigrationError::Away(_)) => None,
                Err(error) => panic!("{error}"),
            }
        })
        .await;
        let all = count(&newer, ALL).await;
        assert_eq!(count(&newer, UNFILLED).await, 0, "of {all}");
        let mut written = 0;
        for older in older {
            written += older.await.unwrap();
        }
        assert_eq!((count(&newer, ALL).await, count(&newer, UNFILLED).await), (all, 0));
        assert!(written <= all, "{written} acknowledged of {all}");
    }
}
