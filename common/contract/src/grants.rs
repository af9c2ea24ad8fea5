//! What a credential may do and from where: the same value for every credential that was granted the same, so that
//! whoever remembers many of them keeps it once.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use smol_str::SmolStr;

use crate::scope::Scopes;

/// Address ranges in one list at most.
pub const MAX_IPS: usize = 20;
/// Members of a key's metadata at most.
pub const MAX_MEMBERS: usize = 16;
/// Characters of a member's name at most.
pub const MAX_MEMBER_NAME: usize = 64;
/// Characters of a member's text at most.
pub const MAX_MEMBER_TEXT: usize = 256;
/// Bytes of a key's metadata at most, as JSON without spaces.
pub const MAX_METADATA: usize = 1_024;

/// What a credential may do, and what else was said of it that verifiers are told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Grants {
    /// Its effective scopes: what it was granted, as far as its owner's ceiling reaches.
    pub scopes: Scopes,
    /// The environment that a key was made for; `None` of a user.
    pub environment: Option<SmolStr>,
    /// Where from it may be used.
    pub allowed_ips: AllowedIps,
    /// What its owner noted of a key, for verifiers.
    pub metadata: Metadata,
    /// Whose key it is in the owner's own system.
    pub external_id: Option<SmolStr>,
}

/// The addresses that a key may be used from. None listed: any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AllowedIps(Box<[IpNet]>);

/// A few named values: a JSON object, as text without spaces, its names in order. Empty where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Metadata(Box<str>);

/// Why texts are no list of address ranges; which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IpsError {
    /// One has another form.
    #[error(
        "must hold address ranges like 203.0.113.0/24, 2001:db8::/32 or 203.0.113.7, without bits set behind the \
         prefix; IPv4 not written as IPv6"
    )]
    NoRange(usize),
    /// There are more than [`MAX_IPS`].
    #[error("must hold at most 20 address ranges")]
    TooMany,
}

/// Why a value is no metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// It is no object.
    #[error("must be an object")]
    NoObject,
    /// There are more than [`MAX_MEMBERS`].
    #[error("must have at most 16 members")]
    TooMany,
    /// A name has another form.
    #[error("must have names of 1 to 64 characters A-Z a-z 0-9 . _ -")]
    Name,
    /// A value is of another type, or a text is too long.
    #[error("must have values that are texts of at most 256 characters, numbers, booleans or null")]
    Value,
    /// It is too long in all.
    #[error("must have at most 1024 bytes in all")]
    TooLong,
}

impl Grants {
    /// Everything but what is reserved, from anywhere.
    #[must_use]
    pub fn everything() -> Self {
        Self { scopes: Scopes::everything(), ..Self::default() }
    }

    /// Whether a verifier who reads no scopes and no addresses may take the credential: nothing of that restricts it.
    #[must_use]
    pub fn is_unrestricted(&self) -> bool {
        self.scopes.iter().any(|grant| grant == "*") && self.allowed_ips.is_empty()
    }
}

impl AllowedIps {
    /// A list of ranges, each once, in order.
    ///
    /// # Errors
    /// [`IpsError`] says which rule they break.
    pub fn of<'a>(ranges: impl IntoIterator<Item = &'a str>) -> Result<Self, IpsError> {
        let mut all = Vec::new();
        for (place, text) in ranges.into_iter().enumerate() {
            all.push(range(text).ok_or(IpsError::NoRange(place))?);
            if all.len() > MAX_IPS {
                return Err(IpsError::TooMany);
            }
        }
        all.sort_unstable();
        all.dedup();
        Ok(Self(all.into()))
    }

    /// The list that [`Display`](fmt::Display) wrote: ranges separated by spaces.
    ///
    /// # Errors
    /// As for [`of`](Self::of).
    pub fn parse(text: &str) -> Result<Self, IpsError> {
        if text.is_empty() { Ok(Self::default()) } else { Self::of(text.split(' ')) }
    }

    /// Whether no range is listed, so that any address is allowed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes that the list takes besides itself.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        size_of_val(&*self.0)
    }

    /// How many ranges are listed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Each range, as it is shown.
    pub fn iter(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(ToString::to_string)
    }

    /// Whether a client with this address is allowed; `None`: nobody knows it.
    #[must_use]
    pub fn allow(&self, client: Option<IpAddr>) -> bool {
        let client = client.map(|address| address.to_canonical());
        let is_in = |range: &IpNet| client.is_some_and(|address| range.contains(&address));
        self.0.is_empty() || self.0.iter().any(is_in)
    }

    /// Whether every address that it allows is allowed by `other`, range by range.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        let is_in = |range: &IpNet| other.0.iter().any(|wider| wider.contains(range));
        other.is_empty() || (!self.is_empty() && self.0.iter().all(is_in))
    }
}

/// A range, or an address alone; none of IPv4 that is written as IPv6, which no client's address would be in.
fn range(text: &str) -> Option<IpNet> {
    let range: IpNet = match text.parse::<IpAddr>() {
        Ok(address) => address.into(),
        Err(_no_address) => text.parse().ok()?,
    };
    let is_mapped =
        matches!(range.addr(), IpAddr::V6(address) if address.to_ipv4_mapped().is_some());
    (range == range.trunc() && !is_mapped).then_some(range)
}

impl Metadata {
    /// The metadata that `value` is.
    ///
    /// # Errors
    /// [`MetadataError`] says which rule it breaks.
    pub fn of(value: &Value) -> Result<Self, MetadataError> {
        let object = value.as_object().ok_or(MetadataError::NoObject)?;
        if object.len() > MAX_MEMBERS {
            return Err(MetadataError::TooMany);
        }
        let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        for (name, value) in object {
            if !(1..=MAX_MEMBER_NAME).contains(&name.len()) || !name.bytes().all(is_fit) {
                return Err(MetadataError::Name);
            }
            match value {
                Value::Null | Value::Bool(_) | Value::Number(_) => {}
                Value::String(text) if text.chars().count() <= MAX_MEMBER_TEXT => {}
                _ => return Err(MetadataError::Value),
            }
        }
        if object.is_empty() {
            return Ok(Self::default());
        }
        let text = value.to_string();
        if text.len() > MAX_METADATA { Err(MetadataError::TooLong) } else { Ok(Self(text.into())) }
    }

    /// The metadata whose text [`as_text`](Self::as_text) wrote.
    ///
    /// # Errors
    /// As for [`of`](Self::of).
    pub fn parse(text: &str) -> Result<Self, MetadataError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_str(text)
            .map_err(|_no_json| MetadataError::NoObject)
            .and_then(|value| Self::of(&value))
    }

    /// Its text: JSON, or empty.
    #[must_use]
    pub fn as_text(&self) -> &str {
        &self.0
    }

    /// Whether it has no member.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As a value of JSON: an object.
    #[must_use]
    pub fn to_value(&self) -> Value {
        // It was written from an object.
        serde_json::from_str(&self.0).unwrap_or_else(|_empty| Value::Object(Map::new()))
    }
}

impl fmt::Display for AllowedIps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, range) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(" ")?;
            }
            range.fmt(f)?;
        }
        Ok(())
    }
}

impl Serialize for Metadata {
    /// An object in JSON; its text in bincode.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() { self.to_value().serialize(to) } else { self.0.serialize(to) }
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let read = if from.is_human_readable() {
            Self::of(&Value::deserialize(from)?)
        } else {
            Self::parse(&Box::<str>::deserialize(from)?)
        };
        read.map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
