//! The API key format: how a key is made, recognised without asking anyone, and hashed.
//!
//! `<prefix>[_<environment>]_`, then 43 random base62 characters (256 bits), then 6 base62 characters of CRC-32 over
//! those 43: `sk_…`, `sk_sandbox_…`, `acme_…`. In one expression, which the checksum confirms:
//! `^[a-z][a-z0-9]{1,15}(_[a-z0-9]{2,12})?_[0-9A-Za-z]{49}$`.

mod lead;
mod refresh;

use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::secret::Secret;

pub use lead::{KeyEnvironment, KeyPrefix, MalformedEnvironment, MalformedPrefix};
pub use refresh::{MalformedRefreshToken, RefreshToken};

/// 43 characters of 62 possible ones hold 43 · log2(62) = 256.03 bits.
const RANDOM_LENGTH: usize = 43;
/// 62^6 is above 2^32, so six characters hold any CRC-32.
const CHECKSUM_LENGTH: usize = 6;
/// Characters of a key behind its prefix and environment.
const BODY_LENGTH: usize = RANDOM_LENGTH + CHECKSUM_LENGTH;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Random characters that [`ApiKey::hint`] shows behind prefix and environment.
const HINT_START: usize = 4;
/// Final characters that [`ApiKey::hint`] shows.
const HINT_END: usize = 4;

/// A well-formed API key in plain text. Only its holder and the request that made it ever have one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiKey(Secret);

/// SHA-256 of a credential's text: what is stored, looked up and sent between services.
///
/// A fast hash is enough for a key of 256 random bits; there is nothing to guess.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CredentialHash(pub [u8; 32]);

/// A text that no key service ever issued: its beginning, length, alphabet or checksum is wrong.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an API key: a prefix such as `sk_` or `sk_sandbox_` and 49 letters and digits with a matching checksum are \
     accepted"
)]
pub struct MalformedKey;

impl ApiKey {
    /// Makes a key from `fill`, a source of cryptographically secure random bytes. Its random characters are the same
    /// whatever stands before them; `infix` is its environment, where that is told.
    pub fn generate(
        prefix: &KeyPrefix,
        infix: Option<&KeyEnvironment>,
        mut fill: impl FnMut(&mut [u8]),
    ) -> Self {
        Self(text(&lead::lead(prefix, infix), &mut fill))
    }

    /// Recognises a key by its form alone.
    ///
    /// # Errors
    /// [`MalformedKey`] where beginning, length, alphabet or checksum are wrong.
    pub fn parse(text: &str) -> Result<Self, MalformedKey> {
        Self::check(text).map(|()| Self(Secret::new(text.to_owned())))
    }

    /// What is stored of the key that `text` is: [`hash`](Self::hash) without a copy of the key.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn hash_of(text: &str) -> Result<CredentialHash, MalformedKey> {
        Self::check(text).map(|()| CredentialHash::of(text))
    }

    /// Whether `text` begins like a key, which no access token does.
    #[must_use]
    pub fn is_begun_by(text: &str) -> bool {
        lead::begins_with_prefix(text.as_bytes())
    }

    /// Whether a whole key, of whatever prefix, stands somewhere in `text`.
    #[must_use]
    pub fn is_within(text: &str) -> bool {
        let mut rest = text.as_bytes();
        while let Some(at) = rest.iter().position(|byte| *byte == b'_') {
            rest = rest.get(at + 1..).unwrap_or_default();
            // By chance the checksum matches one text in 2^32: what stands before it says no more.
            if rest.first_chunk().is_some_and(is_body) {
                return true;
            }
        }
        false
    }

    fn check(text: &str) -> Result<(), MalformedKey> {
        match text.as_bytes().split_last_chunk() {
            Some((lead, body)) if lead::is_lead(lead) && is_body(body) => Ok(()),
            _ => Err(MalformedKey),
        }
    }

    /// The key itself, for the one answer that shows it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// What is stored of the key.
    #[must_use]
    pub fn hash(&self) -> CredentialHash {
        CredentialHash::of(self.expose())
    }

    /// Enough of the key for its owner to recognise it in a list: `sk_Ab3d…9xYz`, `sk_sandbox_Ab3d…9xYz`. It leaves
    /// more than 200 unknown bits.
    #[must_use]
    pub fn hint(&self) -> String {
        let text = self.expose();
        let lead = text.len() - BODY_LENGTH;
        let start = text.chars().take(lead + HINT_START);
        let end = text.chars().skip(text.len() - HINT_END);
        start.chain(std::iter::once('…')).chain(end).collect()
    }
}

impl CredentialHash {
    /// The hash of a credential's text.
    #[must_use]
    pub fn of(credential: &str) -> Self {
        Self(Sha256::digest(credential.as_bytes()).into())
    }
}

/// For tables: 8 of the bytes, which are as good as random. With a keyed hasher nobody can choose where a
/// credential lands.
impl Hash for CredentialHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (part, _) = self.0.split_first_chunk().unwrap_or((&[0; size_of::<u64>()], &[]));
        state.write_u64(u64::from_ne_bytes(*part));
    }
}

impl fmt::Debug for CredentialHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialHash([redacted])")
    }
}

/// `lead`, random characters from `fill` and their checksum.
fn text(lead: &str, fill: &mut impl FnMut(&mut [u8])) -> Secret {
    let mut random = Zeroizing::new(Vec::with_capacity(RANDOM_LENGTH));
    let mut bytes = Zeroizing::new([0_u8; 2 * RANDOM_LENGTH]);
    while random.len() < RANDOM_LENGTH {
        fill(bytes.as_mut_slice());
        // 248 is the largest multiple of 62 in a byte: above it the choice would be biased.
        let fair = bytes.iter().filter(|byte| **byte < 248);
        let left = RANDOM_LENGTH - random.len();
        random.extend(fair.take(left).map(|byte| ALPHABET[usize::from(byte % 62)]));
    }
    // No copy of it is left behind by a text that grows.
    let mut text = String::with_capacity(lead.len() + BODY_LENGTH);
    text.push_str(lead);
    text.extend(random.iter().copied().map(char::from));
    text.extend(checksum(&random).map(char::from));
    Secret::new(text)
}

/// Whether these are random characters and their checksum.
fn is_body(body: &[u8; BODY_LENGTH]) -> bool {
    let (random, sum) = body.split_at(RANDOM_LENGTH);
    random.iter().all(u8::is_ascii_alphanumeric) && sum == checksum(random)
}

/// CRC-32 (ISO-HDLC) of `random` in base62, most significant digit first, padded with `0`.
fn checksum(random: &[u8]) -> [u8; CHECKSUM_LENGTH] {
    let mut rest = crc32fast::hash(random);
    let mut digits = [b'0'; CHECKSUM_LENGTH];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

#[cfg(test)]
mod tests;
