//! What stands before the random characters of an API key: `<prefix>[_<environment>]_`. Whoever looks at a text has
//! no list of prefixes: every one that has the form is looked up, and one that nobody gave finds nothing.

use std::fmt;

/// Characters of a prefix.
const PREFIX: std::ops::RangeInclusive<usize> = 2..=16;
/// Characters of an environment's name.
const ENVIRONMENT: std::ops::RangeInclusive<usize> = 2..=12;
/// What texts begin with that are no keys: refresh tokens, and those of mails and second factors.
const RESERVED: [&[u8]; 4] = [b"rt", b"ev", b"pr", b"mt"];
/// What parts a key's names from each other and from its random characters.
const SEPARATOR: u8 = b'_';

/// What the texts of an installation's keys begin with, such as `sk`: 2 to 16 characters `a-z` and `0-9`, the first
/// of them a letter, and not what other secrets begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPrefix(Box<str>);

/// The name of an environment, such as `sandbox`: 2 to 12 characters `a-z` and `0-9`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEnvironment(Box<str>);

/// A text that is no [`KeyPrefix`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be 2 to 16 characters a-z and 0-9, the first of them a letter, and not rt, ev, pr or mt"
)]
pub struct MalformedPrefix;

/// A text that is no [`KeyEnvironment`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 2 to 12 characters a-z and 0-9")]
pub struct MalformedEnvironment;

impl KeyPrefix {
    /// The prefix that is `text`.
    ///
    /// # Errors
    /// [`MalformedPrefix`] where it is none.
    pub fn parse(text: &str) -> Result<Self, MalformedPrefix> {
        if is_prefix(text.as_bytes()) { Ok(Self(text.into())) } else { Err(MalformedPrefix) }
    }

    /// The prefix, without what parts it from the rest.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What keys begin with where nobody says otherwise, and began with in every release: `sk`.
impl Default for KeyPrefix {
    fn default() -> Self {
        Self("sk".into())
    }
}

impl KeyEnvironment {
    /// The environment whose name is `text`.
    ///
    /// # Errors
    /// [`MalformedEnvironment`] where it is none.
    pub fn parse(text: &str) -> Result<Self, MalformedEnvironment> {
        if is_environment(text.as_bytes()) {
            Ok(Self(text.into()))
        } else {
            Err(MalformedEnvironment)
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for KeyEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a key of this prefix and environment has before its random characters.
pub(super) fn lead(prefix: &KeyPrefix, infix: Option<&KeyEnvironment>) -> String {
    match infix {
        Some(environment) => format!("{prefix}_{environment}_"),
        None => format!("{prefix}_"),
    }
}

/// Whether a key may have this before its random characters.
pub(super) fn is_lead(lead: &[u8]) -> bool {
    let Some((&SEPARATOR, names)) = lead.split_last() else { return false };
    match split(names) {
        Some((prefix, environment)) => is_prefix(prefix) && is_environment(environment),
        None => is_prefix(names),
    }
}

/// Whether a text begins with a prefix and what parts it from the rest. No access token does: it begins with the
/// base64url of a JSON object, which is `e` and, before any `_`, a capital letter.
pub(super) fn begins_with_prefix(text: &[u8]) -> bool {
    let start = text.get(..=*PREFIX.end()).unwrap_or(text);
    split(start).is_some_and(|(prefix, _)| is_prefix(prefix))
}

/// What is before and behind the first separator.
fn split(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == SEPARATOR)?;
    let (before, behind) = text.split_at_checked(at)?;
    Some((before, behind.get(1..)?))
}

fn is_prefix(text: &[u8]) -> bool {
    PREFIX.contains(&text.len())
        && !RESERVED.contains(&text)
        && text.first().is_some_and(u8::is_ascii_lowercase)
        && text.iter().copied().all(is_of_name)
}

fn is_environment(text: &[u8]) -> bool {
    ENVIRONMENT.contains(&text.len()) && text.iter().copied().all(is_of_name)
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}
