//! What the key service is told of owners as a whole, and what a new epoch does to that and to edges: the stores'
//! part of it, each test on both engines.

use e2e::{ANYBODY, acting_user, order, session_of};
use latchkey_authority::{MemberKey, Store};
use latchkey_contract::keys::{SetOwner, TellOwners, Telling, ToldOwner};
use latchkey_contract::lease::{Epoch, MemberId, Revision};
use latchkey_contract::{CredentialHash, Scopes, Timestamp, UserId};
use latchkey_identity::rules::Canonical;
use latchkey_identity::store as identity;
use latchkey_identity::store::account::NewUser;
use latchkey_identity::store::session_open::Opened;
use latchkey_keys::store as keys;
use latchkey_keys::store::issue::{Inserted, Policy};
use latchkey_keys::store::owner::Outcome;
use latchkey_keys::store::telling;
use latchkey_store::Db;

use crate::store::{SIGNER, engines};

const NOW: Timestamp = Timestamp(1_800_000_000_000);
/// Histories of identity.
const ONE: Epoch = Epoch { made: 1, timeline: 1 };
const TWO: Epoch = Epoch { made: 2, timeline: 1 };

/// The page that is told next, of everybody.
async fn page(db: &Db, of: Epoch, revision: i64, deactivated: &[i64]) -> TellOwners {
    let Telling { version, epoch: keys, .. } = telling::read(db).await.unwrap();
    let (owners, revision) = (deactivated_owners(deactivated), Revision(revision));
    let (after, more, default_ceiling) = (None, false, Some(Scopes::everything()));
    TellOwners { version, keys, of, revision, after, owners, more, default_ceiling }
}

fn deactivated_owners(owners: &[i64]) -> Vec<ToldOwner> {
    let told = |owner: &i64| ToldOwner { owner: UserId(*owner), disabled: true, ceiling: None };
    owners.iter().map(told).collect()
}

async fn take(db: &Db, page: &TellOwners) -> Option<Telling> {
    telling::take(db, page, NOW).await.unwrap()
}

/// Tells of one owner.
async fn set(db: &Db, owner: i64, disabled: bool, (epoch, revision): (Epoch, i64)) -> Outcome {
    let (owner, revision) = (UserId(owner), Revision(revision));
    let told = SetOwner { owner, disabled, ceiling: None, epoch, revision };
    keys::owner::set(db, &told, NOW).await.unwrap()
}

/// Makes a key of an owner, who may be deactivated later; its id.
async fn key(db: &Db, owner: i64) -> i64 {
    let number = u8::try_from(owner).unwrap();
    let key = order(owner, number, NOW, NOW.plus(Timestamp::DAY));
    match keys::issue::insert(db, key, &Policy::default(), &acting_user(owner)).await.unwrap() {
        Inserted::Key(listed) => listed.id.0,
        other => panic!("{other:?}"),
    }
}

/// Opens an account.
async fn user(db: &Db, text: &str) -> UserId {
    let name =
        |text: String| Canonical { shown: text.clone(), canonical: text.clone(), folded: text };
    let (email, username) = (name(format!("{text}@example.com")), name(text.to_owned()));
    let user = NewUser { email: &email, username: &username, password_hash: "x", created_at: NOW };
    UserId(identity::account::insert(db, &user, &ANYBODY).await.unwrap().unwrap())
}

fn hash(owner: i64) -> CredentialHash {
    CredentialHash([u8::try_from(owner).unwrap(); 32])
}

/// Whether the owner of a key is deactivated; nothing where nobody can say.
async fn is_disabled(db: &Db, owner: i64) -> Option<bool> {
    let hash = hash(owner);
    let (_, found) = keys::find(db, &[&hash.0], &[]).await.unwrap();
    let [row] = found.as_slice() else { panic!("{found:?}") };
    row.is_owner_known.then_some(row.disabled_at.is_some())
}

fn edge() -> MemberKey {
    MemberKey { id: MemberId([1; 16]), user: "edge".into() }
}

async fn new_epoch(db: &Db, made: i64) {
    let mut tx = db.begin("new epoch").await.unwrap();
    identity::new_epoch(&mut tx, made, NOW).await.unwrap();
    keys::new_epoch(&mut tx, made).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn what_comes_late_of_a_history_that_was_left_replaces_nothing() {
    for (db, _folder) in engines().await {
        key(&db, 7).await;
        let first = page(&db, ONE, 5, &[7]).await;
        assert!(take(&db, &first).await.unwrap().is_complete(ONE));
        assert_eq!(is_disabled(&db, 7).await, Some(true));
        let second = page(&db, TWO, 3, &[]).await;
        assert!(take(&db, &second).await.unwrap().is_complete(TWO));
        assert_eq!(is_disabled(&db, 7).await, Some(false));

        let lately = telling::read(&db).await.unwrap();
        assert!(matches!(set(&db, 7, true, (ONE, 9)).await, Outcome::Untold));
        assert!(take(&db, &first).await.is_none());
        assert!(take(&db, &second).await.is_none(), "one that comes twice");
        assert_eq!(telling::read(&db).await.unwrap(), lately, "nothing was done");
        assert_eq!(is_disabled(&db, 7).await, Some(false));
        assert!(matches!(set(&db, 7, true, (TWO, 4)).await, Outcome::Set(_)));
        assert_eq!(is_disabled(&db, 7).await, Some(true));
    }
}

#[tokio::test]
async fn what_is_told_as_a_whole_keeps_what_is_newer_and_replaces_what_is_older() {
    for (db, _folder) in engines().await {
        for owner in 2..=6 {
            key(&db, owner).await;
        }
        for (owner, disabled, revision) in
            [(3, true, 4), (5, true, 20), (6, true, 8), (6, false, 21)]
        {
            let told = set(&db, owner, disabled, (ONE, revision)).await;
            assert!(matches!(told, Outcome::Set(_)));
        }
        let whole = page(&db, ONE, 10, &[2, 4, 6]).await;
        let begins = TellOwners { owners: deactivated_owners(&[2, 4]), more: true, ..whole };
        let begun = take(&db, &begins).await.unwrap();
        assert_eq!(begun.through, Some(UserId(4)));
        assert!(begun.is_under_way(ONE) && !begun.is_under_way(TWO) && !begun.is_complete(ONE));
        assert_eq!(is_disabled(&db, 2).await, None, "not everything is told");

        let ends = TellOwners {
            version: begun.version,
            after: begun.through,
            owners: deactivated_owners(&[6]),
            more: false,
            ..begins.clone()
        };
        for other in [
            TellOwners { version: begins.version, ..ends.clone() },
            TellOwners { after: Some(UserId(3)), ..ends.clone() },
            TellOwners { revision: Revision(11), ..ends.clone() },
            TellOwners { of: TWO, ..ends.clone() },
            TellOwners { keys: TWO, ..ends.clone() },
        ] {
            assert!(take(&db, &other).await.is_none(), "{other:?}");
        }
        assert!(take(&db, &ends).await.unwrap().is_complete(ONE));
        for (owner, disabled) in [(2, true), (3, false), (4, true), (5, true), (6, false)] {
            assert_eq!(is_disabled(&db, owner).await, Some(disabled), "{owner}");
        }
        // What was a part of it and comes late is known, or older.
        assert!(matches!(set(&db, 2, true, (ONE, 9)).await, Outcome::Set(_)));
        assert!(matches!(set(&db, 3, true, (ONE, 4)).await, Outcome::Older));
        assert_eq!(is_disabled(&db, 3).await, Some(false));
    }
}

#[tokio::test]
async fn more_owners_than_a_page_looks_at_are_told_in_further_pages() {
    for (db, _folder) in engines().await {
        let many = 2 * i64::try_from(TellOwners::MAX).unwrap() + 7;
        for owner in 1..=many {
            let add = "INSERT INTO keys_disabled_owners (owner_id, disabled_at) VALUES ($1, 1)";
            db.execute(add, latchkey_store::values![owner]).await.unwrap();
        }
        let mut next = page(&db, ONE, 1, &[3]).await;
        let mut pages = 0;
        let all = loop {
            let told = take(&db, &next).await.unwrap();
            pages += 1;
            let Some(through) = told.through else { break told };
            let owners = next.owners.into_iter().filter(|told| told.owner > through).collect();
            next = TellOwners { version: told.version, after: Some(through), owners, ..next };
        };
        assert!(all.is_complete(ONE));
        assert_eq!(pages, 2);
        let left: Vec<(i64,)> =
            db.fetch("SELECT owner_id FROM keys_disabled_owners", &[]).await.unwrap();
        assert_eq!(left, [(3,)]);
    }
}

#[tokio::test]
async fn in_a_new_epoch_nobody_can_say_who_is_deactivated_until_all_is_told_and_no_edge_remembers()
{
    for (db, _folder) in engines().await {
        let store = Store { db: db.clone(), sql: &keys::AUTHORITY };
        key(&db, 7).await;
        assert_eq!(is_disabled(&db, 7).await, Some(false), "nobody has told of anything yet");
        let before = page(&db, ONE, 5, &[]).await;
        assert!(take(&db, &before).await.is_some());
        let old = store.revision().await.unwrap().epoch();
        store.watched(old).await.unwrap();
        store.join(&edge(), 1, NOW).await.unwrap().unwrap();

        new_epoch(&db, 99).await;
        let row = store.revision().await.unwrap();
        assert_eq!((row.epoch().made, row.is_watched()), (99, false));
        store.watched(old).await.unwrap();
        assert!(!store.revision().await.unwrap().is_watched(), "another history was watched");
        assert_eq!(store.members().await.unwrap(), (row.epoch(), Vec::new()));
        assert_eq!(is_disabled(&db, 7).await, None);

        let after = page(&db, ONE, 5, &[7]).await;
        assert!(take(&db, &TellOwners { keys: old, ..after.clone() }).await.is_none());
        assert!(take(&db, &after).await.unwrap().is_complete(ONE));
        assert_eq!(is_disabled(&db, 7).await, Some(true));
    }
}

#[tokio::test]
async fn where_an_owner_is_another_than_before_every_edge_forgets_everything() {
    for (db, _folder) in engines().await {
        let (store, edge) = (Store { db: db.clone(), sql: &keys::AUTHORITY }, edge());
        store.join(&edge, 1, NOW).await.unwrap().unwrap();
        let pruned = async || {
            let (read, changes) = store.renew(&edge, Revision(0)).await.unwrap();
            assert!(changes.rows.is_empty());
            (read.revision, changes.pruned)
        };
        for (deactivated, changes) in [(&[][..], 0), (&[7, 8], 1), (&[7, 8], 1), (&[8], 2)] {
            let told = page(&db, ONE, 5, deactivated).await;
            assert!(take(&db, &told).await.is_some());
            assert_eq!(pruned().await, (Revision(changes), Revision(changes)), "{deactivated:?}");
        }
    }
}

#[tokio::test]
async fn nobody_gets_the_number_of_an_account_or_key_that_is_not_in_the_backup() {
    for (db, _folder) in engines().await {
        let before = (user(&db, "ada").await.0, key(&db, 1).await);
        new_epoch(&db, 99).await;
        let after = (user(&db, "grace").await.0, key(&db, 2).await);
        assert!(after.0 > before.0 + 1_000_000 && after.1 > before.1 + 1_000_000, "{after:?}");
    }
}

#[tokio::test]
async fn the_deactivated_accounts_are_read_in_pages_and_every_session_is_ended() {
    for (db, _folder) in engines().await {
        let users = [user(&db, "ada").await, user(&db, "grace").await, user(&db, "mary").await];
        let all = async |after, most| {
            let told = identity::owners::told(&db, after, most).await.unwrap();
            assert!(told.iter().all(|told| told.disabled && told.ceiling.is_none()), "{told:?}");
            told.into_iter().map(|told| told.owner).collect::<Vec<_>>()
        };
        assert_eq!(all(None, 9).await, []);
        let out = "UPDATE users SET is_active = FALSE WHERE username <> 'grace'";
        db.execute(out, &[]).await.unwrap();
        assert_eq!(all(None, 9).await, [users[0], users[2]]);
        assert_eq!(all(None, 1).await, [users[0]]);
        assert_eq!(all(Some(users[0]), 9).await, [users[2]]);

        let ids: Vec<[u8; 16]> = (0..5).map(|number| [number; 16]).collect();
        for id in &ids {
            let session = session_of(users[1], id[0], NOW, SIGNER);
            let opened = identity::session_open::open(&db, &session, 1, &ANYBODY).await.unwrap();
            assert_eq!(opened, Opened::New);
        }
        identity::session::end_every(&db, NOW).await.unwrap();
        let asked: Vec<&[u8]> = ids.iter().map(<[u8; 16]>::as_slice).collect();
        let (_, found) = identity::session::find(&db, &asked, &[]).await.unwrap();
        assert_eq!(found.len(), ids.len());
        assert!(found.iter().all(|session| session.ended_at == Some(NOW.0)), "{found:?}");
    }
}
