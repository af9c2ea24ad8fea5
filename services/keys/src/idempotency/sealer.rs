//! How an answer is kept that its client alone can open: AES-256-GCM under a key that is derived from the client's
//! `Idempotency-Key` and a secret of the service. Neither the service without the client nor a copy of the database opens
//! it, and the client's header is kept as its HMAC under that secret.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use latchkey_contract::{IdempotencyKey, RequestDigest, Secret};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Random bytes of one kept answer: each has a key of its own.
pub const SALT_LEN: usize = 16;
/// Bytes of a key, and of a hash.
const KEY_LEN: usize = 32;

/// What the derived secrets are for: a change of one of these makes every kept answer one that nobody has asked for.
const NAMES: &[u8] = b"latchkey idempotency names";
const SEALS: &[u8] = b"latchkey idempotency seals";
const ANSWER: &[u8] = b"latchkey idempotency answer 1";
/// What is hashed under the one secret, so that neither is ever the other.
const OF_KEY: &[u8] = b"key";
const OF_REQUEST: &[u8] = b"request";

/// Names, seals and opens what is kept.
#[derive(Clone)]
pub struct Sealer {
    names: Zeroizing<[u8; KEY_LEN]>,
    seals: Zeroizing<[u8; KEY_LEN]>,
}

/// What was kept is not what was sealed for this client and this row, or cannot be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an answer that is kept for a repeat cannot be sealed or opened")]
pub struct Unsealable;

impl Sealer {
    /// By secrets that are derived from `secret` (HKDF, RFC 5869), which every replica has and no database.
    ///
    /// # Errors
    /// [`Unsealable`] never happens: HKDF gives as many bytes.
    pub fn of(secret: &Secret) -> Result<Self, Unsealable> {
        let seeded = Hkdf::<Sha256>::new(None, secret.expose().as_bytes());
        Ok(Self { names: expand(&seeded, NAMES)?, seals: expand(&seeded, SEALS)? })
    }

    /// What stands for a client's key in the database.
    ///
    /// # Errors
    /// [`Unsealable`] never happens: a key of HMAC has no wrong length.
    pub fn name(&self, key: &IdempotencyKey) -> Result<[u8; KEY_LEN], Unsealable> {
        self.mac(OF_KEY, key.expose().as_bytes())
    }

    /// What stands for a request there.
    ///
    /// # Errors
    /// As for [`name`](Self::name).
    pub fn digest(&self, request: RequestDigest) -> Result<[u8; KEY_LEN], Unsealable> {
        self.mac(OF_REQUEST, &request.0)
    }

    /// Seals `answer` for whoever has `key`. It opens beside the same `bound` bytes alone. `salt` is random and used once.
    ///
    /// # Errors
    /// [`Unsealable`] where it is longer than a cipher takes.
    pub fn seal(
        &self,
        key: &IdempotencyKey,
        salt: &[u8; SALT_LEN],
        bound: &[u8],
        answer: &[u8],
    ) -> Result<Vec<u8>, Unsealable> {
        let mut sealed = answer.to_vec();
        self.cipher(key, salt)?
            .seal_in_place_append_tag(nonce(), Aad::from(bound), &mut sealed)
            .map_err(|_unspecified| Unsealable)?;
        Ok(sealed)
    }

    /// Opens what [`seal`](Self::seal) has sealed.
    ///
    /// # Errors
    /// [`Unsealable`] where it was changed, or is somebody else's or another row's.
    pub fn open(
        &self,
        key: &IdempotencyKey,
        salt: &[u8],
        bound: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Unsealable> {
        let mut opened = Zeroizing::new(sealed.to_vec());
        let length = self
            .cipher(key, salt)?
            .open_in_place(nonce(), Aad::from(bound), &mut opened)
            .map_err(|_unspecified| Unsealable)?
            .len();
        opened.truncate(length);
        Ok(opened)
    }

    /// The cipher of one row. The client's key comes first: what follows always has the same length.
    fn cipher(&self, key: &IdempotencyKey, salt: &[u8]) -> Result<LessSafeKey, Unsealable> {
        let both = Zeroizing::new([key.expose().as_bytes(), &*self.seals].concat());
        let derived = expand(&Hkdf::<Sha256>::new(Some(salt), &both), ANSWER)?;
        let unbound =
            UnboundKey::new(&AES_256_GCM, &*derived).map_err(|_unspecified| Unsealable)?;
        Ok(LessSafeKey::new(unbound))
    }

    fn mac(&self, of: &[u8], bytes: &[u8]) -> Result<[u8; KEY_LEN], Unsealable> {
        let mac = Hmac::<Sha256>::new_from_slice(&*self.names).map_err(|_invalid| Unsealable)?;
        Ok(mac.chain_update(of).chain_update(bytes).finalize().into_bytes().into())
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}

/// Each row's key seals once, so its nonce need not differ from another's.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

fn expand(seeded: &Hkdf<Sha256>, what: &[u8]) -> Result<Zeroizing<[u8; KEY_LEN]>, Unsealable> {
    let mut derived = Zeroizing::new([0; KEY_LEN]);
    seeded.expand(what, &mut *derived).map_err(|_too_long| Unsealable)?;
    Ok(derived)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: [u8; SALT_LEN] = [3; SALT_LEN];
    const BOUND: &[u8] = b"row";
    const ANSWERED: &[u8] = b"sk_abc";

    fn sealer(letter: &str) -> Sealer {
        Sealer::of(&Secret::new(letter.repeat(32))).unwrap()
    }

    fn key(text: &str) -> IdempotencyKey {
        IdempotencyKey::parse(text).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_for_its_client_and_shows_nothing() {
        let (own, key) = (sealer("a"), key("client-key-client-key"));
        let sealed = own.seal(&key, &SALT, BOUND, ANSWERED).unwrap();
        assert_eq!(&*own.open(&key, &SALT, BOUND, &sealed).unwrap(), ANSWERED);
        assert!(!sealed.windows(3).any(|part| ANSWERED.windows(3).any(|other| part == other)));
        let other = own.seal(&key, &[4; SALT_LEN], BOUND, ANSWERED).unwrap();
        assert_ne!(sealed, other, "each row has a key of its own");
        let empty = own.seal(&key, &SALT, BOUND, b"").unwrap();
        assert_eq!(&*own.open(&key, &SALT, BOUND, &empty).unwrap(), b"");
    }

    #[test]
    fn a_flipped_bit_opens_nothing() {
        let (own, key) = (sealer("a"), key("client-key-client-key"));
        let sealed = own.seal(&key, &SALT, BOUND, ANSWERED).unwrap();
        for place in 0..sealed.len() {
            for bit in 0..8 {
                let mut other = sealed.clone();
                other[place] ^= 1 << bit;
                assert_eq!(own.open(&key, &SALT, BOUND, &other).unwrap_err(), Unsealable);
            }
            assert!(own.open(&key, &SALT, BOUND, &sealed[..place]).is_err());
        }
    }

    #[test]
    fn another_client_key_secret_salt_or_row_opens_nothing() {
        let (own, key_of) = (sealer("a"), key("client-key-client-key"));
        let sealed = own.seal(&key_of, &SALT, BOUND, ANSWERED).unwrap();
        let opened = [
            own.open(&key("client-key-client-kez"), &SALT, BOUND, &sealed),
            own.open(&key("client-key-client-ke"), &SALT, BOUND, &sealed),
            sealer("b").open(&key_of, &SALT, BOUND, &sealed),
            own.open(&key_of, &[4; SALT_LEN], BOUND, &sealed),
            own.open(&key_of, &[], BOUND, &sealed),
            own.open(&key_of, &SALT, b"rox", &sealed),
        ];
        assert!(opened.iter().all(Result::is_err), "{opened:?}");
    }

    #[test]
    fn a_name_hangs_on_the_key_and_on_the_secret() {
        let (own, one) = (sealer("a"), key("client-key-client-key"));
        let name = own.name(&one).unwrap();
        assert_eq!(name, own.clone().name(&one).unwrap());
        let others = [
            own.name(&key("client-key-client-kez")).unwrap(),
            sealer("b").name(&one).unwrap(),
            own.digest(RequestDigest([7; 32])).unwrap(),
            own.digest(RequestDigest([8; 32])).unwrap(),
        ];
        for (place, other) in others.iter().enumerate() {
            assert!(*other != name && !others[..place].contains(other));
        }
        assert_eq!(format!("{own:?}"), "Sealer");
    }
}
