//! The JSON of `/keys…`.

use std::fmt;

use latchkey_contract::authority::Changed;
use latchkey_contract::keys::{ExpiresIn, IssueKey, IssuedKey, NewKey};
use latchkey_contract::scope::Scopes;
use latchkey_contract::{KeyId, Secret, Timestamp, UserId};
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::object::KeyFields;
use crate::api::json::{ReceiptBody, rfc3339, text_or_none};

/// `POST /keys/create`.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"name": "ci", "expires_in_days": 90}))]
pub struct CreateKeyBody {
    /// What the key is for. Spaces at its ends are taken off before its length is counted.
    #[serde(default, deserialize_with = "text_or_none")]
    #[schema(value_type = String, required, min_length = 1, max_length = 100)]
    pub name: Option<String>,
    /// Days until the key expires; left out or null: as configured. The greatest may be configured to be less.
    #[serde(default = "as_configured", deserialize_with = "days")]
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 3650)]
    pub expires_in_days: ExpiresIn,
}

/// A key that was made: the only answer that shows it.
#[derive(Serialize, ToSchema)]
pub struct CreatedKeyBody {
    id: i64,
    /// The key itself: a prefix, the environment's name unless it is the first one, random characters and a checksum.
    /// Keep it now: nobody can show it again.
    #[schema(pattern = r"^[a-z][a-z0-9]{1,15}(_[a-z0-9]{2,12})?_[0-9A-Za-z]{49}$")]
    key: String,
    #[serde(flatten)]
    fields: KeyFields,
}

/// A key that was revoked.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"message": "API key revoked successfully", "key_id": 1, "receipt": {"revision": 7, "edges_confirmed": 2, "waited_ms": 1}}))]
pub struct RevokedBody {
    message: &'static str,
    key_id: i64,
    /// No edge accepts the key any more. Left out where the client did not wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<ReceiptBody>,
    /// The change's number, where the client did not wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<i64>,
    /// From then on no edge accepts the key, where the client did not wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    exact_from: Option<String>,
}

impl CreateKeyBody {
    /// The request that this body makes, for `owner`.
    #[must_use]
    pub fn of(self, owner: UserId, narrowed: Option<Scopes>, seed: Secret) -> IssueKey {
        let Self { name, expires_in_days: expires_in } = self;
        let key = NewKey { name, expires_in, ..NewKey::default() };
        IssueKey { owner, narrowed, key, seed: Some(seed) }
    }
}

impl CreatedKeyBody {
    /// How a key that was made is shown to its owner, once.
    #[must_use]
    pub fn new(issued: IssuedKey, owner: UserId) -> Self {
        let IssuedKey { object, key } = issued;
        let id = object.id.0;
        Self { id, key: key.expose().to_owned(), fields: KeyFields::new(object, owner) }
    }
}

impl RevokedBody {
    /// The answer to a revoke of `key`.
    pub(crate) fn new(key: KeyId, changed: Changed) -> Self {
        let bare = Self {
            message: "API key revoked successfully",
            key_id: key.0,
            receipt: None,
            revision: None,
            exact_from: None,
        };
        match changed {
            Changed::Confirmed(receipt) => Self { receipt: Some(receipt.into()), ..bare },
            Changed::Committed { revision, exact_from } => {
                // A fraction of a second that is cut off would promise too much.
                let second = exact_from.plus(Timestamp::SECOND - 1);
                Self { revision: Some(revision.0), exact_from: Some(rfc3339(second)), ..bare }
            }
        }
    }
}

/// Reads a whole number, in any spelling of it that JSON Schema takes for an integer (`90`, `90.0`, `9e1`),
/// nothing, or any other value.
struct Days;

fn days<'de, D: Deserializer<'de>>(from: D) -> Result<ExpiresIn, D::Error> {
    from.deserialize_any(Days)
}

impl<'de> Visitor<'de> for Days {
    type Value = ExpiresIn;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of days")
    }

    fn visit_i64<E>(self, number: i64) -> Result<ExpiresIn, E> {
        Ok(ExpiresIn::Days(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<ExpiresIn, E> {
        Ok(i64::try_from(number).map_or(ExpiresIn::NotAnInteger, ExpiresIn::Days))
    }

    fn visit_f64<E>(self, number: f64) -> Result<ExpiresIn, E> {
        // Printed without a fraction it loses none.
        let whole = (number.fract() == 0.0).then(|| format!("{number:.0}").parse().ok()).flatten();
        Ok(whole.map_or(ExpiresIn::NotAnInteger, ExpiresIn::Days))
    }

    fn visit_unit<E>(self) -> Result<ExpiresIn, E> {
        Ok(ExpiresIn::Default)
    }

    fn visit_bool<E>(self, _: bool) -> Result<ExpiresIn, E> {
        Ok(ExpiresIn::NotAnInteger)
    }

    fn visit_str<E>(self, _: &str) -> Result<ExpiresIn, E> {
        Ok(ExpiresIn::NotAnInteger)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<ExpiresIn, A::Error> {
        IgnoredAny.visit_seq(list).map(|IgnoredAny| ExpiresIn::NotAnInteger)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<ExpiresIn, A::Error> {
        IgnoredAny.visit_map(object).map(|IgnoredAny| ExpiresIn::NotAnInteger)
    }
}

fn as_configured() -> ExpiresIn {
    ExpiresIn::Default
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_days_field_is_a_whole_number_or_left_out() {
        let read = |json: &str| {
            serde_json::from_str::<CreateKeyBody>(json).map(|body| body.expires_in_days)
        };
        assert_eq!(read("{}").unwrap(), ExpiresIn::Default);
        assert_eq!(read(r#"{"expires_in_days": null}"#).unwrap(), ExpiresIn::Default);
        assert_eq!(read(r#"{"expires_in_days": -5}"#).unwrap(), ExpiresIn::Days(-5));
        for (written, days) in
            [("90.0", 90), ("9e1", 90), ("-0.0", 0), ("-1.00", -1), ("1e18", 10_i64.pow(18))]
        {
            let read = read(&format!(r#"{{"expires_in_days": {written}}}"#));
            assert_eq!(read.unwrap(), ExpiresIn::Days(days), "{written}");
        }
        for other in
            ["1.5", "\"5\"", "true", "[]", "[5]", "{}", "18446744073709551615", "1e300", "-1e300"]
        {
            let read = read(&format!(r#"{{"expires_in_days": {other}}}"#));
            assert_eq!(read.unwrap(), ExpiresIn::NotAnInteger, "{other}");
        }
        assert!(read(r#"{"expires_in_days": 1e400}"#).is_err());
    }
}
