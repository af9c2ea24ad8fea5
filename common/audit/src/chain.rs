//! The chain that seals events: each link is a hash of the one before and of the event as JSON, so that a row that is
//! changed, taken out or put in breaks it. It detects, and does not prevent.

use hkdf::Hkdf;
use hmac::digest::Output;
use hmac::{Hmac, KeyInit, Mac};
use latchkey_contract::Secret;
use sha2::{Digest, Sha256};

/// A link: 32 bytes.
pub type Link = [u8; 32];

/// The link before the first event.
pub const FIRST: Link = [0; 32];

/// What links are made with.
#[derive(Clone, Debug)]
pub enum ChainKey {
    /// HMAC-SHA-256 under a secret: whoever can only write the database cannot make links.
    Keyed(Secret),
    /// SHA-256: whoever can write the database can make the whole chain anew. Only an anchor that is kept elsewhere
    /// shows that.
    Unkeyed,
}

/// The key that links are made with, and the one before, where it was changed.
#[derive(Clone, Debug)]
pub struct ChainKeys {
    /// What links are made with.
    pub current: ChainKey,
    /// What earlier ones were made with.
    pub previous: Option<ChainKey>,
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// That which links are made with.
    Current,
    /// That which earlier ones were made with.
    Previous,
}

impl ChainKeys {
    /// One key, which was never another.
    #[must_use]
    pub fn of(current: ChainKey) -> Self {
        Self { current, previous: None }
    }

    /// Under which key `link` leads from `before` to an event in its canonical form, if under one of them.
    #[must_use]
    pub fn made(&self, link: Link, before: &Link, event: &[u8]) -> Option<Which> {
        let is_of = |key: &ChainKey| key.link(before, event) == link;
        if is_of(&self.current) {
            return Some(Which::Current);
        }
        self.previous.as_ref().filter(|key| is_of(key)).map(|_key| Which::Previous)
    }
}

impl ChainKey {
    /// With the secret, where there is one.
    #[must_use]
    pub fn of(secret: Option<Secret>) -> Self {
        secret.map_or(Self::Unkeyed, Self::Keyed)
    }

    /// The link behind `before` of an event in its canonical form.
    #[must_use]
    pub fn link(&self, before: &Link, event: &[u8]) -> Link {
        let digest: Output<Sha256> = match self {
            Self::Keyed(secret) => match Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes())
            {
                Ok(mac) => mac.chain_update(before).chain_update(event).finalize().into_bytes(),
                // A key of HMAC has no wrong length.
                Err(_invalid) => Output::<Sha256>::default(),
            },
            Self::Unkeyed => Sha256::new().chain_update(before).chain_update(event).finalize(),
        };
        digest.into()
    }
}

/// The secret of the chain that is derived from another one (HKDF, RFC 5869), where none is set.
#[must_use]
pub fn derived(secret: &Secret) -> Secret {
    let mut key = [0; 32];
    let seeded = Hkdf::<Sha256>::new(None, secret.expose().as_bytes());
    // It fails above 8,160 bytes alone.
    match seeded.expand(b"latchkey audit", &mut key) {
        Ok(()) => Secret::new(hex::encode(key)),
        Err(_too_long) => secret.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_hangs_on_the_key_the_link_before_and_the_event() {
        let keyed = ChainKey::of(Some(Secret::new("a".repeat(32))));
        let other = ChainKey::of(Some(Secret::new("b".repeat(32))));
        let links = [
            keyed.link(&FIRST, b"one"),
            keyed.link(&FIRST, b"two"),
            keyed.link(&[1; 32], b"one"),
            other.link(&FIRST, b"one"),
            ChainKey::Unkeyed.link(&FIRST, b"one"),
        ];
        for (at, link) in links.iter().enumerate() {
            assert!(*link != FIRST && !links[..at].contains(link), "{at}");
        }
        assert_eq!(links[0], keyed.link(&FIRST, b"one"));
    }

    #[test]
    fn a_link_tells_which_key_it_was_made_with() {
        let key = |letter: &str| ChainKey::of(Some(Secret::new(letter.repeat(32))));
        let keys = ChainKeys { current: key("b"), previous: Some(key("a")) };
        let made = |key: ChainKey| keys.made(key.link(&FIRST, b"one"), &FIRST, b"one");
        assert_eq!(made(key("b")), Some(Which::Current));
        assert_eq!(made(key("a")), Some(Which::Previous));
        assert_eq!(made(ChainKey::Unkeyed), None);
        let link = key("a").link(&FIRST, b"one");
        assert_eq!(ChainKeys::of(key("b")).made(link, &FIRST, b"one"), None);
    }

    #[test]
    fn a_link_without_a_key_is_what_anybody_can_compute() {
        // SHA-256 of 32 zero bytes.
        let zeroes = "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925";
        assert_eq!(hex::encode(ChainKey::Unkeyed.link(&FIRST, b"")), zeroes);
    }

    #[test]
    fn what_is_derived_is_a_secret_of_its_own() {
        let (one, other) = (Secret::new("a".repeat(64)), Secret::new("b".repeat(64)));
        let key = derived(&one);
        assert_eq!(key.expose().len(), 64);
        assert!(key.expose() != one.expose() && key.expose() != derived(&other).expose());
        assert_eq!(key.expose(), derived(&one).expose());
    }
}
