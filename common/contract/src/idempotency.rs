//! A client's `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07): a command that is sent again under it does
//! nothing more, and gets the first answer. Edges read it, the key service keeps what was answered.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::secret::Secret;

/// The header's text: [`MIN`](Self::MIN) to [`MAX`](Self::MAX) visible ASCII characters. It opens what was answered, so it
/// is treated as a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct IdempotencyKey(Secret);

/// A text that is no `Idempotency-Key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not 16 to 255 visible ASCII characters")]
pub struct MalformedIdempotencyKey;

/// SHA-256 of what a client asked for: another request has another.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestDigest(pub [u8; 32]);

/// Where a client has asked: the same key elsewhere is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IdempotentRoute {
    /// `POST /keys/create`
    Create,
    /// `POST /keys`
    CreateScoped,
    /// `POST /keys/bulk`
    CreateMany,
    /// `POST /keys/{key_id}/rotate`
    Rotate,
    /// `POST /keys/self/rotate`
    RotateSelf,
}

/// What a command says that may come again from its client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotency {
    /// The client's header.
    pub key: IdempotencyKey,
    /// Where it came.
    pub route: IdempotentRoute,
    /// What was asked for.
    pub request: RequestDigest,
}

impl IdempotencyKey {
    /// Characters of one at least.
    pub const MIN: usize = 16;
    /// Characters of one at most.
    pub const MAX: usize = 255;

    /// Reads the header's text.
    ///
    /// # Errors
    /// [`MalformedIdempotencyKey`] where it is too short or too long, or holds anything but visible ASCII.
    pub fn parse(text: &str) -> Result<Self, MalformedIdempotencyKey> {
        let fits = (Self::MIN..=Self::MAX).contains(&text.len());
        if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(Secret::new(text.to_owned())))
        } else {
            Err(MalformedIdempotencyKey)
        }
    }

    /// The text itself. Whoever calls this answers for where it goes.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdempotencyKey([redacted])")
    }
}

impl Serialize for IdempotencyKey {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.expose())
    }
}

impl<'de> Deserialize<'de> for IdempotencyKey {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Secret::new(String::deserialize(from)?);
        Self::parse(text.expose()).map_err(D::Error::custom)
    }
}

impl RequestDigest {
    /// Of these parts, in this order.
    #[must_use]
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut digest = Sha256::new();
        for part in parts {
            // So that no part runs into the next.
            let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
            digest.update(length.to_be_bytes());
            digest.update(part);
        }
        Self(digest.finalize().into())
    }
}

/// What was asked for is nobody else's to guess.
impl fmt::Debug for RequestDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestDigest")
    }
}

impl IdempotentRoute {
    /// Its name, as it is stored.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "POST /keys/create",
            Self::CreateScoped => "POST /keys",
            Self::CreateMany => "POST /keys/bulk",
            Self::Rotate => "POST /keys/{key_id}/rotate",
            Self::RotateSelf => "POST /keys/self/rotate",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_so_many_visible_characters_and_is_not_printed() {
        for good in
            ["0123456789abcdef", "8e03978e-40d5-43dd-bc93-6894a57f9324", "\"!~\"!~\"!~\"!~\"!~\""]
        {
            let key = IdempotencyKey::parse(good).unwrap();
            assert_eq!(key.expose(), good);
            assert_eq!(format!("{key:?}"), "IdempotencyKey([redacted])");
        }
        assert!(IdempotencyKey::parse(&"x".repeat(255)).is_ok());
        let long = "x".repeat(256);
        for bad in [
            "",
            "0123456789abcde",
            long.as_str(),
            "0123456789 abcdef",
            "0123456789abcdeé",
            "0123456789abcde\u{7f}",
        ] {
            assert_eq!(IdempotencyKey::parse(bad), Err(MalformedIdempotencyKey), "{bad}");
        }
    }

    #[test]
    fn no_part_of_a_request_runs_into_the_next() {
        let of = RequestDigest::of;
        assert_eq!(of(&[b"a", b"b"]), of(&[b"a", b"b"]));
        for other in [&[&b"ab"[..]][..], &[b"", b"ab"], &[b"b", b"a"], &[b"a"], &[]] {
            assert_ne!(of(&[b"a", b"b"]), of(other));
        }
    }
}
