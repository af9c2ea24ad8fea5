//! The rows of signing keys, each engine by itself.

use e2e::{ANYBODY, session_of};
use latchkey_contract::{Timestamp, UserId};
use latchkey_identity::fingerprint::Fingerprint;
use latchkey_identity::signing::algorithm::KeyAlgorithm;
use latchkey_identity::signing::key::NewKey;
use latchkey_identity::store::key_sessions;
use latchkey_identity::store::session;
use latchkey_identity::store::session_open::{self, Opened};
use latchkey_identity::store::signer::{self, Others};
use latchkey_identity::store::signing_key::{self, NewRow};
use latchkey_store::Db;

use crate::store::{SIGNER, engines, user};

pub(super) const NOW: Timestamp = Timestamp(1_800_000_000_000);
pub(super) const OTHER: Fingerprint = Fingerprint([2; 16]);
const ALGORITHM: KeyAlgorithm = KeyAlgorithm::EdDsa;

/// Adds a key that signs from now on behind the slot `last`, as a replica does that knows no later one.
pub(super) async fn add(db: &Db, made: &NewKey, last: i64, sealed_by: Fingerprint) -> bool {
    let new = NewRow {
        public: &made.public,
        sealed: b"sealed",
        sealed_by,
        signs_from: NOW,
        period: Timestamp::DAY,
        longest_life: 0,
    };
    signing_key::add(db, &new, (last, None), &ANYBODY, NOW).await.unwrap()
}

pub(super) fn key() -> NewKey {
    NewKey::make(ALGORITHM).unwrap()
}

async fn names(db: &Db) -> Vec<String> {
    let (_, rows) = signing_key::read(db).await.unwrap();
    rows.into_iter().map(|row| row.kid).collect()
}

async fn open(db: &Db, number: u8, signer: Fingerprint) -> Opened {
    let row = session_of(UserId(1), number, NOW, signer);
    session_open::open(db, &row, 1, &ANYBODY).await.unwrap()
}

/// What verifications are told of signers.
pub(super) async fn facts(db: &Db) -> Vec<Vec<u8>> {
    let mut facts = session::find(db, &[&[1; 16]], &[]).await.unwrap().0.facts().to_vec();
    facts.sort_by_key(Vec::len);
    facts
}

#[tokio::test]
async fn of_two_replicas_that_make_a_key_one_does() {
    for (db, _folder) in engines().await {
        let (one, two) = (key(), key());
        let (first, second) = tokio::join!(add(&db, &one, 0, SIGNER), add(&db, &two, 0, SIGNER));
        assert_ne!(first, second);
        let winner = if first { &one } else { &two };
        assert_eq!(names(&db).await, [winner.public.kid()]);
        assert_eq!(signing_key::last_slot(&db, ALGORITHM).await.unwrap(), 1);
        assert!(facts(&db).await.contains(&winner.public.thumbprint().to_vec()));
        // Nor does one whose secret was taken back while it made it.
        assert!(!add(&db, &key(), 1, OTHER).await);
        assert_eq!(names(&db).await.len(), 1);
    }
}

#[tokio::test]
async fn a_revoked_key_signs_nobody_in_and_its_sessions_have_ended() {
    for (db, _folder) in engines().await {
        assert_eq!(user(&db, "ada").await, Some(1));
        let (key, other) = (key(), key());
        assert!(add(&db, &key, 0, SIGNER).await && add(&db, &other, 1, SIGNER).await);
        let (own, next) = (key.public.fingerprint(), other.public.fingerprint());
        assert_eq!(open(&db, 1, own).await, Opened::New);
        assert_eq!(open(&db, 2, next).await, Opened::New);
        let kid = key.public.kid();
        for _ in 0..2 {
            assert!(signing_key::revoke(&db, kid, &ANYBODY, NOW).await.unwrap().is_some());
            key_sessions::end(&db, kid, NOW).await.unwrap();
            assert_eq!(open(&db, 3, own).await, Opened::NotNamed);
            let ended = "SELECT number FROM sessions WHERE ended_at IS NOT NULL";
            let ended: Vec<(i64,)> = db.fetch(ended, &[]).await.unwrap();
            assert_eq!(ended, [(1,)]);
            assert_eq!(facts(&db).await, [SIGNER.0.to_vec(), other.public.thumbprint().to_vec()]);
            assert_eq!(names(&db).await, [other.public.kid()]);
        }
        assert!(signing_key::revoke(&db, "none", &ANYBODY, NOW).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn keys_end_with_the_secret_of_the_last_start_and_are_kept_with_one_before_it() {
    for (db, _folder) in engines().await {
        let key = key();
        assert!(add(&db, &key, 0, SIGNER).await);
        let take_up = async |own: &[Fingerprint]| {
            signer::take_up(&db, own, Others::Withdrawn, &ANYBODY, NOW).await.unwrap()
        };
        take_up(&[OTHER, SIGNER]).await;
        take_up(&[OTHER]).await;
        let (_, rows) = signing_key::read(&db).await.unwrap();
        // Nobody has sealed it anew, and nobody can open it any more: its tokens are good, and another one is to sign.
        assert!(rows.len() == 1 && !rows[0].can_be_opened());
        take_up(&[Fingerprint([3; 16])]).await;
        assert!(names(&db).await.is_empty());
        assert!(!facts(&db).await.contains(&key.public.thumbprint().to_vec()));
    }
}
