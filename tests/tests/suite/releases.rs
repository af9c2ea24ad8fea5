//! Releases that share a database: forward, back and forward again, and no way back from where it is finished. Each
//! test on both engines, but where only one process can have a file.

mod finish;
#[cfg(debug_assertions)]
mod processes;
mod steps;

use std::path::Path;
use std::time::Duration;

use e2e::process::mortal;
use e2e::{Folder, Process, SECRET, binary, poll, postgres};
use latchkey_identity::store as identity;
use latchkey_keys::store as keys;
use latchkey_store::migrate::{self, MAX_STEPS};
use latchkey_store::{
    Backfill, Db, Engine, Finished, Migration, MigrationError, Sql, StoreError, values,
};
use sqlx::{Connection, Executor, PgConnection};

/// A service of these tests alone.
const SERVICE: &str = "trial";
/// Bound on whatever comes by itself.
const SOON: Duration = Duration::from_mins(1);
const BATCH: i64 = 3;
/// Starts of one replica in a test where they go on until they are refused.
const MAX_STARTS: usize = 1_000;

/// Rows that a service's backfill may change at once.
const MAX_BATCH: i64 = 1_000;

/// The steps of five releases: each knows one more.
const STEPS: &[Migration] = &[
    Migration::new(
        1,
        "things",
        "CREATE TABLE trial_things (id IDENTITY_PRIMARY_KEY, name TEXT NOT NULL, legacy BIGINT)",
    ),
    Migration {
        backfill: Some(Backfill {
            sql: "UPDATE trial_things SET size = length(name) WHERE size IS NULL AND id IN \
                (SELECT id FROM trial_things WHERE size IS NULL ORDER BY id LIMIT $1)",
            batch: BATCH,
        }),
        ..Migration::new(
            2,
            "sizes",
            "ALTER TABLE trial_things ADD COLUMN size BIGINT; \
            CREATE INDEX trial_things_unfilled ON trial_things (id) WHERE size IS NULL",
        )
    },
    Migration {
        sql: Sql::Only(
            Engine::Postgres,
            "DROP INDEX CONCURRENTLY IF EXISTS trial_things_name;\n\
            -- Without stopping whoever writes.\n\
            CREATE UNIQUE INDEX CONCURRENTLY trial_things_name ON trial_things (name);\n",
        ),
        in_transaction: false,
        ..Migration::new(3, "names", "")
    },
    Migration {
        lowest: Some(2),
        ..Migration::new(4, "no legacy", "ALTER TABLE trial_things DROP COLUMN legacy")
    },
    Migration {
        backfill: Some(Backfill {
            sql: "UPDATE trial_things SET loud = upper(name) WHERE loud IS NULL AND id IN \
                (SELECT id FROM trial_things WHERE loud IS NULL ORDER BY id LIMIT $1)",
            batch: BATCH,
        }),
        ..Migration::new(
            5,
            "loud",
            "ALTER TABLE trial_things ADD COLUMN loud TEXT; \
            CREATE INDEX trial_things_quiet ON trial_things (id) WHERE loud IS NULL",
        )
    },
];
/// What the releases know.
const FIRST: &[Migration] = STEPS.split_at(1).0;
const SECOND: &[Migration] = STEPS.split_at(2).0;
const THIRD: &[Migration] = STEPS.split_at(3).0;

/// No step was taken.
const NONE: [i64; 0] = [];

const INSERT: &str = "INSERT INTO trial_things (name) VALUES ($1)";
const UNFILLED: &str = "SELECT count(*) FROM trial_things WHERE size IS NULL";
const QUIET: &str = "SELECT count(*) FROM trial_things WHERE loud IS NULL";
const ALL: &str = "SELECT count(*) FROM trial_things";
/// What on a server waits to fill rows.
const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
    AND wait_event_type = 'Lock' AND query LIKE 'UPDATE trial_things SET size%'";
/// Ends whoever makes an index there, and every session of a replica.
const KILL_MAKING: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
    WHERE datname = current_database() AND query LIKE '%CREATE UNIQUE INDEX%' AND pid <> pg_backend_pid()";
const CUT_OFF: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
    WHERE datname = current_database() AND application_name = 'replica'";
/// What on a server waits to raise the lowest release, and who waits for a lock that says of which release they are.
const RAISING: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
    AND wait_event_type = 'Lock' AND query LIKE 'UPDATE trial_schema SET lowest%'";
const BEGINNING: &str = "SELECT count(*) FROM pg_locks AS locks JOIN pg_stat_activity AS activity \
    ON activity.pid = locks.pid WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted";
const DELETE_LAST: &str = "DELETE FROM trial_things WHERE id = (SELECT max(id) FROM trial_things)";
const INDEX: &str = "SELECT indisvalid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid \
    WHERE relname = 'trial_things_name'";

/// Both engines, empty. The folder lives as long as its database.
async fn engines() -> [(Db, Option<Folder>); 2] {
    let folder = Folder::new();
    let url = format!("sqlite://{}", folder.join("latchkey.db").display());
    let sqlite = Db::open(&url, "test", 8).await.unwrap();
    let postgres = Db::open(&postgres::fresh_database().await, "test", 8).await.unwrap();
    [(sqlite, Some(folder)), (postgres, None)]
}

/// A further process on a server, which knows `steps`.
async fn replica(url: &str, steps: &[Migration]) -> Db {
    let db = Db::open(url, "replica", 2).await.unwrap();
    db.migrate(SERVICE, steps).await.unwrap();
    db.ping().await.unwrap();
    db
}

/// Writes as every release does: one that knows no sizes leaves them out.
async fn insert(db: &Db, name: &str) {
    db.execute(INSERT, values![name]).await.unwrap();
}

async fn count(db: &Db, sql: &'static str) -> i64 {
    let (count,): (i64,) = db.fetch_first(sql, &[]).await.unwrap().unwrap();
    count
}

#[tokio::test]
async fn a_release_goes_forward_back_and_forward_again_and_what_is_written_meanwhile_is_taken_in() {
    for (db, _folder) in engines().await {
        assert_eq!(db.migrate(SERVICE, FIRST).await.unwrap(), [1]);
        for number in 0..10 {
            insert(&db, &format!("before {number}")).await;
        }
        assert_eq!(db.migrate(SERVICE, SECOND).await.unwrap(), [2]);
        assert_eq!((count(&db, UNFILLED).await, count(&db, ALL).await), (0, 10));
        // Back.
        assert_eq!(db.migrate(SERVICE, FIRST).await.unwrap(), NONE);
        for number in 0..10 {
            insert(&db, &format!("between {number}")).await;
        }
        assert_eq!(count(&db, UNFILLED).await, 10);
        // And forward again.
        assert_eq!(db.migrate(SERVICE, SECOND).await.unwrap(), NONE);
        assert_eq!((count(&db, UNFILLED).await, count(&db, ALL).await), (0, 20));
        assert_eq!(db.lowest(SERVICE).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn there_is_no_way_back_from_where_it_is_finished() {
    for (db, _folder) in engines().await {
        db.migrate(SERVICE, FIRST).await.unwrap();
        db.migrate(SERVICE, SECOND).await.unwrap();
        db.migrate(SERVICE, FIRST).await.unwrap();
        insert(&db, "written by the release before").await;
        for is_raised in [true, false] {
            let done = db.finish(SERVICE, SECOND, SOON).await.unwrap();
            assert_eq!(done, Finished { lowest: 2, is_raised });
            assert_eq!(count(&db, UNFILLED).await, 0, "the last pass has found it");
        }
        let refused = db.migrate(SERVICE, FIRST).await.unwrap_err();
        assert!(
            matches!(refused, MigrationError::Superseded { lowest: 2, known: 1, .. }),
            "{refused}"
        );
        let line = refused.to_string();
        let parts = ["trial", "step 2 or later", "knows 1", "restore a backup"];
        assert!(parts.iter().all(|part| line.contains(part)), "{line}");
        // A later release may go on, and this one may follow it back.
        db.migrate(SERVICE, THIRD).await.unwrap();
        db.migrate(SERVICE, SECOND).await.unwrap();
        // An older one that finishes takes nothing back.
        db.finish(SERVICE, THIRD, SOON).await.unwrap();
        let refused = db.finish(SERVICE, SECOND, Duration::ZERO).await.unwrap_err();
        assert!(matches!(refused, MigrationError::Superseded { lowest: 3, .. }), "{refused}");
    }
}

#[tokio::test]
async fn tables_that_are_made_now_are_for_this_release_at_once() {
    for (db, _folder) in engines().await {
        assert_eq!(db.migrate(SERVICE, SECOND).await.unwrap(), [1, 2]);
        assert_eq!(db.lowest(SERVICE).await.unwrap(), 2);
        let refused = db.migrate(SERVICE, FIRST).await.unwrap_err();
        assert!(matches!(refused, MigrationError::Superseded { .. }), "{refused}");
    }
    // Also with a step that takes away and a backfill behind it.
    for (db, _folder) in engines().await {
        assert_eq!(db.migrate(SERVICE, STEPS).await.unwrap(), [1, 2, 3, 4, 5]);
        let refused = db.migrate(SERVICE, THIRD).await.unwrap_err();
        assert!(matches!(refused, MigrationError::Superseded { lowest: 5, .. }), "{refused}");
    }
}

#[tokio::test]
async fn steps_that_are_not_as_they_were_are_refused_and_so_is_an_unknown_one_before_known_ones() {
    for (db, _folder) in engines().await {
        db.migrate(SERVICE, SECOND).await.unwrap();
        let other = [FIRST[0], Migration::new(2, "sizes", "SELECT 1")];
        let hole = [FIRST[0], STEPS[2]];
        for steps in [other, hole] {
            let refused = db.migrate(SERVICE, &steps).await.unwrap_err();
            assert!(matches!(refused, MigrationError::Failed { .. }), "{refused}");
        }
    }
}

#[tokio::test]
async fn a_start_of_the_standalone_leaves_the_tables_to_its_release() {
    let folder = Folder::new();
    let url = format!("sqlite://{}", folder.join("latchkey.db").display());
    let before = identity::MIGRATIONS.split_last().unwrap().1;
    let db = Db::open(&url, "before", 8).await.unwrap();
    db.migrate(latchkey_identity::NAME, before).await.unwrap();
    db.close().await;
    drop(db);
    let mut command = binary::clean(mortal(binary::path()), folder.path());
    let listen = ("LISTEN_ADDR", "127.0.0.1:0");
    command.envs([("DATABASE_URL", &*url), listen, ("SECRET_KEY", SECRET)]);
    let process = Process::start(command);
    poll::until("it is ready", SOON, || {
        let lines = process.stderr();
        assert!(process.runs(), "{lines:#?}");
        lines.iter().any(|line| line.contains("ready")).then_some(())
    });
    process.terminate();
    let end = process.finish();
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    assert!(end.stderr.contains("restore a backup"), "{}", end.stderr);
    let db = Db::open(&url, "before", 8).await.unwrap();
    let lowest = db.lowest(latchkey_identity::NAME).await.unwrap();
    assert_eq!(lowest, migrate::newest(identity::MIGRATIONS));
    let refused = db.migrate(latchkey_identity::NAME, before).await.unwrap_err();
    assert!(matches!(refused, MigrationError::Superseded { .. }), "{refused}");
}

#[test]
fn the_services_steps_are_numbered_without_a_gap_and_named_as_their_files() {
    let services = [("identity", identity::MIGRATIONS), ("keys", keys::MIGRATIONS)];
    for (service, steps) in services {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations");
        let files = std::fs::read_dir(Path::new(folder).join(service)).unwrap();
        let mut files: Vec<_> =
            files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        let named = |step: &Migration| {
            format!("{:04}_{}.sql", step.version, step.description.replace(' ', "_"))
        };
        assert_eq!(files, steps.iter().map(named).collect::<Vec<_>>());
        for (step, version) in steps.iter().zip(1..) {
            assert_eq!(step.version, version, "{service}");
            assert!(step.lowest.is_none_or(|lowest| (1..version).contains(&lowest)), "{step:?}");
            let is_small = |backfill: Backfill| (1..=MAX_BATCH).contains(&backfill.batch);
            assert!(step.backfill.is_none_or(is_small), "{step:?}");
        }
        assert!(steps.len() <= MAX_STEPS, "{service}");
    }
}
