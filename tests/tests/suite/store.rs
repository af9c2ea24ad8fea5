//! The services' stores, each test on both engines: a SQLite file and a Postgres server.

use std::time::Duration;

use e2e::{ANYBODY, Folder, acting_user, ending, order, poll, postgres, session_of};
use latchkey_audit::Action;
use latchkey_authority::store::{Member, MemberKey, Read};
use latchkey_authority::{Change, Store};
use latchkey_contract::keys::SetOwner;
use latchkey_contract::lease::{Epoch, Invalidation, MemberId, Revision, Tag};
use latchkey_contract::{CredentialHash, KeyId, SessionId, Timestamp, UserId};
use latchkey_identity::rules::{self, Canonical};
use latchkey_identity::store as identity;
use latchkey_identity::store::account::NewUser;
use latchkey_identity::store::session_open::{NewSession, Opened};
use latchkey_identity::store::signer::Others;
use latchkey_identity::token::Fingerprint;
use latchkey_keys::store as keys;
use latchkey_keys::store::issue::{Inserted, Order, Policy};
use latchkey_keys::store::owner::Outcome as Owner;
use latchkey_revocation::MemberState;
use latchkey_runtime::Clock;
use latchkey_store::migrate::newest;
use latchkey_store::{Db, MigrationError, OpenError, StoreError};

mod audit;
mod changes;
mod ending;
mod expiring;
mod lists;
mod throttle;

/// When it all happens.
pub const NOW: Timestamp = Timestamp(1_800_000_000_000);
/// How a session ends here.
const ENDED: Action = Action::UserLoggedOut;
/// Bound on a database that is busy.
const SOON: Duration = Duration::from_mins(1);
/// Who signs the tokens of every session here.
pub const SIGNER: Fingerprint = Fingerprint([1; 16]);

/// Both engines, migrated. The folder lives as long as its database.
pub async fn engines() -> [(Db, Option<Folder>); 2] {
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
        identity::signer::take_up(db, &[SIGNER], Others::Stay, &ANYBODY, NOW).await.unwrap();
    }
    [(sqlite, Some(folder)), (postgres, None)]
}

pub fn name(text: &str) -> Canonical {
    let canonical = text.to_lowercase();
    Canonical { shown: text.to_owned(), folded: rules::folded(&canonical), canonical }
}

pub async fn user(db: &Db, text: &str) -> Option<i64> {
    let (email, username) = (name(&format!("{text}@example.com")), name(text));
    let user = NewUser { email: &email, username: &username, password_hash: "x", created_at: NOW };
    identity::account::insert(db, &user, &ANYBODY).await.unwrap()
}

fn key(owner: i64, number: u8, expires_at: Timestamp) -> Order {
    order(owner, number, NOW, expires_at)
}

async fn insert(db: &Db, key: Order) -> KeyId {
    let owner = acting_user(key.owner.0);
    match keys::issue::insert(db, key, &Policy::default(), &owner).await.unwrap() {
        Inserted::Key(made) => made.id,
        other => panic!("{other:?}"),
    }
}

/// Revokes a key as its owner; nothing where there is no such key.
async fn revoke(db: &Db, owner: UserId, key: KeyId, now: Timestamp) -> Option<Change> {
    let (request, owner) = (ending(owner, key), acting_user(owner.0));
    keys::revoke(db, &request, &owner, now).await.unwrap().change()
}

/// Tells the key service of an owner, as decided under this revision.
async fn disable(db: &Db, owner: i64, disabled: bool, revision: i64) -> Option<Change> {
    let epoch = Epoch { made: 1, timeline: 1 };
    let owner = UserId(owner);
    let revision = Revision(revision);
    let told = SetOwner { owner, disabled, ceiling: None, epoch, revision };
    match patiently(|| keys::owner::set(db, &told, NOW)).await {
        Owner::Set(change) => Some(change),
        Owner::Older | Owner::Untold => None,
    }
}

/// Asks again while the database cannot answer, as whoever is told 503 does: where many write at once on a slow
/// machine, the one writer may be held for longer than a statement waits.
pub async fn patiently<T, F>(ask: impl Fn() -> F + Send + Sync) -> T
where
    T: Send,
    F: Future<Output = Result<T, StoreError>> + Send,
{
    let once = async || match ask().await {
        Err(error) if error.is_away() => None,
        told => Some(told.unwrap()),
    };
    poll::until_async("the database answers", SOON, once).await
}

#[tokio::test]
async fn each_cost_of_the_accounts_hashes_is_found_once() {
    for (db, _folder) in engines().await {
        let costs = ["$argon2id$v=19$m=19456,t=2,p=1", "$argon2id$v=19$m=8192,t=1,p=1"];
        for number in 0..20 {
            let (email, username) = (name(&format!("{number}@x.org")), name(&format!("n{number}")));
            // 22 characters of salt, 43 of hash.
            let rest = format!("${number:022}${:043}", 7 * number);
            let password_hash = &format!("{}{rest}", costs[number % 2]);
            let user =
                NewUser { email: &email, username: &username, password_hash, created_at: NOW };
            identity::account::insert(&db, &user, &ANYBODY).await.unwrap();
        }
        // What is no such hash is not among them.
        user(&db, "strange").await.unwrap();
        let mut found = identity::account::costs_in_use(&db).await.unwrap();
        found.sort_unstable();
        assert_eq!(found, costs);
    }
}

#[tokio::test]
async fn every_statement_is_understood_by_both_engines() {
    for (db, _folder) in engines().await {
        let sqlite = matches!(db, Db::Sqlite(_));
        let all = [identity::statements(sqlite), keys::statements(sqlite)].concat();
        assert!(all.len() > 15);
        for sql in all {
            let prepared = db.check(sql).await;
            assert!(prepared.is_ok(), "{sql}: {prepared:?}");
        }
    }
}

#[tokio::test]
async fn migrations_are_taken_once_and_a_step_of_a_later_release_is_left_alone() {
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
        db.execute(newer, &[]).await.unwrap();
        assert!(db.migrate("keys", keys::MIGRATIONS).await.unwrap().is_empty());
        db.execute("UPDATE keys_schema SET lowest = 99", &[]).await.unwrap();
        let refused = db.migrate("keys", keys::MIGRATIONS).await;
        let Err(MigrationError::Superseded { lowest: 99, known, .. }) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(known, newest(keys::MIGRATIONS));
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
        let (email, username) = (name("ada@example.com"), name("grace"));
        let taken = identity::account::taken(&db, &email, &username).await.unwrap();
        assert!(taken.email && !taken.username);
    }
}

#[tokio::test]
async fn sessions_end_and_are_swept_when_they_are_over() {
    for (db, _folder) in engines().await {
        let owner = UserId(user(&db, "ada").await.unwrap());
        for (id, lives) in [(1, 1_000), (2, 90_000)] {
            let session =
                NewSession { expires_at: NOW.plus(lives), ..session_of(owner, id, NOW, SIGNER) };
            let opened = identity::session_open::open(&db, &session, 1, &ANYBODY).await.unwrap();
            assert_eq!(opened, Opened::New);
        }
        let gone =
            identity::session::end(&db, &SessionId([9; 16]), (ENDED, &ANYBODY), NOW).await.unwrap();
        assert!(gone.is_none());
        let id = SessionId([2; 16]);
        let change =
            identity::session::end(&db, &id, (ENDED, &ANYBODY), NOW).await.unwrap().unwrap();
        assert_eq!(change.tag, Tag::Credential(CredentialHash([2; 32])));
        assert_eq!((change.revision(), change.earlier), (Revision(1), None));
        let again =
            identity::session::end(&db, &id, (ENDED, &ANYBODY), NOW).await.unwrap().unwrap();
        assert_eq!(again.earlier, Some((Revision(1), false)));
        identity::session::mark_confirmed(&db, &id, Revision(1)).await.unwrap();
        let settled =
            identity::session::end(&db, &id, (ENDED, &ANYBODY), NOW).await.unwrap().unwrap();
        assert_eq!(settled.earlier, Some((Revision(1), true)));
        let ids: [&[u8]; 3] = [&[1; 16], &[2; 16], &[3; 16]];
        let (_, mut found) = identity::session::find(&db, &ids, &[]).await.unwrap();
        found.sort_by(|a, b| a.id.cmp(&b.id));
        let ended: Vec<_> = found.iter().map(|row| row.ended_at).collect();
        assert_eq!(ended, [None, Some(NOW.0)]);

        // A row stays for an hour behind its session's end.
        let clock = Clock::manual(NOW.0 + 60 * 60_000 + 60_000);
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
            insert(&db, key(1, number, year)).await;
        }
        let foreign = insert(&db, key(2, 6, NOW)).await;
        let hashes: Vec<[u8; 32]> = (0..100).map(|number| [number; 32]).collect();
        let asked: Vec<&[u8]> = hashes.iter().map(<[u8; 32]>::as_slice).collect();
        assert_eq!(keys::find(&db, &asked, &[]).await.unwrap().1.len(), 6);

        let first = keys::key::list(&db, UserId(1), KeyId(0), 3, NOW).await.unwrap();
        let rest = keys::key::list(&db, UserId(1), first[2].id, 3, NOW).await.unwrap();
        assert_eq!((first.len(), rest.len()), (3, 2));
        assert!(revoke(&db, UserId(1), foreign, NOW).await.is_none());
        let change = revoke(&db, UserId(1), first[0].id, NOW).await.unwrap();
        assert_eq!(change.tag, Tag::Credential(CredentialHash([1; 32])));
        assert_eq!((change.revision(), change.earlier), (Revision(1), None));
        let again = revoke(&db, UserId(1), first[0].id, NOW.plus(1)).await.unwrap();
        assert_eq!(again.earlier, Some((Revision(1), false)));
        keys::mark_confirmed(&db, first[0].id, Revision(1)).await.unwrap();
        let settled = revoke(&db, UserId(1), first[0].id, NOW).await.unwrap();
        assert_eq!(settled.earlier, Some((Revision(1), true)));
        let all = disable(&db, 2, true, 1).await.unwrap();
        assert_eq!((all.tag, all.revision()), (Tag::of_user(UserId(2)), Revision(2)));
        let (_, found) = keys::find(&db, &[&[6; 32]], &[]).await.unwrap();
        assert!(found[0].disabled_at.is_some());
        disable(&db, 2, false, 2).await.unwrap();
        let (_, found) = keys::find(&db, &[&[6; 32]], &[]).await.unwrap();
        assert_eq!(found[0].disabled_at, None);

        let uses = [(first[1].id, NOW.plus(5)), (first[2].id, NOW.plus(5))];
        keys::record_uses(&db, &uses).await.unwrap();
        let uses = [(first[1].id, NOW.plus(3)), (first[2].id, NOW.plus(7)), (KeyId(99), NOW)];
        keys::record_uses(&db, &uses).await.unwrap();
        keys::record_uses(&db, &[]).await.unwrap();
        let listed = keys::key::list(&db, UserId(1), KeyId(0), 3, NOW).await.unwrap();
        assert!(listed[0].is_revoked());
        let last: Vec<_> = listed.iter().map(|key| key.last_used_at).collect();
        assert_eq!(last, [None, Some(NOW.plus(5)), Some(NOW.plus(7))]);
        // A time that was never one of a use is put right by the next that was.
        for at in [NOW.plus(1_000 * Timestamp::DAY), NOW.plus(9)] {
            keys::record_uses(&db, &[(first[1].id, at)]).await.unwrap();
        }
        let listed = keys::key::list(&db, UserId(1), KeyId(0), 3, NOW).await.unwrap();
        assert_eq!(listed[1].last_used_at, Some(NOW.plus(9)));

        let clock = Clock::manual(NOW.0 + latchkey_keys::sweeper::RETENTION + 1);
        let sweeper = latchkey_keys::sweeper::Sweeper { db: db.clone(), clock };
        assert_eq!(sweeper.sweep().await.unwrap(), 1);
        assert_eq!(keys::find(&db, &asked, &[]).await.unwrap().1.len(), 5);
    }
}

fn member(id: u8, user: &str) -> MemberKey {
    MemberKey { id: MemberId([id; 16]), user: user.into() }
}

#[tokio::test]
async fn an_authority_answers_members_from_one_snapshot_and_tells_what_they_missed() {
    for (db, _folder) in engines().await {
        let store = Store { db: db.clone(), sql: &keys::AUTHORITY };
        let (one, two) = (member(1, "edge"), member(2, "member"));
        let joined = store.join(&one, 2, NOW).await.unwrap().expect("nobody has had this id");
        assert_eq!((joined.revision(), joined.epoch().made), (Revision(0), 7));
        for user in ["edge", "member"] {
            let again = store.join(&member(1, user), 2, NOW).await.unwrap();
            assert_eq!(again, None, "an id is used once");
        }
        store.join(&two, 1, NOW).await.unwrap().unwrap();
        let id = insert(&db, key(1, 1, NOW.plus(1_000))).await;
        revoke(&db, UserId(1), id, NOW).await.unwrap();
        disable(&db, 3, true, 1).await.unwrap();

        let (snapshot, changes) = store.renew(&one, Revision(0)).await.unwrap();
        assert_eq!(
            (snapshot.membership, snapshot.revision),
            (Some(MemberState::Member), Revision(2))
        );
        let tags = [Tag::Credential(CredentialHash([1; 32])), Tag::of_user(UserId(3))];
        let expected = tags.into_iter().zip([Revision(1), Revision(2)]);
        let expected = expected.map(|(tag, revision)| Invalidation { revision, tag });
        assert_eq!(changes.rows, expected.collect::<Vec<_>>());
        assert_eq!(store.renew(&one, Revision(1)).await.unwrap().1.rows.len(), 1);

        // To another user it is no member.
        let (another, _) = store.renew(&member(1, "member"), Revision(0)).await.unwrap();
        assert_eq!((another.membership, another.revision), (None, Revision(2)));

        store.retire(two.id).await.unwrap();
        let (epoch, mut all) = store.members().await.unwrap();
        all.sort_unstable_by_key(|member| member.key.id);
        let listed = |key: &MemberKey, contract| Member { key: key.clone(), contract };
        let expected = vec![listed(&one, 2), listed(&two, 1)];
        assert_eq!((epoch, all), (joined.epoch(), expected), "retired ones are waited for");
        let asked: [&[u8]; 3] = [&[1; 16], &[2; 16], &[3; 16]];
        let (read, _): (Read, _) = keys::find(&db, &[&[1; 32]], &asked).await.unwrap();
        let standing = |key: &MemberKey| read.for_asker(Some(key)).membership;
        assert_eq!(standing(&one), Some(MemberState::Member));
        assert_eq!(standing(&two), Some(MemberState::Retired));
        for nobody in [member(1, "member"), member(1, ""), member(3, "edge")] {
            assert_eq!(standing(&nobody), None, "{nobody:?}");
        }
        assert_eq!(read.for_asker(None).revision, Revision(2));

        store.delete_retired(one.id).await.unwrap();
        store.delete_retired(two.id).await.unwrap();
        store.leave(&member(1, "member")).await.unwrap();
        let left = store.members().await.unwrap().1;
        assert_eq!(left, [listed(&one, 2)], "a member goes as itself, and not as a retired one");
        store.leave(&one).await.unwrap();
        assert_eq!(store.members().await.unwrap().1, []);

        assert_eq!(store.prune(NOW.plus(1), 1).await.unwrap(), 1);
        let (_, changes) = store.renew(&one, Revision(0)).await.unwrap();
        assert_eq!((changes.pruned, changes.rows.len()), (Revision(1), 1));
        assert!(!store.revision().await.unwrap().is_watched());
        store.watched(joined.epoch()).await.unwrap();
        assert!(store.revision().await.unwrap().is_watched());
    }
}

#[tokio::test]
async fn changes_at_once_take_every_position_once_and_in_the_order_of_their_commits() {
    for (db, _folder) in engines().await {
        let (store, many) = (Store { db: db.clone(), sql: &keys::AUTHORITY }, 40);
        let changes: Vec<_> = (0..many)
            .map(|owner| {
                let db = db.clone();
                tokio::spawn(async move { disable(&db, owner, true, 1).await })
            })
            .collect();
        let mut seen = Revision(0);
        let mut revisions = Vec::new();
        for change in changes {
            // Whoever sees a revision sees every one before it.
            let (snapshot, missed) = store.renew(&member(1, "edge"), seen).await.unwrap();
            let told: Vec<_> = missed.rows.iter().map(|change| change.revision.0).collect();
            assert_eq!(told, (seen.0 + 1..=snapshot.revision.0).collect::<Vec<_>>());
            seen = snapshot.revision;
            revisions.push(change.await.unwrap().expect("a first change").revision().0);
        }
        revisions.sort_unstable();
        assert_eq!(revisions, (1..=many).collect::<Vec<_>>());
    }
}
