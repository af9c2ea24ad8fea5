//! What the JSON of several resources has in common: receipts, times, texts.

use latchkey_contract::Timestamp;
use latchkey_contract::authority::Receipt;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

const NANOS_PER_MILLI: i128 = 1_000_000;

/// How a change came to be exact.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"revision": 7, "edges_confirmed": 2, "waited_ms": 1}))]
pub struct ReceiptBody {
    /// The change's number at its authority.
    revision: i64,
    /// Edges that said they have applied it; of the others none relies on an older answer any more.
    edges_confirmed: u32,
    /// How long the answer waited for that, in milliseconds.
    waited_ms: u64,
}

impl From<Receipt> for ReceiptBody {
    fn from(receipt: Receipt) -> Self {
        let Receipt { revision, edges_confirmed, waited_ms } = receipt;
        Self { revision: revision.0, edges_confirmed, waited_ms }
    }
}

/// A time as the public API shows it: RFC 3339 in UTC, to the second.
pub(super) fn rfc3339(at: Timestamp) -> String {
    OffsetDateTime::from_unix_timestamp(at.seconds())
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_default()
}

/// The moment that a text in RFC 3339 says, in any offset.
pub(super) fn timestamp(text: &str) -> Option<Timestamp> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let millis = at.unix_timestamp_nanos().div_euclid(NANOS_PER_MILLI);
    i64::try_from(millis).ok().map(Timestamp)
}

/// A JSON value that is a text, or any other one.
#[derive(Deserialize)]
#[serde(untagged)]
enum MaybeText {
    Text(String),
    Other(IgnoredAny),
}

pub(super) fn text_or_none<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(match MaybeText::deserialize(from)? {
        MaybeText::Text(text) => Some(text),
        MaybeText::Other(IgnoredAny) => None,
    })
}

/// A text; any other value as an empty one, which whoever reads it refuses.
pub(super) fn text_or_empty<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<String>, D::Error> {
    text_or_none(from).map(|text| Some(text.unwrap_or_default()))
}

/// A JSON value that is true or false, or any other one.
#[derive(Deserialize)]
#[serde(untagged)]
enum MaybeFlag {
    Flag(bool),
    Other(IgnoredAny),
}

/// True or false; any other value as none, which whoever reads it refuses.
pub(super) fn flag_or_none<'de, D: Deserializer<'de>>(from: D) -> Result<Option<bool>, D::Error> {
    Ok(match MaybeFlag::deserialize(from)? {
        MaybeFlag::Flag(flag) => Some(flag),
        MaybeFlag::Other(IgnoredAny) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_to_the_second() {
        assert_eq!(rfc3339(Timestamp(1_764_975_600_999)), "2025-12-05T23:00:00Z");
        assert_eq!(timestamp("2025-12-05T23:00:00.999Z"), Some(Timestamp(1_764_975_600_999)));
        assert_eq!(timestamp("2025-12-06T01:00:00+02:00"), Some(Timestamp(1_764_975_600_000)));
        assert_eq!(timestamp("2025-12-05"), None);
    }
}
