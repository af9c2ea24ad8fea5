//! Scopes: named rights (RFC 6749 §3.3). What a credential was granted, what a request requires, and when the one
//! covers the other.
//!
//! A grant `orders:*` covers every scope that begins with `orders:`, and `*` covers everything but what is reserved:
//! scopes that begin with [`RESERVED`] give rights on Latchkey itself, and no shorter wildcard covers them.

use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Characters of a scope at most.
pub const MAX_LENGTH: usize = 128;
/// Scopes that a credential is granted at most.
pub const MAX_GRANTS: usize = 64;
/// Bytes of all scopes of a credential at most, with a space between two.
pub const MAX_BYTES: usize = 2_048;
/// Alternatives of a requirement at most.
pub const MAX_ALTERNATIVES: usize = 16;
/// What the scopes begin with that give rights on Latchkey itself.
pub const RESERVED: &str = "latchkey:";

/// Sets of grants that one set may be made of.
const COMMON: usize = 2;
/// The grant of everything but what is reserved.
const EVERYTHING: &str = "*";

/// What a credential was granted, or what its owner may grant at most: each scope once, in alphabetical order.
/// None is nothing, never everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scopes(Box<str>);

/// What a request requires: one of these alternatives, and of that one every scope.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ScopeRequirement(Box<[Box<str>]>);

/// What is sent for a requirement: the texts of its alternatives, of which nobody has said yet that they are one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct RequiredScope(pub Vec<String>);

/// Why texts are no scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// One of them does not have the form of a grant; its place among them.
    #[error(
        "must hold scopes: each of 1 to 128 characters A-Z a-z 0-9 . _ : / -, the first a letter or digit; it may be \
         *, or end in * after : . or /"
    )]
    NoGrant(usize),
    /// There are more than [`MAX_GRANTS`].
    #[error("must hold at most 64 scopes")]
    TooMany,
    /// They have more than [`MAX_BYTES`].
    #[error("must have at most 2048 bytes in all, with a space between two scopes")]
    TooLong,
    /// A requirement that could not be met, or that requires nothing.
    #[error(
        "must be 1 to 64 scopes separated by single spaces, or a list of 1 to 16 such texts: each scope of 1 to 128 \
         characters A-Z a-z 0-9 . _ : / -, the first a letter or digit, without *"
    )]
    NoRequirement,
}

impl Scopes {
    /// A set of grants.
    ///
    /// # Errors
    /// [`ScopeError`] says which rule they break.
    pub fn of<'a>(grants: impl IntoIterator<Item = &'a str>) -> Result<Self, ScopeError> {
        Self::bounded(grants, 1)
    }

    /// The same with room for `sets` of them: what two sets [have in common](Self::intersection) may be as much as both.
    fn bounded<'a>(
        grants: impl IntoIterator<Item = &'a str>,
        sets: usize,
    ) -> Result<Self, ScopeError> {
        let mut all = Vec::new();
        for (place, grant) in grants.into_iter().enumerate() {
            if !is_grant(grant) {
                return Err(ScopeError::NoGrant(place));
            }
            // Some may be named twice.
            if place >= 2 * sets * MAX_GRANTS {
                return Err(ScopeError::TooMany);
            }
            all.push(grant);
        }
        all.sort_unstable();
        all.dedup();
        if all.len() > sets * MAX_GRANTS {
            return Err(ScopeError::TooMany);
        }
        let text = all.join(" ");
        if text.len() > sets * MAX_BYTES {
            return Err(ScopeError::TooLong);
        }
        Ok(Self(text.into_boxed_str()))
    }

    /// The set that [`as_text`](Self::as_text) wrote, or the `scope` of a request by OAuth: scopes separated by
    /// spaces. An empty text is no scope at all.
    ///
    /// # Errors
    /// As for [`of`](Self::of), with room for what two sets have in common.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        if text.is_empty() { Ok(Self::default()) } else { Self::bounded(text.split(' '), COMMON) }
    }

    /// Everything but what is reserved.
    #[must_use]
    pub fn everything() -> Self {
        Self(EVERYTHING.into())
    }

    /// The scopes, separated by spaces (RFC 6749 §3.3).
    #[must_use]
    pub fn as_text(&self) -> &str {
        &self.0
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split(' ').filter(|grant| !grant.is_empty())
    }

    /// Whether there is none, so that nothing is granted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether they cover this scope, or every scope that this grant covers.
    #[must_use]
    pub fn cover(&self, grant: &str) -> bool {
        self.iter().any(|own| covers(own, grant))
    }

    /// Those that `other` does not cover: what is asked for beyond it.
    pub fn beyond<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a str> {
        self.iter().filter(|grant| !other.cover(grant))
    }

    /// Whether `other` covers all of them.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.beyond(other).next().is_none()
    }

    /// What both cover: each grant of the one that the other covers. That may be more than [`MAX_GRANTS`]: it is read
    /// back by [`parse`](Self::parse), and granted to somebody by [`of`](Self::of) alone.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let own = self.iter().filter(|grant| other.cover(grant));
        let others = other.iter().filter(|grant| self.cover(grant));
        let mut all: Vec<_> = own.chain(others).collect();
        all.sort_unstable();
        all.dedup();
        Self(all.join(" ").into_boxed_str())
    }
}

impl ScopeRequirement {
    /// One of `alternatives`, each one or more scopes separated by single spaces, all of which it needs.
    ///
    /// # Errors
    /// [`ScopeError::NoRequirement`] where there is none, an empty one, or one that nothing could meet.
    pub fn any_of<'a>(alternatives: impl IntoIterator<Item = &'a str>) -> Result<Self, ScopeError> {
        let mut all: Vec<Box<str>> = Vec::new();
        for alternative in alternatives {
            let is_short = alternative.split(' ').take(MAX_GRANTS + 1).count() <= MAX_GRANTS;
            let is_good = alternative.len() <= MAX_BYTES && alternative.split(' ').all(is_scope);
            if !is_short || !is_good || all.len() == MAX_ALTERNATIVES {
                return Err(ScopeError::NoRequirement);
            }
            all.push(alternative.into());
        }
        if all.is_empty() { Err(ScopeError::NoRequirement) } else { Ok(Self(all.into())) }
    }

    /// Whether these scopes are enough.
    #[must_use]
    pub fn is_met_by(&self, granted: &Scopes) -> bool {
        let is_enough = |needed: &str| needed.split(' ').all(|scope| granted.cover(scope));
        self.0.iter().any(|alternative| is_enough(alternative))
    }

    /// The alternatives, each its scopes separated by spaces.
    pub fn alternatives(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }
}

impl RequiredScope {
    /// The requirement that the texts are.
    ///
    /// # Errors
    /// [`ScopeError::NoRequirement`] where they are none.
    pub fn read(&self) -> Result<ScopeRequirement, ScopeError> {
        ScopeRequirement::any_of(self.0.iter().map(String::as_str))
    }
}

impl From<&ScopeRequirement> for RequiredScope {
    fn from(requirement: &ScopeRequirement) -> Self {
        Self(requirement.alternatives().map(str::to_owned).collect())
    }
}

/// Whether a grant covers a scope, or everything that another grant covers.
fn covers(grant: &str, other: &str) -> bool {
    match grant.strip_suffix('*') {
        Some("") => !other.starts_with(RESERVED),
        Some(start) => other.starts_with(start),
        None => grant == other,
    }
}

/// `[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}`
fn is_scope(text: &str) -> bool {
    let is_first = |byte: &u8| byte.is_ascii_alphanumeric();
    let is_next = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/-".contains(&byte);
    text.len() <= MAX_LENGTH
        && text.as_bytes().first().is_some_and(is_first)
        && text.bytes().all(is_next)
}

/// A scope, `*`, or a scope that ends in `:`, `.` or `/` with `*` behind it.
fn is_grant(text: &str) -> bool {
    match text.strip_suffix('*') {
        Some("") => true,
        Some(start) => {
            start.len() < MAX_LENGTH && is_scope(start) && start.ends_with([':', '.', '/'])
        }
        None => is_scope(text),
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Scopes {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() { to.collect_seq(self.iter()) } else { self.0.serialize(to) }
    }
}

impl<'de> Deserialize<'de> for Scopes {
    /// A list in JSON; in bincode one text.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let read = if from.is_human_readable() {
            let grants = Vec::<String>::deserialize(from)?;
            Self::bounded(grants.iter().map(String::as_str), COMMON)
        } else {
            Self::parse(&Box::<str>::deserialize(from)?)
        };
        read.map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for RequiredScope {
    /// A list; in JSON a single text, too.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() {
            from.deserialize_any(Texts)
        } else {
            from.deserialize_seq(Texts)
        }
    }
}

/// Reads what is sent for a requirement.
struct Texts;

impl<'de> Visitor<'de> for Texts {
    type Value = RequiredScope;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list of texts")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<RequiredScope, E> {
        Ok(RequiredScope(vec![text.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<RequiredScope, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = list.next_element::<String>()? {
            // One too many is enough to know that there are too many.
            if texts.len() <= MAX_ALTERNATIVES {
                texts.push(text);
            }
        }
        Ok(RequiredScope(texts))
    }
}

#[cfg(test)]
mod tests;
