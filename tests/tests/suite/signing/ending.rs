//! The sessions of a revoked key, each engine by itself: they end page by page, behind a commit that stands whatever
//! becomes of the pages, and are not refreshed meanwhile.

use e2e::{ANYBODY, session_of};
use latchkey_contract::{CredentialHash, Mark, SessionId, Timestamp, UserId};
use latchkey_identity::fingerprint::Fingerprint;
use latchkey_identity::signing::algorithm::KeyAlgorithm;
use latchkey_identity::store::key_sessions::{self, END_AT_ONCE};
use latchkey_identity::store::refresh::{self, Rotated, Rotation};
use latchkey_identity::store::session_open::{self, NewRefresh, NewSession, Opened};
use latchkey_identity::store::signer::{self, Others};
use latchkey_identity::store::signing_key;
use latchkey_store::{Db, values};

use super::rows::{NOW, OTHER, add, facts, key};
use crate::store::{SIGNER, engines, user};

const SESSIONS: u64 = 12_000;

/// Opens a session that goes on by refresh tokens.
async fn open(db: &Db, number: u8, signer: Fingerprint) {
    let row = session_of(UserId(1), number, NOW, signer);
    let token = CredentialHash([number; 32]);
    let refresh = Some(NewRefresh { token, max_expires_at: row.expires_at, per_user: 100 });
    let row = NewSession { refresh, ..row };
    assert_eq!(session_open::open(db, &row, 1, &ANYBODY).await.unwrap(), Opened::New);
}

/// Rotates the refresh token `from` of a session into the token `to`, with an access token by `signer`.
async fn rotate(db: &Db, number: u8, (from, to): (u8, u8), signer: Fingerprint) -> Rotated {
    let rotation = Rotation {
        session: SessionId([number; 16]),
        token: CredentialHash([from; 32]),
        successor: CredentialHash([to; 32]),
        mark: Mark([to; 16]),
        now: NOW,
        idle: Timestamp::DAY,
        window: 0,
        most: None,
        signer,
    };
    refresh::rotate(db, &rotation).await.unwrap()
}

/// Writes rows of sessions without tokens.
async fn fill(db: &Db, signer: Fingerprint) {
    let fill = match db {
        Db::Sqlite(_) => {
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1) \
            INSERT INTO sessions (id, user_id, created_at, expires_at, number, signer) \
            SELECT CAST(printf('%016d', i) AS BLOB), 1, $2, $3, i, $4 FROM n"
        }
        Db::Postgres(_) => {
            "INSERT INTO sessions (id, user_id, created_at, expires_at, number, signer) \
            SELECT decode(lpad(to_hex(i), 32, '0'), 'hex'), 1, $2, $3, i, $4 \
            FROM generate_series(1, $1) AS i"
        }
    };
    let until = NOW.plus(Timestamp::DAY).0;
    let count = i64::try_from(SESSIONS).unwrap();
    let filled = db.execute(fill, values![count, NOW.0, until, &signer.0]).await.unwrap();
    assert_eq!(filled, SESSIONS);
}

async fn count(db: &Db, sql: &'static str) -> u64 {
    let (count,): (i64,) = db.fetch_first(sql, &[]).await.unwrap().unwrap();
    u64::try_from(count).unwrap()
}

async fn going_on(db: &Db) -> u64 {
    count(db, "SELECT COUNT(*) FROM sessions WHERE ended_at IS NULL").await
}

async fn events(db: &Db) -> u64 {
    let events = "SELECT COUNT(*) FROM identity_audit_events WHERE action = 'signing_key.revoked'";
    count(db, events).await
}

#[tokio::test]
async fn sessions_of_a_revoked_key_end_in_pages_and_a_repeat_goes_on_where_it_was_cut() {
    for (db, _folder) in engines().await {
        assert_eq!(user(&db, "ada").await, Some(1));
        let (key, other) = (key(), key());
        assert!(add(&db, &key, 0, SIGNER).await && add(&db, &other, 1, SIGNER).await);
        fill(&db, key.public.fingerprint()).await;
        open(&db, 1, other.public.fingerprint()).await;
        let kid = key.public.kid();

        let first = signing_key::revoke(&db, kid, &ANYBODY, NOW).await.unwrap().unwrap();
        let known = [SIGNER.0.to_vec(), other.public.thumbprint().to_vec()];
        assert_eq!((facts(&db).await, events(&db).await), (known.to_vec(), 1));
        assert_eq!(going_on(&db).await, SESSIONS + 1);
        let page = u64::try_from(END_AT_ONCE).unwrap();
        assert_eq!(key_sessions::end_page(&db, kid, NOW).await.unwrap(), Some(page));
        // It is cut here, and done once more.
        assert_eq!((facts(&db).await, events(&db).await), (known.to_vec(), 1));
        assert_eq!(going_on(&db).await, SESSIONS + 1 - page);
        let again = signing_key::revoke(&db, kid, &ANYBODY, NOW).await.unwrap().unwrap();
        assert!(again.revision() > first.revision());
        // Their end is told behind it: some may have had tokens of another key.
        let told = key_sessions::end(&db, kid, NOW).await.unwrap().unwrap();
        assert!(told.revision() > again.revision());
        assert_eq!((going_on(&db).await, events(&db).await), (1, 1));
        assert!(key_sessions::end(&db, kid, NOW).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_key_stays_revoked_where_its_sessions_cannot_be_ended() {
    for (db, _folder) in engines().await {
        assert_eq!(user(&db, "ada").await, Some(1));
        let key = key();
        assert!(add(&db, &key, 0, SIGNER).await);
        open(&db, 1, key.public.fingerprint()).await;
        let kid = key.public.kid();
        if let Db::Postgres(_) = &db {
            // Somebody logs out, and has the session's row, and not the revision yet: neither waits for the other.
            let mut logout = db.begin("log out").await.unwrap();
            let end = "UPDATE sessions SET ended_at = $1 WHERE number = 1";
            logout.execute(end, values![NOW.0]).await.unwrap();
            signing_key::revoke(&db, kid, &ANYBODY, NOW).await.unwrap().unwrap();
            key_sessions::end(&db, kid, NOW).await.unwrap_err();
        } else {
            let barrier = "CREATE TRIGGER barrier BEFORE UPDATE ON sessions \
                BEGIN SELECT RAISE(ABORT, 'not now'); END";
            db.execute(barrier, &[]).await.unwrap();
            signing_key::revoke(&db, kid, &ANYBODY, NOW).await.unwrap().unwrap();
            key_sessions::end(&db, kid, NOW).await.unwrap_err();
            db.execute("DROP TRIGGER barrier", &[]).await.unwrap();
        }
        assert_eq!((facts(&db).await, going_on(&db).await), (vec![SIGNER.0.to_vec()], 1));
        assert_eq!(rotate(&db, 1, (1, 11), SIGNER).await, Rotated::Refused);
        assert!(key_sessions::end(&db, kid, NOW).await.unwrap().is_some());
        assert_eq!(going_on(&db).await, 0);
    }
}

#[tokio::test]
async fn a_session_of_a_revoked_key_is_not_refreshed_and_one_of_a_retired_key_is() {
    for (db, _folder) in engines().await {
        assert_eq!(user(&db, "ada").await, Some(1));
        let (revoked, retired) = (key(), key());
        assert!(add(&db, &retired, 0, SIGNER).await && add(&db, &revoked, 1, SIGNER).await);
        let signer = revoked.public.fingerprint();
        open(&db, 1, signer).await;
        open(&db, 2, retired.public.fingerprint()).await;
        open(&db, 3, signer).await;
        open(&db, 4, SIGNER).await;
        // The secret that signed was changed in good order.
        for own in [[OTHER, SIGNER].as_slice(), &[OTHER]] {
            signer::take_up(&db, own, Others::Withdrawn, &ANYBODY, NOW).await.unwrap();
        }
        // Session 3 has its last token by another signer.
        assert!(matches!(rotate(&db, 3, (3, 13), OTHER).await, Rotated::New(_)));
        signing_key::set_algorithm(&db, Some(KeyAlgorithm::Es256), &ANYBODY, NOW).await.unwrap();
        let later = NOW.plus(Timestamp::DAY);
        assert!(signing_key::drop_key(&db, retired.public.kid(), &ANYBODY, later).await.unwrap());
        let kid = revoked.public.kid();
        signing_key::revoke(&db, kid, &ANYBODY, NOW).await.unwrap().unwrap();

        assert_eq!(rotate(&db, 1, (1, 11), OTHER).await, Rotated::Refused);
        for (session, tokens) in [(2, (2, 12)), (3, (13, 23)), (4, (4, 14))] {
            let rotated = rotate(&db, session, tokens, OTHER).await;
            assert!(matches!(rotated, Rotated::New(_)), "{session}: {rotated:?}");
        }
        assert_eq!(rotate(&db, 2, (12, 22), signer).await, Rotated::NotNamed);
        assert!(key_sessions::end(&db, kid, NOW).await.unwrap().is_some());
        let ended = "SELECT number FROM sessions WHERE ended_at IS NOT NULL";
        let ended: Vec<(i64,)> = db.fetch(ended, &[]).await.unwrap();
        assert_eq!(ended, [(1,)]);
    }
}

#[tokio::test]
async fn a_refresh_does_nothing_where_its_next_signer_is_revoked_while_it_is_made() {
    for (db, _folder) in engines().await {
        assert_eq!(user(&db, "ada").await, Some(1));
        let key = key();
        assert!(add(&db, &key, 0, SIGNER).await);
        open(&db, 1, SIGNER).await;
        // It happens when the session is held already.
        let (revoke, cease) = match &db {
            Db::Sqlite(_) => (
                "CREATE TRIGGER revoked AFTER INSERT ON refresh_tokens BEGIN \
                UPDATE identity_signers SET withdrawn_at = 1 WHERE kid IS NOT NULL; END",
                "DROP TRIGGER revoked",
            ),
            Db::Postgres(_) => (
                "CREATE RULE revoked AS ON INSERT TO refresh_tokens DO ALSO \
                UPDATE identity_signers SET withdrawn_at = 1 WHERE kid IS NOT NULL",
                "DROP RULE revoked ON refresh_tokens",
            ),
        };
        db.execute(revoke, &[]).await.unwrap();
        let signer = key.public.fingerprint();
        assert_eq!(rotate(&db, 1, (1, 11), signer).await, Rotated::NotNamed);
        db.execute(cease, &[]).await.unwrap();
        assert!(matches!(rotate(&db, 1, (1, 12), SIGNER).await, Rotated::New(_)));
    }
}

#[tokio::test]
async fn a_change_of_how_tokens_are_signed_is_an_event_and_a_repeat_is_none() {
    for (db, _folder) in engines().await {
        for algorithm in [Some(KeyAlgorithm::Es256), Some(KeyAlgorithm::Es256), None] {
            signing_key::set_algorithm(&db, algorithm, &ANYBODY, NOW).await.unwrap();
        }
        let events = "SELECT changes FROM identity_audit_events \
            WHERE action = 'admin.jwt_algorithm_changed' ORDER BY id";
        let events: Vec<(String,)> = db.fetch(events, &[]).await.unwrap();
        let events: Vec<&str> = events.iter().map(|(changes,)| changes.as_str()).collect();
        let there = r#"{"from":"HS256","to":"ES256"}"#;
        assert_eq!(events, [there, r#"{"from":"ES256","to":"HS256"}"#]);
    }
}
