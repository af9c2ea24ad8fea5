//! Identifiers and times as they travel on the bus.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{Error as _, Unexpected};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A user's id: a positive 64-bit integer, given by the identity service's database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserId(pub i64);

/// An API key's id: a positive 64-bit integer, given by the key service's database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(pub i64);

/// A login session's id: 128 random bits, in a token's `sid` claim, or `jti` where there is none, as 32 hexadecimal
/// digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub [u8; 16]);

/// Names one HTTP request in every log line and every message it causes. It travels in the envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

/// Names one command: 128 random bits, made by its first sender for one request of a client. A message that
/// is doubled or repeated is known by it, and does nothing a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mark(pub [u8; 16]);

/// A moment on the wall clock, in milliseconds since 1970-01-01T00:00:00Z.
///
/// On the bus it is that number in bincode, and in JSON a text of RFC 3339 in UTC, with a fraction of
/// a second where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

impl RequestId {
    /// Takes `text` as an id.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Arc::from(text))
    }

    /// The id's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Timestamp {
    /// Milliseconds in one second.
    pub const SECOND: i64 = 1_000;
    /// Milliseconds in one day.
    pub const DAY: i64 = 24 * 60 * 60 * Self::SECOND;

    /// This moment moved by `millis` (milliseconds), held at the ends of the range.
    #[must_use]
    pub fn plus(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// This moment in whole seconds since 1970, rounded down, as JWT's `NumericDate` (RFC 7519) has it.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(Self::SECOND)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if !to.is_human_readable() {
            return to.serialize_i64(self.0);
        }
        let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000);
        let text = moment.map_err(S::Error::custom)?.format(&Rfc3339).map_err(S::Error::custom)?;
        to.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if !from.is_human_readable() {
            return i64::deserialize(from).map(Self);
        }
        let text = String::deserialize(from)?;
        let moment = OffsetDateTime::parse(&text, &Rfc3339);
        let millis = moment.ok().map(|at| at.unix_timestamp_nanos().div_euclid(1_000_000));
        millis
            .and_then(|millis| i64::try_from(millis).ok())
            .map(Self)
            .ok_or_else(|| D::Error::invalid_value(Unexpected::Str(&text), &"a time of RFC 3339"))
    }
}

/// A session id that is not 32 hexadecimal digits.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a session id is 32 lower-case hexadecimal digits")]
pub struct MalformedSessionId;

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

impl FromStr for SessionId {
    type Err = MalformedSessionId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut id = [0; 16];
        hex::decode_to_slice(text, &mut id).map_err(|_not_hex| MalformedSessionId)?;
        // One spelling of each.
        let is_lower_case = !text.bytes().any(|digit| digit.is_ascii_uppercase());
        is_lower_case.then_some(Self(id)).ok_or(MalformedSessionId)
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_id_reads_back_what_it_prints() {
        let id = SessionId(*b"0123456789abcdef");
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn a_session_id_has_one_spelling() {
        for text in
            ["", "00", "3031323334353637383961626364656", "3031323334353637383961626364656G"]
        {
            assert_eq!(text.parse::<SessionId>(), Err(MalformedSessionId), "{text}");
        }
        let upper = SessionId([0xab; 16]).to_string().to_uppercase();
        assert_eq!(upper.parse::<SessionId>(), Err(MalformedSessionId));
    }

    #[test]
    fn a_time_is_a_text_in_json_and_loses_nothing() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_764_975_600_000, "2025-12-05T23:00:00Z"),
            (1_764_975_600_250, "2025-12-05T23:00:00.25Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            let json = serde_json::to_string(&Timestamp(millis)).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), Timestamp(millis));
        }
        let elsewhere: Timestamp = serde_json::from_str("\"2025-12-06T01:00:00+02:00\"").unwrap();
        assert_eq!(elsewhere, Timestamp(1_764_975_600_000));
        for wrong in ["1764975600000", "\"yesterday\"", "null", "\"2025-12-05\""] {
            assert!(serde_json::from_str::<Timestamp>(wrong).is_err(), "{wrong}");
        }
        assert!(serde_json::to_string(&Timestamp(i64::MAX)).is_err());
    }
}
