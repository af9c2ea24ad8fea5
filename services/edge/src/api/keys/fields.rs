//! What a body says that a new key is to be, member by member: every faulty one is named. Old routes let unknown members
//! pass, but for those whose sender means to restrict the key by another name.

use std::collections::BTreeMap;
use std::fmt;

use latchkey_contract::credential::KeyEnvironment;
use latchkey_contract::keys::{ExpiresIn, NewKey, rules};
use latchkey_contract::scope::Scopes;
use latchkey_contract::{AllowedIps, FieldError, Metadata, Timestamp};
use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::api::json::timestamp;

/// The members of a body that makes a key.
const KNOWN: [&str; 10] = [
    "name",
    "expires_in_days",
    "expires_at",
    "description",
    "metadata",
    "external_id",
    "tags",
    "environment",
    "scopes",
    "allowed_ips",
];
/// Members that are shown, and cannot be chosen yet.
const LATER: [&str; 4] = ["roles", "limits", "quota", "owner"];
/// What is sent by whoever means another member. To ignore it would widen the key.
const MISNAMED: [(&str, &str); 14] = [
    ("scope", "scopes"),
    ("permission", "scopes"),
    ("permissions", "scopes"),
    ("role", "roles"),
    ("ip", "allowed_ips"),
    ("ips", "allowed_ips"),
    ("allowed_ip", "allowed_ips"),
    ("ttl", "expires_in_days"),
    ("expires", "expires_at"),
    ("expiry", "expires_at"),
    ("rate_limit", "limits"),
    ("ratelimit", "limits"),
    ("rateLimit", "limits"),
    ("env", "environment"),
];
/// Characters of a member's name that is named back to its sender, at most: fewer than a key has.
const MAX_NAMED: usize = 32;

/// What becomes of members that nobody knows, and of one that was added later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rules {
    /// They are ignored; scopes that are not named are the default.
    Old,
    /// They are faults; scopes have to be named.
    Strict,
}

/// The members of an object that makes a key.
#[derive(Debug, Default)]
pub struct KeyMembers {
    known: BTreeMap<&'static str, Value>,
    /// Other names than those of the members that they mean.
    misnamed: Vec<(&'static str, &'static str)>,
    later: Vec<&'static str>,
    unknown: Vec<FieldError>,
}

impl<'de> Deserialize<'de> for KeyMembers {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = KeyMembers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<KeyMembers, A::Error> {
        let mut members = KeyMembers::default();
        while let Some(name) = map.next_key::<String>()? {
            if let Some(known) = KNOWN.into_iter().find(|known| *known == name) {
                if members.known.insert(known, map.next_value()?).is_some() {
                    return Err(A::Error::custom("a member twice"));
                }
                continue;
            }
            let IgnoredAny = map.next_value()?;
            if let Some(misnamed) = MISNAMED.into_iter().find(|(wrong, _)| *wrong == name) {
                members.misnamed.push(misnamed);
            } else if let Some(later) = LATER.into_iter().find(|later| *later == name) {
                members.later.push(later);
            } else {
                members.unknown.push(unknown(&name));
            }
        }
        Ok(members)
    }
}

/// The fault of a member that nobody knows. Its name is not repeated where it may be a secret.
pub(super) fn unknown(name: &str) -> FieldError {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=MAX_NAMED).contains(&name.len()) && name.bytes().all(is_fit) {
        return FieldError::new(name, "is not known here");
    }
    FieldError::new("body", "may hold no other members than those that are described")
}

impl KeyMembers {
    /// What the key is to be, and what the key service will say of its days: it alone knows how many a key may live.
    ///
    /// # Errors
    /// Every faulty member.
    pub(super) fn read(
        mut self,
        by: Rules,
    ) -> Result<(NewKey, Option<FieldError>), Vec<FieldError>> {
        let mut faults = Faults(Vec::new());
        let name = text("name", self.given("name"));
        let name = name.map_err(|_no_text| rules::name(None).err());
        let name = name.unwrap_or_default();
        faults.kept(rules::name(name.as_deref()));
        let (days, at) = (self.given("expires_in_days"), self.known.remove("expires_at"));
        let key = NewKey {
            name,
            expires_in: faults.kept(expires_in(days, at)),
            description: faults.kept(description(self.given("description"))).unwrap_or_default(),
            metadata: faults.kept(metadata(self.given("metadata").as_ref())),
            external_id: faults.kept(external_id(self.given("external_id"))),
            tags: faults.kept(tags(self.given("tags"))),
            environment: faults.kept(environment(self.given("environment"))),
            scopes: faults.kept(scopes(self.known.remove("scopes"), by)),
            allowed_ips: faults.kept(allowed_ips(self.known.remove("allowed_ips"))),
        };
        let Self { misnamed, later, unknown, .. } = self;
        let misnamed = misnamed.into_iter().map(|(wrong, right)| {
            FieldError::new(right, format!("is what the field is called, not `{wrong}`"))
        });
        let later = later.into_iter();
        let later = later.map(|name| FieldError::new(name, "cannot be chosen yet: leave it out"));
        faults.0.extend(misnamed.chain(later));
        if by == Rules::Strict {
            faults.0.extend(unknown);
        }
        let days = match key.expires_in {
            ExpiresIn::Days(days) if rules::DAYS.contains(&days) => None,
            ExpiresIn::Days(_) | ExpiresIn::NotAnInteger => Some(FieldError::new(
                "expires_in_days",
                "must be a whole number, from 1 to what is configured",
            )),
            ExpiresIn::Default | ExpiresIn::At(_) => None,
        };
        if faults.0.is_empty() {
            return Ok((key, days));
        }
        faults.0.extend(days);
        Err(faults.0)
    }

    /// A member that may as well be null.
    fn given(&mut self, name: &str) -> Option<Value> {
        self.known.remove(name).filter(|value| !value.is_null())
    }
}

/// Those that were found so far.
struct Faults(Vec<FieldError>);

impl Faults {
    fn kept<T: Default>(&mut self, read: Result<T, FieldError>) -> T {
        read.unwrap_or_else(|fault| {
            self.0.push(fault);
            T::default()
        })
    }
}

fn text(field: &str, value: Option<Value>) -> Result<Option<String>, FieldError> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(FieldError::new(field, "must be a text")),
    }
}

/// A list of texts; `None` where it is something else.
fn texts(value: &Value) -> Option<Vec<&str>> {
    value.as_array()?.iter().map(Value::as_str).collect()
}

fn description(value: Option<Value>) -> Result<Option<String>, FieldError> {
    let text = text("description", value)?;
    rules::description(text.as_deref().unwrap_or_default())?;
    Ok(text)
}

fn metadata(value: Option<&Value>) -> Result<Metadata, FieldError> {
    let read = value.map_or(Ok(Metadata::default()), Metadata::of);
    read.map_err(|fault| FieldError::new("metadata", fault.to_string()))
}

fn external_id(value: Option<Value>) -> Result<Option<String>, FieldError> {
    let text = text("external_id", value)?;
    text.as_deref().map_or(Ok(()), rules::external_id)?;
    Ok(text)
}

fn tags(value: Option<Value>) -> Result<Vec<String>, FieldError> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let list = texts(&value).ok_or_else(|| FieldError::new("tags", "must be a list of texts"))?;
    rules::tags(list.into_iter().map(str::to_owned).collect())
}

fn environment(value: Option<Value>) -> Result<Option<String>, FieldError> {
    let Some(name) = text("environment", value)? else { return Ok(None) };
    match KeyEnvironment::parse(&name) {
        Ok(_) => Ok(Some(name)),
        Err(_malformed) => {
            Err(FieldError::new("environment", "must be the name of one that there is here"))
        }
    }
}

fn scopes(value: Option<Value>, by: Rules) -> Result<Option<Scopes>, FieldError> {
    let wrong = |message: String| FieldError::new("scopes", message);
    let Some(value) = value else {
        let message = "is required: a list of what the key may do, [\"*\"] for everything that its owner may, [] for nothing";
        return if by == Rules::Old { Ok(None) } else { Err(wrong(message.to_owned())) };
    };
    let no_list = || wrong("must be a list of texts; an empty one grants nothing".to_owned());
    let list = texts(&value).ok_or_else(no_list)?;
    Scopes::of(list).map(Some).map_err(|fault| wrong(fault.to_string()))
}

fn allowed_ips(value: Option<Value>) -> Result<Option<AllowedIps>, FieldError> {
    let wrong = |message: String| FieldError::new("allowed_ips", message);
    let Some(value) = value else { return Ok(None) };
    let no_list = || wrong("must be a list of texts; an empty one allows any address".to_owned());
    let list = texts(&value).ok_or_else(no_list)?;
    AllowedIps::of(list).map(Some).map_err(|fault| wrong(fault.to_string()))
}

/// How long a key is to live: one of the two says it, or neither.
fn expires_in(days: Option<Value>, at: Option<Value>) -> Result<ExpiresIn, FieldError> {
    let wrong = |message: &str| FieldError::new("expires_at", message);
    match (days, at) {
        (None, None) => Ok(ExpiresIn::Default),
        (Some(_), Some(_)) => Err(wrong("must be left out where `expires_in_days` is given")),
        (Some(days), None) => Ok(whole(&days).map_or(ExpiresIn::NotAnInteger, ExpiresIn::Days)),
        (None, Some(at)) => at
            .as_str()
            .and_then(timestamp)
            .map(ExpiresIn::At)
            .ok_or_else(|| wrong("must be a time like 2026-12-24T00:00:00Z (RFC 3339)")),
    }
}

/// A whole number, in any spelling of it that JSON Schema takes for an integer (`90`, `90.0`, `9e1`).
fn whole(value: &Value) -> Option<i64> {
    let printed = || {
        let number = value.as_f64()?;
        // Printed without a fraction it loses none.
        (number.fract() == 0.0).then(|| format!("{number:.0}").parse().ok()).flatten()
    };
    value.as_i64().or_else(printed)
}

/// The moment of a text, if it says one; also of what is asked of a list.
pub(super) fn moment(field: &str, text: &str) -> Result<Timestamp, FieldError> {
    let wrong = || FieldError::new(field, "must be a time like 2026-12-24T00:00:00Z (RFC 3339)");
    timestamp(text).ok_or_else(wrong)
}

#[cfg(test)]
mod tests;
