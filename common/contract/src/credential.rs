//! The API key format: how a key is made, recognised without asking anyone, and hashed.
//!
//! `sk_` + 43 random base62 characters (256 bits) + 6 base62 characters of CRC-32 over those 43.
//! A pattern for secret scanners: `sk_[0-9A-Za-z]{49}`, confirmed by the checksum.

use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// What every API key begins with.
pub const PREFIX: &str = "sk_";
/// Characters of a whole key: prefix, random part and checksum.
pub const KEY_LENGTH: usize = PREFIX.len() + RANDOM_LENGTH + CHECKSUM_LENGTH;

/// 43 characters of 62 possible ones hold 43 · log2(62) = 256.03 bits.
const RANDOM_LENGTH: usize = 43;
/// 62^6 is above 2^32, so six characters hold any CRC-32.
const CHECKSUM_LENGTH: usize = 6;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Random characters that [`ApiKey::hint`] shows behind the prefix.
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

/// A text that no key service ever issued: wrong prefix, length, alphabet or checksum.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an API key: `sk_` and 49 letters and digits with a matching checksum are accepted")]
pub struct MalformedKey;

impl ApiKey {
    /// Makes a key from `fill`, a source of cryptographically secure random bytes.
    pub fn generate(mut fill: impl FnMut(&mut [u8])) -> Self {
        let mut random = Zeroizing::new(Vec::with_capacity(RANDOM_LENGTH));
        let mut bytes = Zeroizing::new([0_u8; 2 * RANDOM_LENGTH]);
        while random.len() < RANDOM_LENGTH {
            fill(bytes.as_mut_slice());
            // 248 is the largest multiple of 62 in a byte: above it the choice would be biased.
            let fair = bytes.iter().filter(|byte| **byte < 248);
            let left = RANDOM_LENGTH - random.len();
            random.extend(fair.take(left).map(|byte| ALPHABET[usize::from(byte % 62)]));
        }
        let mut text = String::with_capacity(KEY_LENGTH);
        text.push_str(PREFIX);
        text.extend(random.iter().copied().map(char::from));
        text.extend(checksum(&random).map(char::from));
        Self(Secret::new(text))
    }

    /// Recognises a key by its form alone.
    ///
    /// # Errors
    /// [`MalformedKey`] where prefix, length, alphabet or checksum are wrong.
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

    fn check(text: &str) -> Result<(), MalformedKey> {
        let body = text.strip_prefix(PREFIX).ok_or(MalformedKey)?.as_bytes();
        if body.len() != RANDOM_LENGTH + CHECKSUM_LENGTH {
            return Err(MalformedKey);
        }
        let (random, sum) = body.split_at(RANDOM_LENGTH);
        if !random.iter().all(u8::is_ascii_alphanumeric) || sum != checksum(random) {
            return Err(MalformedKey);
        }
        Ok(())
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

    /// Enough of the key for its owner to recognise it in a list: `sk_Ab3d…9xYz`. It leaves more
    /// than 200 unknown bits.
    #[must_use]
    pub fn hint(&self) -> String {
        let text = self.expose();
        let start = text.chars().take(PREFIX.len() + HINT_START);
        let end = text.chars().skip(KEY_LENGTH - HINT_END);
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
mod tests {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

    use super::*;

    /// A small deterministic generator (xorshift64*), so that the tests need no random crate.
    fn random_bytes(seed: u64) -> impl FnMut(&mut [u8]) {
        let mut state = seed | 1;
        move |bytes| {
            for byte in bytes {
                state ^= state >> 12;
                state ^= state << 25;
                state ^= state >> 27;
                *byte = (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 56) as u8;
            }
        }
    }

    #[test]
    fn a_generated_key_is_recognised_and_keys_differ() {
        let mut fill = random_bytes(7);
        let first = ApiKey::generate(&mut fill);
        let second = ApiKey::generate(&mut fill);
        assert_ne!(first, second);
        assert_eq!(first.expose().len(), KEY_LENGTH);
        assert_eq!(ApiKey::parse(first.expose()), Ok(first));
    }

    #[test]
    fn the_format_never_changes() {
        let key = ApiKey::generate(|bytes| bytes.fill(10));
        assert_eq!(key.expose(), "sk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA0DofJ8");
        assert_eq!(key.hint(), "sk_AAAA…ofJ8");
    }

    #[test]
    fn no_character_is_likelier_than_another() {
        // 248 to 255 would make eight characters likelier, so they choose none; 247 is the last that chooses.
        let mut fills = 0;
        let key = ApiKey::generate(|bytes| {
            fills += 1;
            for (at, byte) in bytes.iter_mut().enumerate() {
                *byte = [248, 247, 255, 247][at % 4];
            }
        });
        assert_eq!(key.expose().matches('z').count(), RANDOM_LENGTH);
        assert_eq!(fills, 1, "half of the bytes may be of no use, and one filling is enough");
        let mut drawn = [0; 62];
        let mut fill = random_bytes(17);
        for _ in 0..1_000 {
            let key = ApiKey::generate(&mut fill);
            for byte in &key.expose().as_bytes()[PREFIX.len()..][..RANDOM_LENGTH] {
                drawn[ALPHABET.iter().position(|known| known == byte).unwrap()] += 1;
            }
        }
        // 694 of each are to be expected; five times the standard deviation is 131.
        assert!(drawn.iter().all(|count| (563..825).contains(count)), "{drawn:?}");
    }

    #[test]
    fn what_is_stored_of_a_key_is_the_digest_of_its_text() {
        let key = ApiKey::generate(|bytes| bytes.fill(10));
        let digest = CredentialHash::of(key.expose());
        assert_eq!((key.hash(), ApiKey::hash_of(key.expose())), (digest, Ok(digest)));
        assert_eq!(ApiKey::hash_of("sk_"), Err(MalformedKey));
        // SHA-256 of "abc" (FIPS 180-2, B.1) begins so.
        assert_eq!(CredentialHash::of("abc").0[..4], [0xba, 0x78, 0x16, 0xbf]);
    }

    #[test]
    fn hashes_fall_apart_in_tables_and_stay_out_of_logs() {
        let (tables, hash) = (BuildHasherDefault::<DefaultHasher>::default(), CredentialHash::of);
        assert_ne!(tables.hash_one(hash("a")), tables.hash_one(hash("b")));
        assert_eq!(tables.hash_one(hash("a")), tables.hash_one(hash("a")));
        assert_eq!(format!("{:?}", hash("a")), "CredentialHash([redacted])");
    }

    #[test]
    fn another_alphabet_is_refused_even_with_its_checksum() {
        for other in ['-', '_', '+', ' '] {
            let random = "A".repeat(RANDOM_LENGTH - 1) + &String::from(other);
            let sum = checksum(random.as_bytes()).map(char::from);
            let text = format!("{PREFIX}{random}{}", String::from_iter(sum));
            assert_eq!(ApiKey::parse(&text), Err(MalformedKey), "{text}");
        }
    }

    #[test]
    fn every_single_changed_character_is_noticed() {
        let key = ApiKey::generate(random_bytes(11));
        for at in 0..KEY_LENGTH {
            for other in *ALPHABET {
                let mut bytes = key.expose().as_bytes().to_vec();
                if bytes[at] == other {
                    continue;
                }
                bytes[at] = other;
                let text = String::from_utf8(bytes).unwrap();
                assert_eq!(ApiKey::parse(&text), Err(MalformedKey), "{text}");
            }
        }
    }

    #[test]
    fn of_a_million_random_texts_of_the_right_shape_almost_none_passes() {
        let mut fill = random_bytes(13);
        let mut passed = 0;
        let mut bytes = [0_u8; 49];
        let mut text = String::from(PREFIX);
        for _ in 0..1_000_000 {
            fill(&mut bytes);
            text.truncate(PREFIX.len());
            text.extend(bytes.iter().map(|b| char::from(ALPHABET[usize::from(b % 62)])));
            passed += usize::from(ApiKey::parse(&text).is_ok());
        }
        assert_eq!(passed, 0);
    }

    #[test]
    fn text_that_is_no_key_is_refused() {
        let long = "sk_".repeat(1_000_000);
        for text in ["", "sk_", "pk_x", "sk_ä", "sk_\u{0}", &long] {
            assert_eq!(ApiKey::parse(text), Err(MalformedKey));
        }
    }
}
