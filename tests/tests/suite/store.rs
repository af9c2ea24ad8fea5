//! The services' stores, each test on both engines: a SQLite file and a Postgres server.

use e2e::{Folder, postgres};
use latchkey_authority::Store;
use latchkey_authority::store::Read;
use latchkey_contract::lease::{Invalidation, MemberId, Position, Subject};
use latchkey_contract::{CredentialHash, KeyId, SessionId, Timestamp, UserId};
use latchkey_identity::rules::Canonical;
use latchkey_identity::store as identity;
use latchkey_identity::store::account::NewUser;
use latchkey_identity::store::session::NewSession;
use latchkey_keys::store as keys;
use latchkey_keys::store::NewKey;
use latchkey_revocation::MemberState;
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
        for sql in [&identity::AUTHORITY, &keys::AUTHORITY] {
            Store { db: db.clone(), sql }.begin(7).await.unwrap();
        }
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
            FROM keys_migrations WHERE version = 1";
        on!(write & db, |at| sqlx::query(newer).execute(at).await.map(drop)).unwrap();
        let refused = db.migrate("keys", keys::MIGRATIONS).await;
        assert!(matches!(refused, Err(MigrationError::Newer { version: 99, known: 2, .. })));
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
            let session = NewSession {
                id,
                user: owner,
                created_at: NOW,
                expires_at: NOW.plus(lives),
                token: CredentialHash([id.0[0]; 32]),
            };
            identity::session::insert(&db, &session).await.unwrap();
        }
        let gone = identity::session::end(&db, &SessionId([9; 16]), NOW).await.unwrap();
        assert!(gone.is_none());
        let id = SessionId([2; 16]);
        let change = identity::session::end(&db, &id, NOW).await.unwrap().unwrap();
        assert_eq!(change.subject, Subject::Credential(CredentialHash([2; 32])));
        assert_eq!((change.position(), change.earlier), (Position(1), None));
        let again = identity::session::end(&db, &id, NOW).await.unwrap().unwrap();
        assert_eq!(again.earlier, Some((Position(1), false)));
        identity::session::settle(&db, &id, Position(1)).await.unwrap();
        let settled = identity::session::end(&db, &id, NOW).await.unwrap().unwrap();
        assert_eq!(settled.earlier, Some((Position(1), true)));
        let ids: [&[u8]; 3] = [&[1; 16], &[2; 16], &[3; 16]];
        let (_, mut found) = identity::session::find(&db, &ids, &[]).await.unwrap();
        found.sort_by(|a, b| a.id.cmp(&b.id));
        let ended: Vec<_> = found.iter().map(|row| row.ended_at).collect();
        assert_eq!(ended, [None, Some(NOW.0)]);

        let clock = Clock::manual(NOW.0 + 60_000);
        let sweeper = latchkey_identity::sweeper::Sweeper { db: db.clone(), clock: clock.clone() };
        assert_eq!(sweeper.sweep().await.unwrap(), 1);
        clock.advance(60_000);
        assert_eq!(sweeper.sweep().await.unwrap(), 1);
        assert!(identity::session::find(&db, &ids, &[]).await.unwrap().1.is_empty());
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
        assert_eq!(keys::find(&db, &asked, &[]).await.unwrap().1.len(), 6);

        let first = keys::list(&db, UserId(1), KeyId(0), 3).await.unwrap();
        let rest = keys::list(&db, UserId(1), first[2].id, 3).await.unwrap();
        assert_eq!((first.len(), rest.len()), (3, 2));
        assert!(keys::revoke(&db, UserId(1), foreign, NOW).await.unwrap().is_none());
        let change = keys::revoke(&db, UserId(1), first[0].id, NOW).await.unwrap().unwrap();
        assert_eq!(change.subject, Subject::Credential(CredentialHash([1; 32])));
        assert_eq!((change.position(), change.earlier), (Position(1), None));
        let again = keys::revoke(&db, UserId(1), first[0].id, NOW.plus(1)).await.unwrap().unwrap();
        assert_eq!(again.earlier, Some((Position(1), false)));
        keys::settle(&db, first[0].id, Position(1)).await.unwrap();
        let settled = keys::revoke(&db, UserId(1), first[0].id, NOW).await.unwrap().unwrap();
        assert_eq!(settled.earlier, Some((Position(1), true)));
        let all = keys::disable(&db, UserId(2), true, NOW).await.unwrap();
        assert_eq!((all.subject, all.position()), (Subject::Owner(UserId(2)), Position(2)));
        let (_, found) = keys::find(&db, &[&[6; 32]], &[]).await.unwrap();
        assert!(found[0].disabled_at.is_some());
        keys::disable(&db, UserId(2), false, NOW).await.unwrap();
        let (_, found) = keys::find(&db, &[&[6; 32]], &[]).await.unwrap();
        assert_eq!(found[0].disabled_at, None);

        let uses = [(first[1].id, NOW.plus(5)), (first[2].id, NOW.plus(5))];
        keys::record_uses(&db, &uses).await.unwrap();
        let uses = [(first[1].id, NOW.plus(3)), (first[2].id, NOW.plus(7)), (KeyId(99), NOW)];
        keys::record_uses(&db, &uses).await.unwrap();
        keys::record_uses(&db, &[]).await.unwrap();
        let listed = keys::list(&db, UserId(1), KeyId(0), 3).await.unwrap();
        assert!(listed[0].is_revoked);
        let last: Vec<_> = listed.iter().map(|key| key.last_used_at).collect();
        assert_eq!(last, [None, Some(NOW.plus(5)), Some(NOW.plus(7))]);

        let clock = Clock::manual(NOW.0 + latchkey_keys::sweeper::RETENTION + 1);
        let sweeper = latchkey_keys::sweeper::Sweeper { db: db.clone(), clock };
        assert_eq!(sweeper.sweep().await.unwrap(), 1);
        assert_eq!(keys::find(&db, &asked, &[]).await.unwrap().1.len(), 5);
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

#[tokio::test]
async fn an_authority_answers_members_from_one_snapshot_and_tells_what_they_missed() {
    for (db, _folder) in engines().await {
        let store = Store { db: db.clone(), sql: &keys::AUTHORITY };
        let (one, two) = (MemberId([1; 16]), MemberId([2; 16]));
        let joined = store.join(one, NOW).await.unwrap();
        assert_eq!((joined.position(), joined.epoch().made), (Position(0), 7));
        assert!(store.join(one, NOW).await.is_err(), "an id is used once");
        store.join(two, NOW).await.unwrap();
        let id = keys::insert(&db, key(1, 1, NOW.plus(1_000))).await.unwrap().id;
        keys::revoke(&db, UserId(1), id, NOW).await.unwrap().unwrap();
        keys::disable(&db, UserId(3), true, NOW).await.unwrap();

        let (snapshot, changes) = store.renew(one, Position(0)).await.unwrap();
        assert_eq!(
            (snapshot.membership, snapshot.position),
            (Some(MemberState::Member), Position(2))
        );
        let subjects = [Subject::Credential(CredentialHash([1; 32])), Subject::Owner(UserId(3))];
        let expected = subjects.into_iter().zip([Position(1), Position(2)]);
        let expected = expected.map(|(subject, position)| Invalidation { position, subject });
        assert_eq!(changes.rows, expected.collect::<Vec<_>>());
        assert_eq!(store.renew(one, Position(1)).await.unwrap().1.rows.len(), 1);

        store.retire(two).await.unwrap();
        let (epoch, mut all) = store.members().await.unwrap();
        all.sort_unstable();
        assert_eq!((epoch, all), (joined.epoch(), vec![one, two]), "retired ones are waited for");
        let asked: [&[u8]; 3] = [&[1; 16], &[2; 16], &[3; 16]];
        let (read, _): (Read, _) = keys::find(&db, &[&[1; 32]], &asked).await.unwrap();
        let standing = |member: u8| read.for_asker(Some(MemberId([member; 16]))).membership;
        assert_eq!(standing(1), Some(MemberState::Member));
        assert_eq!(standing(2), Some(MemberState::Retired));
        assert_eq!(standing(3), None);
        assert_eq!(read.for_asker(None).position, Position(2));

        store.delete_retired(one).await.unwrap();
        store.delete_retired(two).await.unwrap();
        assert_eq!(
            store.members().await.unwrap().1,
            [one],
            "a member is not deleted as a retired one"
        );
        store.leave(one).await.unwrap();
        assert_eq!(store.members().await.unwrap().1, []);

        assert_eq!(store.prune(NOW.plus(1), 1).await.unwrap(), 1);
        let (_, changes) = store.renew(one, Position(0)).await.unwrap();
        assert_eq!((changes.pruned, changes.rows.len()), (Position(1), 1));
        assert!(!store.position().await.unwrap().is_watched());
        store.watched(joined.epoch().timeline).await.unwrap();
        assert!(store.position().await.unwrap().is_watched());
    }
}

#[tokio::test]
async fn changes_at_once_take_every_position_once_and_in_the_order_of_their_commits() {
    for (db, _folder) in engines().await {
        let (store, many) = (Store { db: db.clone(), sql: &keys::AUTHORITY }, 40);
        let changes: Vec<_> = (0..many)
            .map(|owner| {
                let db = db.clone();
                tokio::spawn(async move { keys::disable(&db, UserId(owner), true, NOW).await })
            })
            .collect();
        let mut seen = Position(0);
        let mut positions = Vec::new();
        for change in changes {
            // Whoever sees a position sees every one before it.
            let (snapshot, missed) = store.renew(MemberId([1; 16]), seen).await.unwrap();
            let told: Vec<_> = missed.rows.iter().map(|change| change.position.0).collect();
            assert_eq!(told, (seen.0 + 1..=snapshot.position.0).collect::<Vec<_>>());
            seen = snapshot.position;
            positions.push(change.await.unwrap().unwrap().position().0);
        }
        positions.sort_unstable();
        assert_eq!(positions, (1..=many).collect::<Vec<_>>());
    }
}
