//! Who acts on keys, and how far: a user on their own, or a key of theirs within what it may do itself.
//!
//! Whoever acts with less than everything (a key, or a token whose scopes were narrowed at login) makes and changes only
//! keys that lie within itself, before and after. What verifiers are told of a key besides (its metadata) is free.

use latchkey_contract::keys::RotateKey;
use latchkey_contract::scope::Scopes;
use latchkey_contract::{Actor, AllowedIps, Caller, Forbidden, KeyId, Refusal, Timestamp, UserId};

/// Makes and changes keys.
pub const WRITE: &str = "latchkey:keys:write";
/// Replaces the key that acts, and no other.
pub const ROTATE_SELF: &str = "latchkey:keys:rotate-self";

/// What whoever acts may give away at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Whatever the owner of the keys may.
    Owner,
    /// What a narrowed token may.
    Token(Scopes),
    /// What a key may.
    Key(Within),
}

/// What a key that acts may do itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Within {
    /// The key.
    pub id: KeyId,
    /// Its scopes, as far as its owner's ceiling reaches.
    pub scopes: Scopes,
    /// Where from it may be used.
    pub allowed_ips: AllowedIps,
    /// What it was made for.
    pub environment: String,
    /// When it ends.
    pub expires_at: Timestamp,
    /// Whose key it is in the owner's own system, where that was said: then all that it makes and changes is theirs.
    pub external_id: Option<String>,
}

/// What a key is, or is to be, of which somebody has to hold at least as much.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// What it is granted.
    pub scopes: &'a Scopes,
    /// Where from it may be used.
    pub allowed_ips: &'a AllowedIps,
    /// What it is for.
    pub environment: &'a str,
    /// When it ends.
    pub expires_at: Timestamp,
    /// Whose key it is in the owner's own system.
    pub external_id: Option<&'a str>,
}

/// Whether whoever acts may see the keys of `owner`: the owner, or a key of theirs, whose scopes an edge has judged.
///
/// # Errors
/// [`Forbidden`] where it is somebody else.
pub fn reads(caller: &Caller, owner: UserId) -> Result<(), Forbidden> {
    match &caller.actor {
        Actor::Key { owner: of, .. } if of.user() == owner => Ok(()),
        _ => caller.acts_as(owner),
    }
}

/// Whether a key replaces itself, whichever way it asks for that.
#[must_use]
pub fn is_self(request: &RotateKey, by: &Caller) -> bool {
    request.is_self || matches!(by.actor, Actor::Key { id, .. } if id == request.target.key)
}

/// A refusal that names scopes of which all are needed.
#[must_use]
pub fn lacks<'a>(scopes: impl IntoIterator<Item = &'a str>) -> Refusal {
    let all: Vec<&str> = scopes.into_iter().collect();
    Refusal::InsufficientScope { required: vec![all.join(" ")] }
}

impl Reach {
    /// The scopes that whoever acts has, where that is not whatever the owner has.
    #[must_use]
    pub fn scopes(&self) -> Option<&Scopes> {
        match self {
            Self::Owner => None,
            Self::Token(scopes) => Some(scopes),
            Self::Key(within) => Some(&within.scopes),
        }
    }

    /// Whether a key that is, or is to be, like this lies within it and within its owner's `ceiling`.
    ///
    /// # Errors
    /// [`Refusal::InsufficientScope`] names what is beyond: no scope at all where a key that acts would make something that
    /// reaches elsewhere or further than itself.
    pub fn covers(&self, wanted: Wanted<'_>, ceiling: &Scopes) -> Result<(), Refusal> {
        let mut beyond: Vec<&str> = wanted.scopes.beyond(ceiling).collect();
        beyond.extend(self.scopes().into_iter().flat_map(|own| wanted.scopes.beyond(own)));
        beyond.sort_unstable();
        beyond.dedup();
        if !beyond.is_empty() {
            return Err(lacks(beyond));
        }
        let Self::Key(own) = self else { return Ok(()) };
        let is_within = wanted.allowed_ips.is_within(&own.allowed_ips)
            && wanted.environment == own.environment
            && own.external_id.as_deref().is_none_or(|own| wanted.external_id == Some(own))
            && wanted.expires_at <= own.expires_at;
        // What is missing is no scope that could be granted: the key reaches elsewhere, or for longer.
        if is_within { Ok(()) } else { Err(Refusal::InsufficientScope { required: Vec::new() }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(text: &str) -> Scopes {
        Scopes::parse(text).unwrap()
    }

    fn key() -> Within {
        Within {
            id: KeyId(7),
            scopes: scopes("latchkey:keys:write orders:*"),
            allowed_ips: AllowedIps::of(["10.0.0.0/8"]).unwrap(),
            environment: "live".to_owned(),
            expires_at: Timestamp(100),
            external_id: Some("cus_1".to_owned()),
        }
    }

    #[test]
    fn nobody_gives_away_more_than_they_have_or_the_owner_may() {
        let ips = AllowedIps::default();
        let wanted = |scopes| Wanted {
            scopes,
            allowed_ips: &ips,
            environment: "sandbox",
            expires_at: Timestamp(1_000),
            external_id: Some("cus_2"),
        };
        let (all, read, none) =
            (scopes("* latchkey:keys:write"), scopes("orders:read"), scopes(""));
        assert_eq!(Reach::Owner.covers(wanted(&read), &all), Ok(()));
        assert_eq!(Reach::Owner.covers(wanted(&none), &none), Ok(()));
        assert_eq!(
            Reach::Owner.covers(wanted(&all), &read),
            Err(lacks(["*", "latchkey:keys:write"]))
        );
        let token = Reach::Token(scopes("orders:*"));
        assert_eq!(token.covers(wanted(&read), &all), Ok(()));
        assert_eq!(token.covers(wanted(&scopes("*")), &all), Err(lacks(["*"])));
    }

    #[test]
    fn a_key_makes_nothing_that_reaches_further_than_itself() {
        let (own, ceiling) = (key(), scopes("* latchkey:keys:write"));
        let (any, part) = (AllowedIps::default(), AllowedIps::of(["10.1.0.0/16"]).unwrap());
        let good = Wanted {
            scopes: &own.scopes,
            allowed_ips: &part,
            environment: "live",
            expires_at: Timestamp(100),
            external_id: Some("cus_1"),
        };
        let reach = Reach::Key(own.clone());
        assert_eq!(reach.covers(good, &ceiling), Ok(()));
        for wider in [
            Wanted { allowed_ips: &any, ..good },
            Wanted { environment: "sandbox", ..good },
            Wanted { expires_at: Timestamp(101), ..good },
            Wanted { external_id: Some("cus_2"), ..good },
            Wanted { external_id: None, ..good },
            Wanted { scopes: &scopes("orders:read users:read"), ..good },
        ] {
            let refused = reach.covers(wider, &ceiling);
            assert!(matches!(refused, Err(Refusal::InsufficientScope { .. })), "{wider:?}");
        }
        // One that is nobody's in particular makes keys for whom it likes.
        let free = Reach::Key(Within { external_id: None, ..own.clone() });
        for external_id in [None, Some("cus_1"), Some("cus_2")] {
            assert_eq!(free.covers(Wanted { external_id, ..good }, &ceiling), Ok(()));
        }
    }
}
