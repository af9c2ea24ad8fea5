//! The services' stores, each test on both engines: a SQLite file and a Postgres server.

use e2e::{Folder, postgres};
use latchkey_contract::{CredentialHash, KeyId, SessionId, Timestamp, UserId};
use latchkey_identity::rules::Canonical;
use latchkey_identity::store as identity;
use latchkey_identity::store::account::NewUser;
use latchkey_identity::store::session::NewSession;
use latchkey_keys::store as keys;
use latchkey_keys::store::NewKey;
use latchkey_runtime::Clock;
use latchkey_store::{Db, MigrationError, OpenError, on};
use sqlx::{Executor, SqlSafeStr};

const NOW: Timestamp = Timestamp(1_800_000_000_000);

/// Both engines, migrated. The folder lives as long as its database.
async fn engines() -> [(Db, Option<Folder>); 2] {
    let folder = Folder::new();
    let url = format!("sqlite://{}", folder.join("latchkey.db").display());
    let sqlite = Db::open(&url, "test", 8).await.unwrap();
    let postgres = Db::open(&postgres::fresh_database().await, "test", 8).await.unwrap();
    for db in [&sqlite, &postgres] {
        db.migrate("identity", identity::MIGRATIONS).await.unwrap();
        db.migrate("keys", keys::MIGRATIONS).await.unwrap();
    }
    [(sqlite, Some(folder)), (postgres, None)]
}

fn name(text: &str) -> Canonical {
    Canonical { shown: text.to_owned(), canonical: text.to_lowercase() }
}

async fn user(db: &Db, text: &str) -> Option<i64> {
    let (email, username) = (name(&format!("{text}@example.com")), name(text));
    let user = NewUser { email: &email, username: &username, password_hash: "x", created_at: NOW };
    identity::account::insert(db, &user).await.unwrap()
}

fn key(owner: i64, number: u8, expires_at: Timestamp) -> NewKey {
    NewKey {
        owner: UserId(owner),
        hash: CredentialHash([number; 32]),
        hint: "sk_0000…0000".to_owned(),
        name: format!("key {number}"),
        created_at: NOW,
        expires_at,
    }
}

#[tokio::test]
async fn every_statement_is_understood_by_both_engines() {
    for (db, _folder) in engines().await {
        let sqlite = matches!(db, Db::Sqlite(_));
        let all = [identity::statements(sqlite), keys::statements(sqlite)].concat();
        assert!(all.len() > 15);
        for sql in all {
            let prepared = on!(read & db, |at| at.prepare(sql.into_sql_str()).await.map(drop));
            assert!(prepared.is_ok(), "{sql}: {prepared:?}");
        }
    }
}

#[tokio::test]
async fn migrations_are_taken_once_and_a_newer_database_is_refused() {
    for (db, _folder) in engines().await {
        db.migrate("keys", keys::MIGRATIONS).await.unwrap();
        let (first, second) = tokio::join!(
            db.migrate("identity", identity::MIGRATIONS),
            db.migrate("identity", identity::MIGRATIONS)
        );
        first.unwrap();
        second.unwrap();
        let newer = "INSERT INTO keys_migrations \
            SELECT 99, description, installed_on, success, checksum, execution_time \
            FROM keys_migrations";
        on!(write & db, |at| sqlx::query(newer).execute(at).await.map(drop)).unwrap();
        let refused = db.migrate("keys", keys::MIGRATIONS).await;
        assert!(matches!(refused, Err(MigrationError::Newer { version: 99, known: 1, .. })));
    }
}

#[tokio::test]
async fn a_sqlite_file_is_open_once() {
    let folder = Folder::new();
    let url = format!("sqlite://{}", folder.join("latchkey.db").display());
    let first = Db::open(&url, "test", 8).await.unwrap();
    assert!(matches!(Db::open(&url, "test", 8).await, Err(OpenError::InUse(_))));
    drop(first);
}

#[tokio::test]
async fn one_name_is_one_account_whatever_its_case() {
    for (db, _folder) in engines().await {
        assert!(user(&db, "Ada").await.is_some());
        assert_eq!(user(&db, "ADA").await, None);
        let taken = identity::account::taken(&db, "ada@example.com", "grace").await.unwrap();
        assert!(taken.email && !taken.username);
    }
}

#[tokio::test]
async fn sessions_end_and_are_swept_when_they_are_over() {
    for (db, _folder) in engines().await {
        let owner = UserId(user(&db, "ada").await.unwrap());
        for (id, lives) in [(1, 1_000), (2, 90_000)] {
            let id = SessionId([id; 16]);
            let session =
                NewSession { id, user: owner, created_at: NOW, expires_at: NOW.plus(lives) };
            identity::session::insert(&db, &session).await.unwrap();
        }
        identity::session::end(&db, &SessionId([2; 16]), NOW).await.unwrap();
        let ids: [&[u8]; 3] = [&[1; 16], &[2; 16], &[3; 16]];
        let mut found = identity::session::find(&db, &ids).await.unwrap();
        found.sort_by(|a, b| a.id.cmp(&b.id));
        let ended: Vec<_> = found.iter().map(|row| row.ended_at).collect();
        assert_eq!(ended, [None, Some(NOW.0)]);

        let clock = Clock::manual(NOW.0 + 60_000);
        let sweeper = latchkey_identity::sweeper::Sweeper { db: db.clone(), clock: clock.clone() };
        assert_eq!(sweeper.sweep().await.unwrap(), 1);
        clock.advance(60_000);
        assert_eq!(sweeper.sweep().await.unwrap(), 1);
        assert!(identity::session::find(&db, &ids).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn keys_are_found_listed_revoked_by_their_owner_and_swept() {
    for (db, _folder) in engines().await {
        let year = NOW.plus(365 * Timestamp::DAY);
        for number in 1..=5 {
            keys::insert(&db, key(1, number, year)).await.unwrap();
        }
        let foreign = keys::insert(&db, key(2, 6, NOW)).await.unwrap().id;
        let hashes: Vec<[u8; 32]> = (0..100).map(|number| [number; 32]).collect();
        let asked: Vec<&[u8]> = hashes.iter().map(<[u8; 32]>::as_slice).collect();
        assert_eq!(keys::find(&db, &asked).await.unwrap().len(), 6);

        let first = keys::list(&db, UserId(1), KeyId(0), 3).await.unwrap();
        let rest = keys::list(&db, UserId(1), first[2].id, 3).await.unwrap();
        assert_eq!((first.len(), rest.len()), (3, 2));
        assert!(!keys::revoke(&db, UserId(1), foreign, NOW).await.unwrap());
        assert!(keys::revoke(&db, UserId(1), first[0].id, NOW).await.unwrap());
        assert!(keys::revoke(&db, UserId(1), first[0].id, NOW.plus(1)).await.unwrap());

        let uses = [(first[1].id, NOW.plus(5)), (first[1].id, NOW.plus(3))];
        keys::record_uses(&db, &uses).await.unwrap();
        let listed = keys::list(&db, UserId(1), KeyId(0), 3).await.unwrap();
        assert!(listed[0].is_revoked);
        assert_eq!(listed[1].last_used_at, Some(NOW.plus(5)));

        let clock = Clock::manual(NOW.0 + latchkey_keys::sweeper::RETENTION + 1);
        let sweeper = latchkey_keys::sweeper::Sweeper { db: db.clone(), clock };
        assert_eq!(sweeper.sweep().await.unwrap(), 1);
        assert_eq!(keys::find(&db, &asked).await.unwrap().len(), 5);
    }
}

#[tokio::test]
async fn failed_logins_are_counted_and_forgotten() {
    use latchkey_identity::store::throttle;
    for (db, _folder) in engines().await {
        let name = CredentialHash::of("ada");
        for at in 0..3 {
            throttle::count(&db, &name, NOW.plus(at)).await.unwrap();
        }
        let known = throttle::find(&db, &name).await.unwrap().unwrap();
        assert_eq!((known.failures, known.last_failure_at), (3, NOW.0 + 2));
        throttle::forget(&db, &name).await.unwrap();
        assert_eq!(throttle::find(&db, &name).await.unwrap(), None);
    }
}
