//! What a merge patch (RFC 7396) of a key says: every faulty member is named, and every one that is not known.

use std::collections::BTreeMap;
use std::fmt;

use latchkey_contract::keys::{ExpiresIn, KeyObject, KeyPatch, rules};
use latchkey_contract::scope::Scopes;
use latchkey_contract::{AllowedIps, FieldError, Metadata, Timestamp};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Characters of a member's name that is said again at most: fewer than a key has.
const MAX_NAMED: usize = 40;

/// A merge patch of a key: members that are left out stay as they are.
#[derive(ToSchema)]
#[schema(as = KeyPatch, example = json!({"description": "for the nightly build", "scopes": ["orders:read"]}))]
#[expect(dead_code, reason = "it is the description of PatchBody")]
pub struct KeyPatchSchema {
    /// What the key is called.
    #[schema(min_length = 1, max_length = 100, nullable = false)]
    name: Option<String>,
    /// Null empties it.
    #[schema(value_type = Option<String>, max_length = 1000)]
    description: Option<String>,
    /// Merged member by member: null takes one out, and null in place of the object all of them.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
    /// Null clears it.
    #[schema(min_length = 1, max_length = 128, pattern = "^[!-~]+$")]
    external_id: Option<String>,
    /// Null takes all of them away.
    tags: Option<Vec<String>>,
    /// An empty list grants nothing.
    #[schema(value_type = Vec<String>, required = false)]
    scopes: Option<Vec<String>>,
    /// An empty list allows any address.
    #[schema(value_type = Vec<String>, required = false)]
    allowed_ips: Option<Vec<String>>,
    /// Days from the key's creation; beside it no `expires_at`.
    #[schema(value_type = i64, required = false, minimum = 1, maximum = 3650)]
    expires_in_days: Option<i64>,
    /// A moment to come.
    #[schema(value_type = String, required = false, format = DateTime)]
    expires_at: Option<String>,
}

/// The members of a patch, each once.
#[derive(Debug, Default)]
pub struct PatchBody(BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for PatchBody {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = PatchBody;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PatchBody, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a member twice"));
            }
        }
        Ok(PatchBody(members))
    }
}

impl PatchBody {
    /// The patch of this key.
    ///
    /// # Errors
    /// Every faulty member.
    pub(super) fn read(&self, key: &KeyObject) -> Result<KeyPatch, Vec<FieldError>> {
        let (mut patch, mut faults) = (KeyPatch::default(), Vec::new());
        for (name, value) in &self.0 {
            if let Err(fault) = member(&mut patch, key, name, value) {
                faults.push(fault);
            }
        }
        if self.0.contains_key("expires_at") && self.0.contains_key("expires_in_days") {
            let rule = "must be left out where `expires_in_days` is given";
            faults.push(FieldError::new("expires_at", rule));
        }
        if faults.is_empty() { Ok(patch) } else { Err(faults) }
    }
}

fn member(
    patch: &mut KeyPatch,
    key: &KeyObject,
    name: &str,
    value: &Value,
) -> Result<(), FieldError> {
    let wrong = |rule: &str| FieldError::new(name, rule);
    match name {
        "name" => patch.name = Some(rules::name(value.as_str())?),
        "description" => {
            let text = if value.is_null() { Some("") } else { value.as_str() };
            let text = text.ok_or_else(|| wrong("must be a text, or null"))?;
            rules::description(text)?;
            patch.description = Some(text.to_owned());
        }
        "metadata" => patch.metadata = Some(merged(&key.metadata, value)?),
        "external_id" if value.is_null() => patch.external_id = Some(None),
        "external_id" => {
            let text = value.as_str().ok_or_else(|| wrong("must be a text, or null"))?;
            rules::external_id(text)?;
            patch.external_id = Some(Some(text.to_owned()));
        }
        "tags" if value.is_null() => patch.tags = Some(Vec::new()),
        "tags" => {
            let list = texts(value).ok_or_else(|| wrong("must be a list of texts"))?;
            patch.tags = Some(rules::tags(list.into_iter().map(str::to_owned).collect())?);
        }
        "scopes" => {
            let rule = "must be a list of texts; an empty one grants nothing";
            let scopes = Scopes::of(texts(value).ok_or_else(|| wrong(rule))?);
            patch.scopes = Some(scopes.map_err(|fault| wrong(&fault.to_string()))?);
        }
        "allowed_ips" => {
            let rule = "must be a list of texts; an empty one allows any address";
            let ranges = AllowedIps::of(texts(value).ok_or_else(|| wrong(rule))?);
            patch.allowed_ips = Some(ranges.map_err(|fault| wrong(&fault.to_string()))?);
        }
        "expires_in_days" => {
            let days = whole(value).filter(|days| rules::DAYS.contains(days));
            let days = days.ok_or_else(|| wrong("must be a whole number from 1 to 3650"))?;
            patch.expires = Some(ExpiresIn::Days(days));
        }
        "expires_at" => {
            let rule = "must be a time like 2026-12-24T00:00:00Z (RFC 3339)";
            let at = Timestamp::deserialize(value).map_err(|_no_time| wrong(rule))?;
            patch.expires = Some(ExpiresIn::At(at));
        }
        "roles" | "limits" | "quota" => {
            return Err(wrong("cannot be chosen yet: leave it out"));
        }
        "environment" => return Err(wrong("is a part of the key's text: make another key")),
        _ => return Err(unknown(name)),
    }
    Ok(())
}

/// What is no name is not said again: it may be a secret in the wrong place.
fn unknown(name: &str) -> FieldError {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let is_name = (1..=MAX_NAMED).contains(&name.len()) && name.bytes().all(is_fit);
    FieldError::new(if is_name { name } else { "body" }, "holds what cannot be changed here")
}

/// Metadata that is patched member by member.
fn merged(before: &Metadata, patch: &Value) -> Result<Metadata, FieldError> {
    let wrong = |rule: String| FieldError::new("metadata", rule);
    let members = match patch {
        Value::Null => return Ok(Metadata::default()),
        Value::Object(members) => members,
        _ => return Err(wrong("must be an object, or null".to_owned())),
    };
    let mut all: Map<String, Value> = before.to_value().as_object().cloned().unwrap_or_default();
    for (name, value) in members {
        if value.is_null() {
            all.remove(name);
        } else {
            all.insert(name.clone(), value.clone());
        }
    }
    Metadata::of(&Value::Object(all)).map_err(|fault| wrong(fault.to_string()))
}

/// A list of texts; `None` where it is something else.
fn texts(value: &Value) -> Option<Vec<&str>> {
    value.as_array()?.iter().map(Value::as_str).collect()
}

/// A whole number in any spelling of it (`90`, `90.0`, `9e1`).
fn whole(value: &Value) -> Option<i64> {
    if let Some(number) = value.as_i64() {
        return Some(number);
    }
    // Printed without a fraction it loses none.
    let number = value.as_f64().filter(|number| number.fract() == 0.0)?;
    format!("{number:.0}").parse().ok()
}

#[cfg(test)]
mod tests {
    use latchkey_contract::{KeyId, Owner, UserId};

    use super::*;

    fn read(json: &str, metadata: &str) -> Result<KeyPatch, Vec<String>> {
        let owner = Owner::User(UserId(1));
        let metadata = Metadata::parse(metadata).unwrap();
        let bare = KeyObject::bare(KeyId(1), owner, Timestamp(0), Timestamp(1));
        let key = KeyObject { metadata, ..bare };
        let body: PatchBody = serde_json::from_str(json).unwrap();
        body.read(&key).map_err(|faults| faults.into_iter().map(|fault| fault.field).collect())
    }

    #[test]
    fn metadata_is_merged_and_null_clears_what_may_be_empty() {
        let patch = read(r#"{"metadata": {"a": null, "c": 3}}"#, r#"{"a":1,"b":2}"#).unwrap();
        assert_eq!(patch.metadata.unwrap().as_text(), r#"{"b":2,"c":3}"#);
        let patch = read(
            r#"{"metadata": null, "external_id": null, "tags": null, "description": null}"#,
            r#"{"a":1}"#,
        );
        let patch = patch.unwrap();
        assert!(patch.metadata.unwrap().is_empty());
        assert_eq!(patch.external_id, Some(None));
        assert_eq!((patch.tags, patch.description), (Some(Vec::new()), Some(String::new())));
        assert_eq!(read("{}", "").unwrap(), KeyPatch::default());
    }

    #[test]
    fn null_where_empty_would_mean_all_and_whatever_is_not_known_is_named() {
        for field in ["name", "scopes", "allowed_ips", "expires_at", "expires_in_days", "roles"] {
            assert_eq!(read(&format!(r#"{{"{field}": null}}"#), "").unwrap_err(), [field]);
        }
        let faults = read(r#"{"scope": [], "id": 7, "environment": "live", "a secret!": 1}"#, "");
        assert_eq!(faults.unwrap_err(), ["body", "environment", "id", "scope"]);
        let both = r#"{"expires_in_days": 1, "expires_at": "2026-12-24T00:00:00Z"}"#;
        assert_eq!(read(both, "").unwrap_err(), ["expires_at"]);
        assert!(serde_json::from_str::<PatchBody>(r#"{"name": "a", "name": "b"}"#).is_err());
        let empty = read(r#"{"scopes": [], "allowed_ips": []}"#, "").unwrap();
        assert!(empty.scopes.unwrap().is_empty() && empty.allowed_ips.unwrap().is_empty());
    }
}
