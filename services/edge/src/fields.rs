//! Bodies of which every member is known: whoever reads one takes the members that it knows, and every other is named.

use std::collections::BTreeMap;
use std::fmt;

use latchkey_contract::keys::ExpiresIn;
use latchkey_contract::{FieldError, Timestamp};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::problem::Problem;

/// Characters of a member's name that is said again at most.
const MAX_NAME: usize = 40;

/// The members of a JSON object that nobody has taken yet, and what was wrong with those that were. A member that is
/// null is no member that is left out: whoever sends one may mean more by it than what is done without it.
#[derive(Debug, Default)]
pub struct Fields {
    within: String,
    members: BTreeMap<String, Value>,
    faults: Vec<FieldError>,
}

impl Fields {
    /// A whole number in any spelling of it (`90`, `90.0`, `9e1`).
    pub(crate) fn integer(&mut self, name: &str) -> Option<i64> {
        let value = self.take(name)?;
        let number = whole(&value);
        self.said(name, number, "must be a whole number of 64 bits")
    }

    /// A text.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        let value = self.take(name)?;
        self.said(name, value.as_str().map(str::to_owned), "must be a text")
    }

    /// The same where null says that there is none.
    pub(crate) fn text_or_null(&mut self, name: &str) -> Option<String> {
        let is_null = self.members.get(name).is_some_and(Value::is_null);
        if is_null {
            self.members.remove(name);
        }
        self.text(name)
    }

    /// A text that is one of these, as `named` knows it.
    pub(crate) fn one_of<T>(
        &mut self,
        name: &str,
        named: impl FnOnce(&str) -> Option<T>,
        rule: &str,
    ) -> Option<T> {
        let value = self.take(name)?;
        self.said(name, value.as_str().and_then(named), rule)
    }

    /// Texts: one, or a list of at least one.
    pub(crate) fn texts(&mut self, name: &str) -> Vec<String> {
        let Some(value) = self.take(name) else { return Vec::new() };
        let texts = match &value {
            Value::String(text) => Some(vec![text.clone()]),
            Value::Array(list) if !list.is_empty() => {
                list.iter().map(|text| text.as_str().map(str::to_owned)).collect()
            }
            _ => None,
        };
        self.said(name, texts, "must be a text, or a list of at least one").unwrap_or_default()
    }

    /// `true` or `false`; `false` where it is left out.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let Some(value) = self.take(name) else { return false };
        self.said(name, value.as_bool(), "must be true or false").unwrap_or_default()
    }

    /// A moment in RFC 3339.
    pub(crate) fn moment(&mut self, name: &str) -> Option<Timestamp> {
        let value = self.take(name)?;
        self.said(name, Timestamp::deserialize(value).ok(), "must be a time of RFC 3339")
    }

    /// Days that a key is to live; whoever makes keys says which numbers are good.
    pub(crate) fn days(&mut self, name: &str) -> ExpiresIn {
        self.take(name).map_or(ExpiresIn::Default, |value| {
            whole(&value).map_or(ExpiresIn::NotAnInteger, ExpiresIn::Days)
        })
    }

    /// A list of positive whole numbers.
    pub(crate) fn ids(&mut self, name: &str) -> Option<Vec<i64>> {
        let value = self.take(name)?;
        let ids: Option<Vec<i64>> = value
            .as_array()
            .and_then(|list| list.iter().map(|id| whole(id).filter(|id| *id > 0)).collect());
        self.said(name, ids, "must be a list of positive whole numbers")
    }

    /// An object, whose own faults belong to this one by [`join`](Self::join).
    pub(crate) fn object(&mut self, name: &str) -> Option<Self> {
        let value = self.take(name)?;
        let within = format!("{}{name}.", self.within);
        let object = match value {
            Value::Object(members) => {
                Some(Self { within, members: members.into_iter().collect(), faults: Vec::new() })
            }
            _ => None,
        };
        self.said(name, object, "must be an object")
    }

    /// Takes in what was wrong with an object of this one, of which nothing else is to be taken.
    pub(crate) fn join(&mut self, object: Self) {
        self.faults.extend(object.named());
    }

    /// Notes that something is wrong with a member.
    pub(crate) fn fault(&mut self, name: &str, message: impl Into<String>) {
        self.faults.push(FieldError::new(format!("{}{name}", self.within), message));
    }

    /// Notes what is wrong, where something is.
    pub(crate) fn check(&mut self, checked: Result<(), FieldError>) {
        if let Err(fault) = checked {
            self.fault(&fault.field.clone(), fault.message);
        }
    }

    /// Nothing else is known.
    ///
    /// # Errors
    /// 422 that names every member that is not known, and everything that was noted.
    pub(crate) fn end(self) -> Result<(), Problem> {
        let faults = self.named();
        if faults.is_empty() { Ok(()) } else { Err(Problem::invalid(faults)) }
    }

    fn named(self) -> Vec<FieldError> {
        let Self { within, members, mut faults } = self;
        for name in members.into_keys() {
            // What is no name is not said again: it may be a secret in the wrong place.
            let is_name = name.len() <= MAX_NAME
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            let field = if is_name { format!("{within}{name}") } else { "body".to_owned() };
            faults.push(FieldError::new(field, "holds what is not known here"));
        }
        faults
    }

    /// Whether a member is there and not taken yet.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        let value = self.members.remove(name)?;
        if value.is_null() {
            self.fault(name, "must not be null: leave it out");
            return None;
        }
        Some(value)
    }

    fn said<T>(&mut self, name: &str, value: Option<T>, rule: &str) -> Option<T> {
        if value.is_none() {
            self.fault(name, rule);
        }
        value
    }
}

/// A whole number, however it is written.
fn whole(value: &Value) -> Option<i64> {
    if let Some(number) = value.as_i64() {
        return Some(number);
    }
    // Printed without a fraction it loses none.
    let number = value.as_f64().filter(|number| number.fract() == 0.0)?;
    format!("{number:.0}").parse().ok()
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a member twice"));
            }
        }
        Ok(Fields { members, ..Fields::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(json: &str) -> Fields {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_is_known_is_taken_and_everything_else_is_named() {
        let mut all = fields(
            r#"{"n": 9e1, "t": "x", "f": true, "l": ["a", "b"], "o": {"x": 1, "y": 2}, "z": null, "y": null, "q": 1}"#,
        );
        assert_eq!(all.integer("n"), Some(90));
        assert_eq!(all.text("t").as_deref(), Some("x"));
        assert!(all.flag("f"));
        assert_eq!(all.texts("l"), ["a", "b"]);
        assert_eq!((all.text_or_null("z"), all.text("y")), (None, None));
        let mut object = all.object("o").unwrap();
        assert_eq!(object.integer("x"), Some(1));
        all.join(object);
        let named: Vec<String> = all.named().into_iter().map(|fault| fault.field).collect();
        assert_eq!(named, ["y", "o.y", "q"]);
    }

    #[test]
    fn null_is_never_taken_for_what_is_left_out() {
        let mut all =
            fields(r#"{"f": null, "l": null, "i": null, "o": null, "d": null, "m": null}"#);
        assert!(all.has("i") && !all.flag("f") && all.texts("l").is_empty());
        assert!(all.ids("i").is_none() && all.object("o").is_none() && all.moment("m").is_none());
        all.days("d");
        let named: Vec<String> = all.named().into_iter().map(|fault| fault.field).collect();
        assert_eq!(named, ["f", "l", "i", "o", "m", "d"]);
    }

    #[test]
    fn what_is_of_another_kind_is_a_fault_and_what_is_no_name_is_not_said_again() {
        let mut all = fields(r#"{"n": 1.5, "l": [], "f": 1, "i": [0], "a secret!": 1}"#);
        assert_eq!((all.integer("n"), all.flag("f"), all.ids("i")), (None, false, None));
        assert_eq!(all.texts("l"), [""; 0]);
        let named: Vec<String> = all.named().into_iter().map(|fault| fault.field).collect();
        assert_eq!(named, ["n", "f", "i", "l", "body"]);
        assert!(serde_json::from_str::<Fields>(r#"{"a": 1, "a": 2}"#).is_err());
    }
}
