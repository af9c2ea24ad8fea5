//! What decides by what it read holds at the write, and what comes late or twice undoes nothing newer: the stores'
//! part of it, each test on both engines.

use std::sync::atomic::{AtomicUsize, Ordering};

use e2e::{ANYBODY, Folder, acting_user, ending, order, postgres, session_of};
use latchkey_audit::Action;
use latchkey_authority::Store;
use latchkey_contract::identity::{ChangePassword, SetActive};
use latchkey_contract::keys::SetOwner;
use latchkey_contract::lease::{Epoch, Revision};
use latchkey_contract::{CredentialHash, Mark, SessionId, Timestamp, UserId};
use latchkey_identity::rules::{self, Canonical};
use latchkey_identity::store as identity;
use latchkey_identity::store::account::NewUser;
use latchkey_identity::store::activity::{self, Outcome as Activity};
use latchkey_identity::store::outbox::{self, Letter};
use latchkey_identity::store::password::{self, Outcome as Changed};
use latchkey_identity::store::session;
use latchkey_identity::store::session_open::{self, NewSession, Opened};
use latchkey_identity::store::signer::{self, Others};
use latchkey_identity::token::Fingerprint;
use latchkey_keys::store as keys;
use latchkey_keys::store::issue::{Inserted, Order, Policy};
use latchkey_keys::store::owner::Outcome as Owner;
use latchkey_store::Db;

use super::store::patiently;

const NOW: Timestamp = Timestamp(1_800_000_000_000);
/// Who signs the tokens of every session here.
const SIGNER: Fingerprint = Fingerprint([1; 16]);
/// How a session ends here.
const ENDED: Action = Action::UserLoggedOut;
/// No session.
const NONE: [u8; 0] = [];

/// A user on one engine. The folder lives as long as its database.
struct Scene {
    db: Db,
    user: UserId,
    _folder: Option<Folder>,
}

async fn scenes() -> [Scene; 2] {
    let folder = Folder::new();
    let url = format!("sqlite://{}", folder.join("latchkey.db").display());
    let sqlite = Db::open(&url, "test", 8).await.unwrap();
    let postgres = Db::open(&postgres::fresh_database().await, "test", 8).await.unwrap();
    [scene(sqlite, Some(folder)).await, scene(postgres, None).await]
}

async fn scene(db: Db, folder: Option<Folder>) -> Scene {
    db.migrate("identity", identity::MIGRATIONS).await.unwrap();
    db.migrate("keys", keys::MIGRATIONS).await.unwrap();
    for sql in [&identity::AUTHORITY, &keys::AUTHORITY] {
        Store { db: db.clone(), sql }.begin(7).await.unwrap();
    }
    signer::take_up(&db, &[SIGNER], Others::Stay, &ANYBODY, NOW).await.unwrap();
    let name = |text: &str| Canonical {
        shown: text.to_owned(),
        canonical: text.to_owned(),
        folded: text.to_owned(),
    };
    let (email, username) = (name("ada@example.com"), name("ada"));
    let user =
        NewUser { email: &email, username: &username, password_hash: "old", created_at: NOW };
    let user = UserId(identity::account::insert(&db, &user, &ANYBODY).await.unwrap().unwrap());
    Scene { db, user, _folder: folder }
}

impl Scene {
    async fn version(&self) -> i64 {
        identity::account::state(&self.db, self.user).await.unwrap().unwrap().version
    }

    async fn active_version(&self) -> i64 {
        identity::account::state(&self.db, self.user).await.unwrap().unwrap().active_version
    }

    /// Opens session `number`, as a login that read `version`.
    async fn open(&self, number: u8, version: i64, mark: Option<Mark>) -> Opened {
        let row = NewSession {
            created_at: NOW.plus(i64::from(number)),
            mark,
            ..session_of(self.user, number, NOW, SIGNER)
        };
        let tries = AtomicUsize::new(0);
        let opened = patiently(|| {
            tries.fetch_add(1, Ordering::Relaxed);
            session_open::open(&self.db, &row, version, &ANYBODY)
        });
        match opened.await {
            // An attempt whose answer did not come has opened it.
            Opened::Before(before) if before.session == row.id && tries.into_inner() > 1 => {
                Opened::New
            }
            opened => opened,
        }
    }

    /// Which of these sessions are good.
    async fn good(&self, numbers: &[u8]) -> Vec<u8> {
        let ids: Vec<[u8; 16]> = numbers.iter().map(|number| [*number; 16]).collect();
        let asked: Vec<&[u8]> = ids.iter().map(<[u8; 16]>::as_slice).collect();
        let (_, rows) = patiently(|| session::find(&self.db, &asked, &[])).await;
        let good = rows.iter().filter(|row| row.ended_at.is_none());
        let mut good: Vec<u8> = good.map(|row| row.id[0]).collect();
        good.sort_unstable();
        good
    }

    async fn change(&self, session: u8, version: i64, hash: &str) -> Changed {
        let acts = (self.user, SessionId([session; 16]));
        let request = ChangePassword {
            version,
            mark: Mark([session; 16]),
            current_password: None,
            new_password: None,
        };
        patiently(|| password::change(&self.db, acts, &request, hash, &ANYBODY, NOW)).await
    }

    async fn set_active(&self, active: bool, version: i64, mark: u8) -> Activity {
        let request = SetActive { user: self.user, active, version, mark: Mark([mark; 16]) };
        activity::set(&self.db, &request, &ANYBODY, NOW).await.unwrap()
    }

    /// What the key service is told.
    async fn tell(&self, disabled: bool, epoch: Epoch, revision: i64) -> bool {
        let (owner, revision) = (self.user, Revision(revision));
        let told = SetOwner { owner, disabled, ceiling: None, epoch, revision };
        matches!(keys::owner::set(&self.db, &told, NOW).await.unwrap(), Owner::Set(_))
    }

    fn key(&self, number: u8) -> Order {
        order(self.user.0, number, NOW, NOW.plus(Timestamp::DAY))
    }

    async fn insert(&self, key: Order) -> Inserted {
        let owner = acting_user(key.owner.0);
        keys::issue::insert(&self.db, key, &Policy::default(), &owner).await.unwrap()
    }
}

#[tokio::test]
async fn a_login_under_way_opens_nothing_once_the_password_is_changed() {
    for scene in scenes().await {
        let read = scene.version().await;
        assert_eq!(scene.open(1, read, None).await, Opened::New);
        assert_eq!(scene.open(2, read, None).await, Opened::New);
        assert!(matches!(scene.change(1, read, "new").await, Changed::Changed(_)));
        assert_eq!(scene.open(3, read, None).await, Opened::Overtaken);
        assert_eq!(scene.good(&[1, 2, 3]).await, [1], "the session that acts goes on");
        assert_eq!(scene.open(4, scene.version().await, None).await, Opened::New);
    }
}

#[tokio::test]
async fn logins_and_a_change_of_password_at_once_leave_no_session_of_the_old_password() {
    for scene in scenes().await {
        let scene = std::sync::Arc::new(scene);
        let read = scene.version().await;
        assert_eq!(scene.open(1, read, None).await, Opened::New);
        let logins: Vec<_> = (10..40)
            .map(|number| {
                let scene = std::sync::Arc::clone(&scene);
                let mark = Some(Mark([number; 16]));
                tokio::spawn(async move { scene.open(number, read, mark).await })
            })
            .collect();
        // Some are there before the change, some come while it is made, some after it.
        while scene.good(&[10, 11, 12]).await.is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(matches!(scene.change(1, read, "new").await, Changed::Changed(_)));
        let mut opened = 0;
        for login in logins {
            opened += usize::from(login.await.unwrap() == Opened::New);
        }
        assert!(opened > 0);
        let all: Vec<u8> = (1..40).collect();
        assert_eq!(scene.good(&all).await, [1]);
    }
}

#[tokio::test]
async fn a_renewed_hash_holds_up_neither_a_login_nor_a_change_of_password() {
    for scene in scenes().await {
        let ada = rules::typed_username("ada").unwrap();
        let read = identity::account::find_login(&scene.db, &ada).await.unwrap().unwrap();
        assert_eq!(scene.open(1, read.version, None).await, Opened::New);
        identity::account::renew_password_hash(&scene.db, &read, "stronger").await.unwrap();
        assert_eq!(scene.open(2, read.version, None).await, Opened::New);
        assert!(matches!(scene.change(1, read.version, "new").await, Changed::Changed(_)));
        // A renewal that comes late does not bring the old password back.
        identity::account::renew_password_hash(&scene.db, &read, "late").await.unwrap();
        let now = identity::account::find_login(&scene.db, &ada).await.unwrap().unwrap();
        assert_eq!(now.password_hash, "new");
    }
}

#[tokio::test]
async fn a_change_of_password_needs_a_good_session_and_nothing_newer() {
    for scene in scenes().await {
        let read = scene.version().await;
        assert_eq!(scene.open(1, read, None).await, Opened::New);
        assert_eq!(scene.open(2, read, None).await, Opened::New);
        session::end(&scene.db, &SessionId([2; 16]), (ENDED, &ANYBODY), NOW)
            .await
            .unwrap()
            .unwrap();
        assert!(matches!(scene.change(2, read, "thief").await, Changed::SessionEnded));
        assert!(matches!(scene.change(9, read, "thief").await, Changed::SessionEnded));
        assert_eq!(scene.version().await, read, "nothing was done");
        assert!(matches!(scene.change(1, read, "new").await, Changed::Changed(_)));
        assert!(matches!(scene.change(1, read, "late").await, Changed::Overtaken));
        let known = identity::account::find_known(&scene.db, scene.user).await.unwrap().unwrap();
        assert_eq!(known.password_hash, "new");
        assert_eq!(known.password_mark, Some(vec![1; 16]), "its copy is known by the mark");
    }
}

#[tokio::test]
async fn a_login_that_comes_twice_opens_one_session() {
    for scene in scenes().await {
        let (read, mark) = (scene.version().await, Some(Mark([5; 16])));
        assert_eq!(scene.open(1, read, mark).await, Opened::New);
        let Opened::Before(before) = scene.open(2, read, mark).await else { panic!("a second") };
        assert_eq!(before.session, SessionId([1; 16]));
        assert_eq!(before.created_at, NOW.plus(1));
        assert_eq!(before.token, Some(CredentialHash([1; 32])));
        session::end(&scene.db, &SessionId([1; 16]), (ENDED, &ANYBODY), NOW)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(scene.open(3, read, mark).await, Opened::EndedSince);
        assert_eq!(scene.good(&[1, 2, 3]).await, NONE);
    }
}

#[tokio::test]
async fn to_log_out_everywhere_twice_ends_nothing_that_was_opened_between() {
    for scene in scenes().await {
        let read = scene.version().await;
        for number in 1..=3 {
            assert_eq!(scene.open(number, read, None).await, Opened::New);
        }
        let state = identity::account::state(&scene.db, scene.user).await.unwrap().unwrap();
        assert_eq!(state.last_session, 3);
        let all = [1, 2, 3, 4];
        session::end_through(&scene.db, scene.user, (3, None), &ANYBODY, NOW).await.unwrap();
        assert_eq!(scene.open(4, read, None).await, Opened::New);
        session::end_through(&scene.db, scene.user, (3, None), &ANYBODY, NOW.plus(60_000))
            .await
            .unwrap();
        assert_eq!(scene.good(&all).await, [4]);
        session::end_through(&scene.db, scene.user, (4, None), &ANYBODY, NOW).await.unwrap();
        assert_eq!(scene.good(&all).await, NONE);
    }
}

#[tokio::test]
async fn sessions_from_before_there_were_numbers_end_with_the_first_logout_everywhere() {
    for scene in scenes().await {
        let read = scene.version().await;
        assert_eq!(scene.open(1, read, None).await, Opened::New);
        scene.db.execute("UPDATE sessions SET number = 0", &[]).await.unwrap();
        scene.db.execute("UPDATE users SET last_session = 0", &[]).await.unwrap();
        session::end_through(&scene.db, scene.user, (0, None), &ANYBODY, NOW).await.unwrap();
        assert_eq!(scene.good(&[1]).await, NONE);
    }
}

#[tokio::test]
async fn an_activation_that_comes_late_is_refused_and_one_that_comes_twice_is_known() {
    for scene in scenes().await {
        let (login, first) = (scene.version().await, scene.active_version().await);
        assert_eq!(scene.open(1, login, None).await, Opened::New);
        assert!(matches!(scene.set_active(false, first, 1).await, Activity::Set { .. }));
        assert_eq!(scene.good(&[1]).await, NONE);
        assert_eq!(scene.open(2, login, None).await, Opened::Overtaken);
        // The same message once more is no other command.
        let second = scene.active_version().await;
        assert!(matches!(scene.set_active(false, first, 1).await, Activity::Set { .. }));
        assert_eq!(scene.active_version().await, second, "it raises nothing");
        assert!(matches!(scene.set_active(true, first, 2).await, Activity::Stale));
        assert!(matches!(scene.set_active(true, second, 2).await, Activity::Set { .. }));
        assert_eq!(scene.open(3, login, None).await, Opened::Overtaken, "read before all of it");
        assert!(matches!(scene.set_active(false, second, 1).await, Activity::Stale));
        let nobody = SetActive { user: UserId(99), active: true, version: 1, mark: Mark([9; 16]) };
        let nobody = activity::set(&scene.db, &nobody, &ANYBODY, NOW).await.unwrap();
        assert!(matches!(nobody, Activity::NoSuchUser));
    }
}

#[tokio::test]
async fn new_passwords_do_not_hold_up_a_deactivation() {
    for scene in scenes().await {
        let (login, active) = (scene.version().await, scene.active_version().await);
        assert_eq!(scene.open(1, login, None).await, Opened::New);
        assert!(matches!(scene.change(1, login, "new").await, Changed::Changed(_)));
        assert!(matches!(scene.set_active(false, active, 1).await, Activity::Set { .. }));
        // And a change that was decided before finds the account deactivated.
        assert!(matches!(scene.change(1, login + 1, "newer").await, Changed::Overtaken));
    }
}

#[tokio::test]
async fn what_the_key_service_has_to_be_told_waits_with_the_decision_until_it_is_delivered() {
    for scene in scenes().await {
        let version = scene.active_version().await;
        let Activity::Set { letter: first, change } = scene.set_active(false, version, 1).await
        else {
            panic!("not set")
        };
        let Letter::Owner(told) = &first else { panic!("{first:?}") };
        assert_eq!(told.revision, change.revision());
        assert!(told.disabled);
        assert_eq!(outbox::waiting(&scene.db, 9).await.unwrap(), std::slice::from_ref(&first));
        let version = scene.active_version().await;
        let Activity::Set { letter: second, .. } = scene.set_active(true, version, 2).await else {
            panic!("not set")
        };
        let only_second = std::slice::from_ref(&second);
        assert_eq!(outbox::waiting(&scene.db, 9).await.unwrap(), only_second, "the whole state");
        outbox::delivered(&scene.db, &first).await.unwrap();
        assert_eq!(outbox::waiting(&scene.db, 9).await.unwrap(), only_second, "a newer one stays");
        outbox::delivered(&scene.db, &second).await.unwrap();
        assert_eq!(outbox::waiting(&scene.db, 9).await.unwrap(), Vec::<Letter>::new());
    }
}

#[tokio::test]
async fn the_key_service_takes_what_is_newer_or_the_same_and_refuses_what_is_older() {
    for scene in scenes().await {
        let epoch = |made, timeline| Epoch { made, timeline };
        assert!(scene.tell(true, epoch(1, 1), 5).await);
        assert!(scene.tell(true, epoch(1, 1), 5).await, "a repeat waits like the first");
        assert!(!scene.tell(false, epoch(1, 1), 4).await, "late");
        assert!(scene.tell(false, epoch(1, 1), 6).await);
        assert!(!scene.tell(true, epoch(1, 1), 5).await, "late, after it was enabled");
        assert!(
            scene.tell(true, epoch(1, 2), 1).await,
            "a standby took over: its timeline is newer"
        );
        assert!(!scene.tell(false, epoch(1, 1), 9).await);
        assert!(scene.tell(false, epoch(2, 1), 1).await, "another history");
    }
}

#[tokio::test]
async fn a_key_that_is_made_twice_is_one_and_of_a_disabled_owner_none() {
    for scene in scenes().await {
        let first = scene.insert(scene.key(1)).await;
        let Inserted::Key(listed) = &first else { panic!("{first:?}") };
        assert_eq!(scene.insert(scene.key(1)).await, first);
        let request = ending(scene.user, listed.id);
        let revoked = keys::revoke(&scene.db, &request, &acting_user(scene.user.0), NOW).await;
        revoked.unwrap().change().unwrap();
        let Inserted::Key(again) = scene.insert(scene.key(1)).await else { panic!("another") };
        assert!(again.is_revoked() && again.id == listed.id, "the present state");
        let foreign = Order { owner: UserId(99), ..scene.key(1) };
        assert_eq!(scene.insert(foreign).await, Inserted::Nothing);
        scene.tell(true, Epoch { made: 1, timeline: 1 }, 1).await;
        let none = scene.insert(scene.key(2)).await;
        assert_eq!(none, Inserted::OwnerDisabled);
    }
}
