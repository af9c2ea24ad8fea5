//! The signing keys as a process knows them. A name is one key's for ever, so what is known of a key is not wrong later;
//! whether it is accepted is for the rows to say, in the snapshot of each verification.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use latchkey_contract::{Secret, Timestamp};
use latchkey_store::{Db, StoreError};

use super::algorithm::KeyAlgorithm;
use super::key::{KeyError, PrivateKey, PublicKey};
use super::plan::Slot;
use super::seal;
use crate::fingerprint::Fingerprint;
use crate::store::signing_key::{self as rows, SigningKeyRow};

/// The keys, shared by whoever signs, reads and keeps them. Clones share them.
#[derive(Clone)]
pub struct Keys {
    secrets: Arc<[Secret]>,
    own: Fingerprint,
    /// With the number of the reading that it is of.
    known: Arc<Mutex<(u64, Arc<Known>)>>,
    readings: Arc<AtomicU64>,
}

/// What is known at one time.
#[derive(Debug, Default)]
pub struct Known {
    /// How tokens are signed; `None`: with the secret.
    pub algorithm: Option<KeyAlgorithm>,
    /// Keys that are not revoked, of any algorithm.
    pub keys: Vec<KnownKey>,
}

/// One key.
#[derive(Clone, Debug)]
pub struct KnownKey {
    /// The halves.
    pub halves: Arc<Halves>,
    /// When it signs.
    pub slot: Slot,
    /// The longest life of its tokens, in milliseconds.
    pub longest_life: i64,
    /// Whether anybody can open its private half: else it signs no more.
    pub can_be_opened: bool,
}

/// What a key is. It does not change.
#[derive(Debug)]
pub struct Halves {
    /// What is published.
    pub public: PublicKey,
    /// What signs, where this process can open it.
    pub private: Option<PrivateKey>,
    /// Whether it was sealed with a secret that is not the present one.
    pub is_sealed_formerly: bool,
}

/// No key can sign.
#[derive(Debug, thiserror::Error)]
pub enum CannotSign {
    /// None is there yet, or this process cannot open it.
    #[error("there is no signing key that this process can open")]
    NoKey,
    /// The key does not sign.
    #[error("the signing key does not sign")]
    Key(#[from] KeyError),
    /// The token has no form.
    #[error("the token cannot be written")]
    Form(#[from] jsonwebtoken::errors::Error),
}

impl Keys {
    /// Of a process that holds these secrets, the one that seals first, which the database knows by `own`. It knows no key
    /// yet.
    #[must_use]
    pub fn new(secrets: Vec<Secret>, own: Fingerprint) -> Self {
        Self { own, secrets: secrets.into(), known: Arc::default(), readings: Arc::default() }
    }

    /// What is known now.
    #[must_use]
    pub fn known(&self) -> Arc<Known> {
        Arc::clone(&self.lock().1)
    }

    /// The secret that seals, and those that open.
    #[must_use]
    pub(crate) fn secrets(&self) -> &[Secret] {
        &self.secrets
    }

    /// The one that seals, as the database knows it.
    #[must_use]
    pub(crate) fn own(&self) -> Fingerprint {
        self.own
    }

    /// Reads the rows.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn load(&self, db: &Db) -> Result<Arc<Known>, StoreError> {
        let reading = self.readings.fetch_add(1, Ordering::Relaxed) + 1;
        let (algorithm, rows) = rows::read(db).await?;
        let before = self.known();
        let keys = rows.iter().filter_map(|row| self.key(&before, row)).collect();
        let known = Arc::new(Known { algorithm, keys });
        let mut held = self.lock();
        // One that began earlier and ends later does not take its place.
        if held.0 < reading {
            *held = (reading, Arc::clone(&known));
        }
        Ok(known)
    }

    /// As if the rows had said it.
    #[cfg(test)]
    pub(crate) fn know(&self, known: Known) {
        self.lock().1 = Arc::new(known);
    }

    /// What a row is of; `None` where that is nothing this release knows.
    fn key(&self, before: &Known, row: &SigningKeyRow) -> Option<KnownKey> {
        let known = |halves| KnownKey {
            halves,
            slot: row.slot(),
            longest_life: row.longest_life,
            can_be_opened: row.can_be_opened(),
        };
        // What could be opened is not opened anew.
        let as_before = before
            .by_kid(&row.kid)
            .filter(|key| key.halves.private.is_some() && !key.halves.is_sealed_formerly);
        if let Some(key) = as_before {
            return Some(known(Arc::clone(&key.halves)));
        }
        let algorithm = KeyAlgorithm::of(&row.algorithm)?;
        let public = PublicKey::of(algorithm, &row.public).ok().filter(|it| it.kid() == row.kid)?;
        let opened = self.secrets.iter().enumerate().find_map(|(at, secret)| {
            let private = seal::open(secret, &row.kid, &row.sealed)?;
            Some((at, PrivateKey::of(algorithm, &private).ok()?))
        });
        let is_sealed_formerly = opened.as_ref().is_some_and(|(at, _)| *at > 0);
        let private = opened.map(|(_, private)| private);
        Some(known(Arc::new(Halves { public, private, is_sealed_formerly })))
    }

    #[expect(clippy::disallowed_methods, reason = "each change is one assignment")]
    fn lock(&self) -> MutexGuard<'_, (u64, Arc<Known>)> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("known", &self.known()).finish_non_exhaustive()
    }
}

impl Known {
    /// The key of this name, exactly.
    #[must_use]
    pub fn by_kid(&self, kid: &str) -> Option<&KnownKey> {
        self.keys.iter().find(|key| key.halves.public.kid() == kid)
    }

    /// The keys of one algorithm.
    pub fn of(&self, algorithm: KeyAlgorithm) -> impl Iterator<Item = &KnownKey> {
        self.keys.iter().filter(move |key| key.halves.public.algorithm() == algorithm)
    }

    /// The key that signs at `now`.
    ///
    /// # Errors
    /// [`CannotSign::NoKey`]
    pub fn signing(
        &self,
        algorithm: KeyAlgorithm,
        now: Timestamp,
    ) -> Result<(&PublicKey, &PrivateKey), CannotSign> {
        let signs = self.of(algorithm).filter(|key| key.slot.signs(now));
        let key = signs.max_by_key(|key| key.slot.slot).ok_or(CannotSign::NoKey)?;
        let private = key.halves.private.as_ref().ok_or(CannotSign::NoKey)?;
        Ok((&key.halves.public, private))
    }
}
