//! An event as it is stored and as it is shown: one JSON object, whose form is part of the chain.

use latchkey_contract::Timestamp;
use latchkey_contract::audit::{AuditEvent, EventTarget};
use serde::de::IgnoredAny;
use serde::{Serialize, Serializer};
use serde_json::Value;
use sqlx::FromRow;

use crate::chain::Link;

/// A row of the table.
#[derive(Clone, Debug, FromRow)]
pub struct Record {
    pub(crate) id: i64,
    pub(crate) at: i64,
    pub(crate) action: String,
    outcome: String,
    reason: Option<String>,
    actor_type: String,
    actor_id: Option<i64>,
    actor_name: Option<String>,
    target_type: Option<String>,
    target_id: Option<String>,
    org_id: Option<i64>,
    ip: Option<String>,
    user_agent: Option<String>,
    pub(crate) request_id: String,
    revision: Option<i64>,
    pub(crate) changes: Option<String>,
    pub(crate) seq: Option<i64>,
    pub(crate) hash: Option<Vec<u8>>,
}

/// Members in the order in which they are hashed; `changes` comes behind them. A member that a later release adds is
/// left out where it is not set, so that the links of earlier events stay what they are.
#[derive(Serialize)]
struct Shown<'a> {
    id: String,
    seq: Option<i64>,
    at: At,
    service: &'a str,
    action: &'a str,
    outcome: &'a str,
    reason: Option<&'a str>,
    actor: Actor<'a>,
    target: Option<Target<'a>>,
    org_id: Option<i64>,
    ip: Option<&'a str>,
    user_agent: Option<&'a str>,
    request_id: &'a str,
    revision: Option<i64>,
}

#[derive(Serialize)]
struct Actor<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    id: Option<i64>,
    name: Option<&'a str>,
}

#[derive(Serialize)]
struct Target<'a> {
    #[serde(rename = "type")]
    kind: Option<&'a str>,
    id: Option<Value>,
}

/// A time; the bare number where no calendar has it, which nobody but somebody who writes the database brings about.
struct At(Timestamp);

impl Serialize for At {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match serde_json::to_value(self.0) {
            Ok(Value::String(text)) => to.serialize_str(&text),
            _ => to.serialize_i64(self.0.0),
        }
    }
}

impl Record {
    /// The link that is stored, where it is one.
    pub(crate) fn link(&self) -> Option<Link> {
        self.hash.as_deref().and_then(|hash| hash.try_into().ok())
    }

    /// The event as the chain has it at the place `seq`: JSON without its link. Two rows that differ in anything but
    /// place and link are never the same text.
    pub(crate) fn canonical(&self, service: &str, seq: i64) -> Vec<u8> {
        let mut text = self.members(service, Some(seq));
        text.push('}');
        text.into_bytes()
    }

    /// The event as it is shown and exported: the canonical text, and its link behind it.
    #[must_use]
    pub fn line(&self, service: &str) -> String {
        let mut text = self.members(service, self.seq);
        match &self.hash {
            Some(hash) => text.extend([r#","hash":""#, &hex::encode(hash), "\""]),
            None => text.push_str(r#","hash":null"#),
        }
        text.push_str(r#","sealed":"#);
        text.push_str(if self.seq.is_some() { "true}" } else { "false}" });
        text
    }

    /// The event as it is listed.
    pub(crate) fn event(self) -> AuditEvent {
        let kind = self.target_type;
        let target = kind.zip(self.target_id).map(|(kind, id)| EventTarget { kind, id });
        AuditEvent {
            id: self.id,
            seq: self.seq,
            at: Timestamp(self.at),
            action: self.action,
            outcome: self.outcome,
            reason: self.reason,
            actor_type: self.actor_type,
            actor_id: self.actor_id,
            actor_name: self.actor_name,
            target,
            org_id: self.org_id,
            ip: self.ip,
            user_agent: self.user_agent,
            request_id: self.request_id,
            revision: self.revision,
            changes: self.changes,
            hash: self.hash.map(hex::encode),
        }
    }

    /// The object's members, without the brace behind them.
    fn members(&self, service: &str, seq: Option<i64>) -> String {
        // Texts and numbers have a form, whatever they are.
        let mut text = serde_json::to_string(&self.shown(service, seq)).unwrap_or_default();
        text.pop();
        text.push_str(r#","changes":"#);
        match self.changes.as_deref() {
            None => text.push_str("null"),
            // As it stands: the same object in another spelling is another row.
            Some(changes) if is_object(changes) => text.push_str(changes),
            Some(other) => text.push_str(&Value::from(other).to_string()),
        }
        text
    }

    fn shown<'a>(&'a self, service: &'a str, seq: Option<i64>) -> Shown<'a> {
        let (kind, id) = (self.target_type.as_deref(), self.target_id.as_deref());
        let id_of = |id| id_of(kind.unwrap_or_default(), id);
        let is_there = kind.is_some() || id.is_some();
        Shown {
            id: format!("{service}-{}", self.id),
            seq,
            at: At(Timestamp(self.at)),
            service,
            action: &self.action,
            outcome: &self.outcome,
            reason: self.reason.as_deref(),
            actor: Actor {
                kind: &self.actor_type,
                id: self.actor_id,
                name: self.actor_name.as_deref(),
            },
            target: is_there.then(|| Target { kind, id: id.map(id_of) }),
            org_id: self.org_id,
            ip: self.ip.as_deref(),
            user_agent: self.user_agent.as_deref(),
            request_id: &self.request_id,
            revision: self.revision,
        }
    }
}

/// Sessions and names are texts, whatever digits they have; everything else has a number.
fn id_of(kind: &str, id: &str) -> Value {
    let number = id.parse::<i64>().ok().filter(|number| number.to_string() == id);
    match number {
        Some(number) if !["session", "name"].contains(&kind) => number.into(),
        _ => id.into(),
    }
}

/// Whether a text is one JSON object on one line, which stands between others as it is.
fn is_object(text: &str) -> bool {
    let is_bare = text.starts_with('{') && text.ends_with('}') && !text.contains(char::is_control);
    is_bare && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

#[cfg(test)]
mod tests;
