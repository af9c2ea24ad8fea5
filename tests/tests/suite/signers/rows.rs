//! The rows that name signers, each engine by itself.

use e2e::{ANYBODY, session_of};
use latchkey_authority::MemberKey;
use latchkey_contract::identity::ChangePassword;
use latchkey_contract::lease::{MemberId, MemberResult, Missed, Revision};
use latchkey_contract::{Mark, SessionId, Timestamp, UserId};
use latchkey_identity::store::password::{self, Outcome};
use latchkey_identity::store::session;
use latchkey_identity::store::session_open::{self, Opened};
use latchkey_identity::store::signer::{self, Adoption, Others, Signers};
use latchkey_identity::store::{AUTHORITY, era};
use latchkey_identity::token::Fingerprint;
use latchkey_revocation::authority;
use latchkey_store::Db;

use crate::store::{SIGNER, engines, user};

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const FURTHER: Fingerprint = Fingerprint([2; 16]);
const THIRD: Fingerprint = Fingerprint([3; 16]);

fn named(added: usize, withdrawn: usize, revision: i64) -> Adoption {
    let revision = Some(Revision(revision));
    Adoption::Named { added, withdrawn, sessions_end: false, revision }
}

fn ending_sessions(added: usize, withdrawn: usize, revision: i64) -> Adoption {
    let revision = Some(Revision(revision));
    Adoption::Named { added, withdrawn, sessions_end: true, revision }
}

const NOTHING: Adoption =
    Adoption::Named { added: 0, withdrawn: 0, sessions_end: false, revision: None };

#[tokio::test]
async fn whoever_holds_a_named_secret_names_others_and_what_is_taken_back_stays_so() {
    for (db, _folder) in engines().await {
        let take_up = async |own: &[Fingerprint], others| {
            signer::take_up(&db, own, others, &ANYBODY, NOW).await.unwrap()
        };
        assert_eq!(take_up(&[SIGNER], Others::Stay).await, NOTHING);
        assert_eq!(take_up(&[FURTHER], Others::Stay).await, Adoption::Unknown);
        assert_eq!(take_up(&[FURTHER, THIRD], Others::Stay).await, Adoption::Unknown);
        let only = Signers { named: vec![SIGNER], withdrawn: vec![], last: Some(SIGNER) };
        assert_eq!(signer::read(&db).await.unwrap(), only);
        assert_eq!(take_up(&[FURTHER, SIGNER], Others::Stay).await, named(1, 0, 1));
        // A replica that was not told of it changes nothing.
        assert_eq!(take_up(&[SIGNER], Others::Stay).await, NOTHING);
        assert_eq!(take_up(&[THIRD], Others::WithdrawnByNamed).await, Adoption::Unknown);
        assert_eq!(take_up(&[THIRD, SIGNER], Others::WithdrawnByNamed).await, Adoption::Unknown);
        assert_eq!(take_up(&[FURTHER], Others::Stay).await, NOTHING);
        assert_eq!(take_up(&[FURTHER], Others::WithdrawnByNamed).await, named(0, 1, 2));
        for others in [Others::Stay, Others::Withdrawn, Others::WithdrawnByNamed] {
            assert_eq!(take_up(&[SIGNER], others).await, Adoption::Withdrawn);
            assert_eq!(take_up(&[SIGNER, FURTHER], others).await, Adoption::Withdrawn);
            assert_eq!(take_up(&[FURTHER, SIGNER], others).await, NOTHING);
        }
        assert_eq!(take_up(&[THIRD, SIGNER], Others::Stay).await, Adoption::Unknown);
        let end = Signers { named: vec![FURTHER], withdrawn: vec![SIGNER], last: Some(FURTHER) };
        assert_eq!(signer::read(&db).await.unwrap(), end);
    }
}

/// Opens a session whose token is signed by `signer`.
async fn open(db: &Db, number: u8, signer: Fingerprint) -> Opened {
    let row = session_of(UserId(1), number, NOW, signer);
    session_open::open(db, &row, 1, &ANYBODY).await.unwrap()
}

#[tokio::test]
async fn a_change_of_signers_is_in_every_snapshot_and_told_to_every_member() {
    for (db, _folder) in engines().await {
        assert_eq!(user(&db, "ada").await, Some(1));
        assert_eq!(open(&db, 1, SIGNER).await, Opened::New);
        assert_eq!(open(&db, 2, FURTHER).await, Opened::NotNamed);
        let rows = latchkey_authority::Store { db: db.clone(), sql: &AUTHORITY };
        let member = MemberKey { id: MemberId([5; 16]), user: "edge".into() };
        rows.join(&member, 2, NOW).await.unwrap().unwrap();
        let adoption =
            signer::take_up(&db, &[FURTHER], Others::Withdrawn, &ANYBODY, NOW).await.unwrap();
        assert_eq!(adoption, ending_sessions(1, 1, 1));
        assert_eq!(open(&db, 3, SIGNER).await, Opened::NotNamed);
        assert_eq!(open(&db, 4, FURTHER).await, Opened::New);

        let (read, sessions) = session::find(&db, &[&[1; 16]], &[]).await.unwrap();
        assert_eq!((read.facts(), sessions.len()), (&[FURTHER.0.to_vec()][..], 1));
        assert_eq!(read.for_asker(None).revision, Revision(1));
        for (since, everything) in [(0, true), (1, false)] {
            let (snapshot, changes) = rows.renew(&member, Revision(since)).await.unwrap();
            let MemberResult::Member(renewed) =
                authority::renew(&snapshot, Revision(since), changes)
            else {
                panic!("a member")
            };
            assert_eq!(matches!(renewed.missed, Missed::TooMany), everything, "{since}");
            assert_eq!(renewed.revision, Revision(1));
        }
    }
}

/// Whether sessions have ended, as a verification sees them.
async fn ended<const N: usize>(db: &Db, numbers: [u8; N]) -> [bool; N] {
    let ids = numbers.map(|number| [number; 16]);
    let ids: Vec<&[u8]> = ids.iter().map(<[u8; 16]>::as_slice).collect();
    let (_, rows) = session::find(db, &ids, &[]).await.unwrap();
    numbers.map(|number| rows.iter().find(|row| row.id == [number; 16]).unwrap().has_ended())
}

#[tokio::test]
async fn every_session_ends_with_the_secret_of_the_last_start_and_none_with_one_before_it() {
    for (db, _folder) in engines().await {
        let take_up = async |own: &[Fingerprint]| {
            signer::take_up(&db, own, Others::Withdrawn, &ANYBODY, NOW).await.unwrap()
        };
        assert_eq!(user(&db, "ada").await, Some(1));
        assert_eq!(open(&db, 1, SIGNER).await, Opened::New);
        // As a release before left it: who signed is not written down.
        db.execute("UPDATE identity_settings SET signing_secret = NULL", &[]).await.unwrap();
        assert_eq!(take_up(&[FURTHER, SIGNER]).await, named(1, 0, 1));
        assert_eq!(open(&db, 2, FURTHER).await, Opened::New);
        assert_eq!(take_up(&[FURTHER]).await, named(0, 1, 2));
        assert_eq!(ended(&db, [1, 2]).await, [false, false]);
        assert_eq!(take_up(&[THIRD]).await, ending_sessions(1, 1, 3));
        assert_eq!(open(&db, 3, THIRD).await, Opened::New);
        assert_eq!(ended(&db, [1, 2, 3]).await, [true, true, false]);
        era::end_former(&db, NOW).await.unwrap();
        let open = "SELECT number FROM sessions WHERE ended_at IS NULL";
        let open: Vec<(i64,)> = db.fetch(open, &[]).await.unwrap();
        assert_eq!(open, [(3,)]);
    }
}

#[tokio::test]
async fn a_login_that_began_before_every_session_ended_opens_one_that_has_ended() {
    for (db, _folder) in engines().await {
        let latchkey_store::Db::Postgres(_) = &db else { continue };
        assert_eq!(user(&db, "ada").await, Some(1));
        // It has its number, and its era, and goes on when all have ended.
        let mut tx = db.begin("log in").await.unwrap();
        let number = "UPDATE users SET last_session = last_session + 1 WHERE id = 1 RETURNING \
            (SELECT era FROM identity_settings WHERE id = 1)";
        let (era,): (i64,) = tx.fetch_first(number, &[]).await.unwrap().unwrap();
        let end = signer::take_up(&db, &[FURTHER], Others::Withdrawn, &ANYBODY, NOW).await.unwrap();
        assert_eq!(end, ending_sessions(1, 1, 1));
        let insert = "INSERT INTO sessions (id, user_id, created_at, expires_at, number, signer, era) \
            VALUES ($1, 1, $2, $3, 1, $4, $5)";
        let row =
            latchkey_store::values![&[1; 16], NOW.0, NOW.plus(Timestamp::DAY).0, &SIGNER.0, era];
        tx.execute(insert, row).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(ended(&db, [1]).await, [true]);
    }
}

/// Asks for a new password by a session, as something that was decided before whatever the test does.
async fn change_password(db: &Db, session: u8) -> Outcome {
    let request = ChangePassword {
        version: 1,
        mark: Mark([session; 16]),
        current_password: None,
        new_password: None,
    };
    password::change(db, (UserId(1), SessionId([session; 16])), &request, "y", &ANYBODY, NOW)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_change_of_password_that_comes_late_does_not_hold_where_its_tokens_secret_was_taken_back()
{
    for (db, _folder) in engines().await {
        assert_eq!(user(&db, "ada").await, Some(1));
        for session in [1, 2] {
            assert_eq!(open(&db, session, SIGNER).await, Opened::New);
        }
        // As the release before wrote it.
        let before = "UPDATE sessions SET signer = NULL WHERE number = 2";
        db.execute(before, &[]).await.unwrap();
        signer::take_up(&db, &[FURTHER], Others::Withdrawn, &ANYBODY, NOW).await.unwrap();
        assert_eq!(open(&db, 3, FURTHER).await, Opened::New);
        for session in [1, 2] {
            let outcome = change_password(&db, session).await;
            assert!(matches!(outcome, Outcome::SessionEnded), "{session}: {outcome:?}");
        }
        let outcome = change_password(&db, 3).await;
        assert!(matches!(outcome, Outcome::Changed(_)), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_first_start_on_a_database_of_the_release_before_is_a_change_where_somebody_has_logged_in()
 {
    for (db, _folder) in engines().await {
        assert_eq!(user(&db, "ada").await, Some(1));
        assert_eq!(open(&db, 1, SIGNER).await, Opened::New);
        db.execute("DELETE FROM identity_signers", &[]).await.unwrap();
        let first = || signer::take_up(&db, &[FURTHER], Others::Stay, &ANYBODY, NOW);
        let (one, two) = tokio::join!(first(), first());
        let (one, two) = (one.unwrap(), two.unwrap());
        assert!(
            [(&one, &two), (&two, &one)].contains(&(&named(1, 0, 1), &NOTHING)),
            "{one:?} {two:?}"
        );
    }
}
