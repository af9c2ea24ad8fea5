//! Ceilings in identity's database: who decides, what comes late, and what the key service has to be told. Each test on
//! both engines.

use e2e::{ANYBODY, session_of};
use latchkey_authority::Store;
use latchkey_contract::identity::{SetActive, SetCeiling};
use latchkey_contract::keys::SetOwner;
use latchkey_contract::lease::Revision;
use latchkey_contract::{Mark, Scopes, UserId};
use latchkey_identity::store as identity;
use latchkey_identity::store::account::NewUser;
use latchkey_identity::store::activity::{self, Outcome};
use latchkey_identity::store::ceiling;
use latchkey_identity::store::outbox::{self, Letter};
use latchkey_identity::store::session::{self, SessionRow};
use latchkey_identity::store::session_open::{self, NewSession, Opened};
use latchkey_identity::store::settings;
use latchkey_store::{Db, values};

use crate::store::{NOW, SIGNER, engines, name};

async fn user(db: &Db) -> UserId {
    let (email, username) = (name("ada@example.com"), name("ada"));
    let user = NewUser { email: &email, username: &username, password_hash: "x", created_at: NOW };
    UserId(identity::account::insert(db, &user, &ANYBODY).await.unwrap().unwrap())
}

fn scopes(text: &str) -> Scopes {
    Scopes::parse(text).unwrap()
}

async fn set(db: &Db, user: UserId, text: Option<&str>, version: i64, mark: u8) -> Outcome {
    let ceiling = text.map(scopes);
    let request = SetCeiling { user, ceiling, version, mark: Mark([mark; 16]) };
    ceiling::set(db, &request, &ANYBODY, NOW).await.unwrap()
}

async fn version(db: &Db, user: UserId) -> i64 {
    identity::account::state(db, user).await.unwrap().unwrap().ceiling_version
}

/// The one thing that the key service has to be told.
async fn told(db: &Db) -> SetOwner {
    match outbox::waiting(db, 9).await.unwrap().as_slice() {
        [Letter::Owner(told)] => told.clone(),
        other => panic!("{other:?}"),
    }
}

/// A session as a verification finds it.
async fn open(db: &Db, user: UserId, number: u8, scope: Option<&str>) -> SessionRow {
    let row = NewSession { scope: scope.map(scopes), ..session_of(user, number, NOW, SIGNER) };
    assert_eq!(session_open::open(db, &row, 1, &ANYBODY).await.unwrap(), Opened::New);
    find(db, number).await
}

async fn find(db: &Db, number: u8) -> SessionRow {
    let id = [number; 16];
    let (_, found) = session::find(db, &[&id], &[]).await.unwrap();
    found.into_iter().next().unwrap()
}

#[tokio::test]
async fn a_ceiling_that_comes_late_is_refused_and_one_that_comes_twice_is_known() {
    for (db, _folder) in engines().await {
        let user = user(&db).await;
        let first = version(&db, user).await;
        assert!(matches!(set(&db, user, Some("a:*"), first, 1).await, Outcome::Set { .. }));
        let second = version(&db, user).await;
        assert!(second > first);
        // The same message once more is no other command.
        assert!(matches!(set(&db, user, Some("a:*"), first, 1).await, Outcome::Set { .. }));
        assert_eq!(version(&db, user).await, second, "it raises nothing");
        assert!(matches!(set(&db, user, None, first, 2).await, Outcome::Stale));
        assert_eq!(ceiling::of(&db, user).await.unwrap(), scopes("a:*"));
        assert!(matches!(set(&db, user, Some(""), second, 3).await, Outcome::Set { .. }));
        assert_eq!(ceiling::of(&db, user).await.unwrap(), Scopes::default(), "nothing at all");
        // The first one, which a stopped process had all the time.
        assert!(matches!(set(&db, user, Some("a:*"), first, 1).await, Outcome::Stale));
        let third = version(&db, user).await;
        assert!(matches!(set(&db, user, None, third, 4).await, Outcome::Set { .. }));
        assert_eq!(ceiling::of(&db, user).await.unwrap(), Scopes::everything());
        assert!(matches!(set(&db, UserId(99), None, 1, 5).await, Outcome::NoSuchUser));
    }
}

#[tokio::test]
async fn what_the_key_service_is_told_is_the_whole_state_of_the_account() {
    for (db, _folder) in engines().await {
        let user = user(&db).await;
        let Outcome::Set { change, .. } = set(&db, user, Some("b a"), 1, 1).await else {
            panic!("not set")
        };
        let letter = told(&db).await;
        assert_eq!((letter.revision, letter.disabled), (change.revision(), false));
        assert_eq!(letter.ceiling, Some(scopes("a b")));
        let off = SetActive { user, active: false, version: 1, mark: Mark([2; 16]) };
        activity::set(&db, &off, &ANYBODY, NOW).await.unwrap();
        let letter = told(&db).await;
        assert_eq!((letter.disabled, letter.ceiling), (true, Some(scopes("a b"))));
        let version = version(&db, user).await;
        assert!(matches!(set(&db, user, None, version, 3).await, Outcome::Set { .. }));
        let letter = told(&db).await;
        assert_eq!((letter.disabled, letter.ceiling.clone()), (true, None));
        // As the release before reads it.
        let row: Option<(String,)> =
            db.fetch_first("SELECT message FROM identity_outbox", values![]).await.unwrap();
        assert!(!row.unwrap().0.contains("ceiling"));
        outbox::delivered(&db, &Letter::Owner(letter)).await.unwrap();
        assert_eq!(outbox::waiting(&db, 9).await.unwrap(), []);

        let told = identity::owners::told(&db, None, 9).await.unwrap();
        assert!(told.len() == 1 && told[0].disabled && told[0].ceiling.is_none(), "{told:?}");
        let on = SetActive { user, active: true, version: 2, mark: Mark([4; 16]) };
        activity::set(&db, &on, &ANYBODY, NOW).await.unwrap();
        assert_eq!(identity::owners::told(&db, None, 9).await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_changed_ceiling_is_an_event_that_says_what_it_was_and_is() {
    for (db, _folder) in engines().await {
        let user = user(&db).await;
        set(&db, user, Some("a b"), 1, 1).await;
        // Nothing is another than it was.
        set(&db, user, Some("b a"), 2, 2).await;
        set(&db, user, None, 3, 3).await;
        let all = "SELECT changes FROM identity_audit_events WHERE action = 'user.ceiling_changed' ORDER BY id";
        let rows: Vec<(String,)> = db.fetch(all, values![]).await.unwrap();
        let changes: Vec<serde_json::Value> =
            rows.iter().map(|(text,)| serde_json::from_str(text).unwrap()).collect();
        let change = |from: Option<&[&str]>, to: Option<&[&str]>| serde_json::json!({"ceiling": {"from": from, "to": to}});
        assert_eq!(changes, [change(None, Some(&["a", "b"])), change(Some(&["a", "b"]), None)]);
    }
}

#[tokio::test]
async fn a_session_is_found_with_what_was_asked_for_and_the_ceiling_of_the_same_moment() {
    for (db, _folder) in engines().await {
        let user = user(&db).await;
        let row = open(&db, user, 1, Some("b a")).await;
        assert_eq!((row.scope.as_deref(), row.ceiling), (Some("a b"), None));
        settings::set_user_scopes(&db, &scopes("* x"), &ANYBODY, NOW).await.unwrap().unwrap();
        let row = open(&db, user, 2, None).await;
        assert_eq!((row.scope, row.ceiling.as_deref()), (None, Some("* x")));
        set(&db, user, Some(""), 1, 1).await;
        assert_eq!(find(&db, 1).await.ceiling.as_deref(), Some(""));
        set(&db, user, None, 2, 2).await;
        assert_eq!(find(&db, 2).await.ceiling.as_deref(), Some("* x"));
    }
}

#[tokio::test]
async fn the_scopes_of_users_are_set_by_the_newest_start_with_a_revision_of_everything() {
    for (db, _folder) in engines().await {
        let store = Store { db: db.clone(), sql: &identity::AUTHORITY };
        let revision = async || store.revision().await.unwrap().revision();
        let put = async |text: &str| {
            settings::set_user_scopes(&db, &scopes(text), &ANYBODY, NOW).await.unwrap()
        };
        let user = user(&db).await;
        assert_eq!(settings::user_scopes(&db).await.unwrap(), None);
        let Some(Letter::DefaultCeiling(first)) = put("* x").await else { panic!("not told") };
        assert_eq!(
            (first.revision, revision().await),
            (Revision(0), Revision(0)),
            "nobody to tell"
        );
        assert_eq!(put("x *").await, None, "the same");
        open(&db, user, 1, None).await;
        let Some(Letter::DefaultCeiling(second)) = put("y").await else { panic!("not told") };
        assert_eq!((second.revision, revision().await), (Revision(1), Revision(1)));
        assert_eq!(second.ceiling, scopes("y"));
        // The last one alone is told, and everybody who has not applied it forgets everything.
        assert_eq!(outbox::waiting(&db, 9).await.unwrap(), [Letter::DefaultCeiling(second)]);
        let row: Option<(i64,)> =
            db.fetch_first("SELECT pruned FROM identity_position", values![]).await.unwrap();
        assert_eq!(row, Some((1,)));
        assert_eq!(put("").await.map(|letter| letter.at().1), Some(Revision(2)));
        assert_eq!(settings::user_scopes(&db).await.unwrap(), Some(Scopes::default()));
    }
}

#[tokio::test]
async fn changed_scopes_of_users_are_an_event_that_says_what_they_were_and_are() {
    for (db, _folder) in engines().await {
        let put = async |text: &str| {
            settings::set_user_scopes(&db, &scopes(text), &ANYBODY, NOW).await.unwrap()
        };
        let user = user(&db).await;
        put("* x").await.unwrap();
        open(&db, user, 1, None).await;
        let letter = put("y").await.unwrap();
        // The same again is none.
        assert_eq!(put("y").await, None);
        let all = "SELECT target_type, target_id, revision, changes FROM identity_audit_events \
            WHERE action = 'admin.user_scopes_changed' ORDER BY id";
        let rows: Vec<(String, String, i64, String)> = db.fetch(all, values![]).await.unwrap();
        let [(kind, id, revision, changes)] = rows.as_slice() else { panic!("{rows:?}") };
        assert_eq!((kind.as_str(), id.as_str()), ("service", "identity"));
        assert_eq!(Revision(*revision), letter.at().1);
        let changes: serde_json::Value = serde_json::from_str(changes).unwrap();
        let expected = serde_json::json!({"user_scopes": {"from": ["*", "x"], "to": ["y"]}});
        assert_eq!(changes, expected);
    }
}
