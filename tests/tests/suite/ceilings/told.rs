//! Ceilings in the key service's database: what is told late does nothing, and what is told as a whole replaces what was.
//! Each test on both engines.

use e2e::{acting_user, order};
use latchkey_authority::Store;
use latchkey_contract::keys::{SetDefaultCeiling, SetOwner, TellOwners, Telling, ToldOwner};
use latchkey_contract::lease::{Epoch, Revision};
use latchkey_contract::{Scopes, UserId};
use latchkey_keys::store as keys;
use latchkey_keys::store::acting::Barred;
use latchkey_keys::store::issue::{self, Inserted, Order, Policy};
use latchkey_keys::store::owner::{self, Outcome};
use latchkey_keys::store::{acting, telling};
use latchkey_store::Db;

use crate::store::{NOW, engines};

/// Histories of identity.
const ONE: Epoch = Epoch { made: 1, timeline: 1 };
const TWO: Epoch = Epoch { made: 2, timeline: 1 };

fn scopes(text: &str) -> Scopes {
    Scopes::parse(text).unwrap()
}

async fn of(db: &Db, owner: i64) -> String {
    let mut tx = db.begin("read a ceiling").await.unwrap();
    acting::ceiling(&mut tx, UserId(owner)).await.unwrap().as_text().to_owned()
}

async fn set(db: &Db, owner: i64, text: Option<&str>, (epoch, revision): (Epoch, i64)) -> Outcome {
    let (owner, ceiling, revision) = (UserId(owner), text.map(scopes), Revision(revision));
    let told = SetOwner { owner, disabled: false, ceiling, epoch, revision };
    owner::set(db, &told, NOW).await.unwrap()
}

async fn set_default(db: &Db, text: &str, (epoch, revision): (Epoch, i64)) -> Outcome {
    let told = SetDefaultCeiling { ceiling: scopes(text), epoch, revision: Revision(revision) };
    owner::set_default(db, &told).await.unwrap()
}

/// The page that is told next, of everybody.
async fn page(db: &Db, of: Epoch, revision: i64, ceilings: &[(i64, &str)]) -> TellOwners {
    let Telling { version, epoch: keys, .. } = telling::read(db).await.unwrap();
    let owner = |(owner, text): &(i64, &str)| ToldOwner {
        owner: UserId(*owner),
        disabled: false,
        ceiling: Some(scopes(text)),
    };
    let owners = ceilings.iter().map(owner).collect();
    let (revision, after, more) = (Revision(revision), None, false);
    let default_ceiling = Some(scopes("* default"));
    TellOwners { version, keys, of, revision, after, owners, more, default_ceiling }
}

async fn take(db: &Db, page: &TellOwners) -> Telling {
    telling::take(db, page, NOW).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_ceiling_that_is_told_late_does_nothing() {
    for (db, _folder) in engines().await {
        assert_eq!(of(&db, 7).await, "*", "nobody has told of anything yet");
        assert!(matches!(set(&db, 7, Some("a"), (ONE, 5)).await, Outcome::Set(_)));
        assert!(matches!(set(&db, 7, Some("a"), (ONE, 5)).await, Outcome::Set(_)), "a repeat");
        assert!(matches!(set(&db, 7, Some("b"), (ONE, 4)).await, Outcome::Older));
        assert!(matches!(set(&db, 7, None, (ONE, 4)).await, Outcome::Older));
        assert_eq!(of(&db, 7).await, "a");
        assert!(matches!(set(&db, 7, Some(""), (ONE, 6)).await, Outcome::Set(_)));
        assert_eq!(of(&db, 7).await, "");
        assert!(matches!(set(&db, 7, None, (ONE, 7)).await, Outcome::Set(_)));
        assert!(matches!(set(&db, 7, Some("a"), (ONE, 5)).await, Outcome::Older));
        assert_eq!(of(&db, 7).await, "*");
        // A standby took over: its timeline is newer.
        assert!(matches!(
            set(&db, 7, Some("c"), (Epoch { timeline: 2, ..ONE }, 1)).await,
            Outcome::Set(_)
        ));
        assert!(matches!(set(&db, 7, None, (ONE, 99)).await, Outcome::Older));
        assert_eq!(of(&db, 7).await, "c");
    }
}

#[tokio::test]
async fn the_ceiling_of_all_users_is_the_newest_and_each_change_is_one_of_everything() {
    for (db, _folder) in engines().await {
        let store = Store { db: db.clone(), sql: &keys::AUTHORITY };
        let revision = async || store.revision().await.unwrap().revision();
        assert!(matches!(set_default(&db, "* x", (ONE, 5)).await, Outcome::Set(_)));
        assert_eq!((of(&db, 7).await.as_str(), revision().await), ("* x", Revision(1)));
        assert!(matches!(set_default(&db, "y", (ONE, 4)).await, Outcome::Older));
        assert!(matches!(set_default(&db, "* x", (ONE, 4)).await, Outcome::Set(_)), "known");
        assert!(matches!(set_default(&db, "", (ONE, 6)).await, Outcome::Set(_)));
        assert_eq!(of(&db, 7).await, "");
        assert!(matches!(set(&db, 7, Some("a"), (ONE, 7)).await, Outcome::Set(_)));
        assert_eq!((of(&db, 7).await.as_str(), of(&db, 8).await.as_str()), ("a", ""));
        // Of another history, while none is told as a whole.
        assert!(matches!(set_default(&db, "z", (TWO, 1)).await, Outcome::Set(_)));
        assert_eq!(of(&db, 8).await, "z");
        // And of one that is not told while another is.
        take(&db, &page(&db, ONE, 9, &[]).await).await;
        assert!(matches!(set_default(&db, "w", (TWO, 99)).await, Outcome::Untold));
        assert_eq!(of(&db, 8).await, "* default");
    }
}

#[tokio::test]
async fn what_is_told_as_a_whole_keeps_newer_ceilings_and_replaces_older_ones() {
    for (db, _folder) in engines().await {
        for (owner, revision) in [(3, 4), (5, 20)] {
            set(&db, owner, Some("old"), (ONE, revision)).await;
        }
        set_default(&db, "newer", (ONE, 21)).await;
        let told = take(&db, &page(&db, ONE, 10, &[(2, "b"), (4, "c d")]).await).await;
        assert!(told.is_complete(ONE));
        for (owner, expected) in [(2, "b"), (3, "newer"), (4, "c d"), (5, "old"), (6, "newer")] {
            assert_eq!(of(&db, owner).await, expected, "{owner}");
        }
        // What was a part of it and comes late is known, or older.
        assert!(matches!(set(&db, 2, Some("b"), (ONE, 9)).await, Outcome::Set(_)));
        assert!(matches!(set(&db, 2, Some("x"), (ONE, 9)).await, Outcome::Older));
        // Another history is the truth, also of what was newer.
        take(&db, &page(&db, TWO, 1, &[(5, "e")]).await).await;
        for (owner, expected) in [(2, "* default"), (3, "* default"), (5, "e")] {
            assert_eq!(of(&db, owner).await, expected, "{owner}");
        }
    }
}

#[tokio::test]
async fn a_restored_database_is_told_of_ceilings_again_and_the_release_before_tells_none() {
    for (db, _folder) in engines().await {
        take(&db, &page(&db, ONE, 5, &[(7, "a")]).await).await;
        let mut tx = db.begin("new epoch").await.unwrap();
        keys::new_epoch(&mut tx, 99).await.unwrap();
        tx.commit().await.unwrap();
        assert!(!telling::read(&db).await.unwrap().is_complete(ONE));
        // It leaves them alone, and is not all that there is to tell.
        let before = page(&db, ONE, 6, &[]).await;
        let told = take(&db, &TellOwners { default_ceiling: None, ..before }).await;
        assert!(!told.is_complete(ONE) && told.through.is_none());
        assert_eq!(of(&db, 7).await, "a");
        assert!(take(&db, &page(&db, TWO, 7, &[]).await).await.is_complete(TWO));
        assert_eq!(of(&db, 7).await, "* default");
    }
}

#[tokio::test]
async fn a_telling_that_began_without_ceilings_is_not_complete_with_them() {
    for (db, _folder) in engines().await {
        let first = page(&db, ONE, 5, &[(7, "a"), (9, "b")]).await;
        let disabled =
            |told: &ToldOwner| ToldOwner { disabled: true, ceiling: None, ..told.clone() };
        let owners = first.owners.iter().map(disabled).collect();
        let begun =
            take(&db, &TellOwners { default_ceiling: None, owners, more: true, ..first.clone() })
                .await;
        assert!(begun.is_under_way(ONE));
        let (version, after, owners) = (begun.version, begun.through, Vec::new());
        let ended = take(&db, &TellOwners { version, after, owners, ..first }).await;
        assert!(ended.through.is_none() && !ended.is_complete(ONE), "{ended:?}");
        let whole = page(&db, ONE, 5, &[(7, "a"), (9, "b")]).await;
        assert!(take(&db, &whole).await.is_complete(ONE));
        assert_eq!((of(&db, 7).await.as_str(), of(&db, 9).await.as_str()), ("a", "b"));
    }
}

#[tokio::test]
async fn more_ceilings_than_a_page_looks_at_are_replaced_in_further_pages() {
    for (db, _folder) in engines().await {
        let many = 2 * i64::try_from(TellOwners::MAX).unwrap() + 7;
        for owner in 1..=many {
            let add = "INSERT INTO keys_ceilings (owner_id, ceiling) VALUES ($1, 'old')";
            db.execute(add, latchkey_store::values![owner]).await.unwrap();
        }
        let mut next = page(&db, ONE, 1, &[(3, "a")]).await;
        let mut pages = 0;
        let all = loop {
            let told = take(&db, &next).await;
            pages += 1;
            let Some(through) = told.through else { break told };
            let owners = next.owners.into_iter().filter(|told| told.owner > through).collect();
            next = TellOwners { version: told.version, after: Some(through), owners, ..next };
        };
        assert!(all.is_complete(ONE));
        assert_eq!(pages, 2);
        let left: Vec<(i64, String)> =
            db.fetch("SELECT owner_id, ceiling FROM keys_ceilings", &[]).await.unwrap();
        assert_eq!(left, [(3, "a".to_owned())]);
    }
}

#[tokio::test]
async fn a_key_that_would_be_granted_what_is_reserved_waits_until_it_is_told_who_may() {
    for (db, _folder) in engines().await {
        let policy = Policy { default_scopes: scopes("* latchkey:verify"), ..Policy::default() };
        let owner = acting_user(7);
        let make = async |number: u8, text: Option<&str>| {
            let order = order(7, number, NOW, NOW.plus(60_000));
            let order = Order { scopes: text.map(scopes), ..order };
            issue::insert(&db, order, &policy, &owner).await.unwrap()
        };
        for text in [Some("orders:read latchkey:verify"), None] {
            assert_eq!(make(1, text).await, Inserted::Barred(Barred::Untold), "{text:?}");
        }
        assert!(matches!(make(2, Some("orders:read")).await, Inserted::Key(_)));
        set_default(&db, "* latchkey:verify", (ONE, 1)).await;
        for (number, text) in [(3, Some("orders:read latchkey:verify")), (4, None)] {
            let Inserted::Key(key) = make(number, text).await else { panic!("{text:?}") };
            assert!(key.scopes.cover("latchkey:verify"), "nothing of it was cut: {text:?}");
        }
    }
}
