//! An event as it is stored and as it is shown: one JSON object, whose form is part of the chain.

use latchkey_contract::Timestamp;
use serde::Serialize;
use serde_json::Value;
use sqlx::FromRow;

use crate::chain::Link;

/// A row of the table.
#[derive(Clone, Debug, FromRow)]
pub struct Record {
    pub(crate) id: i64,
    at: i64,
    action: String,
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
    request_id: String,
    revision: Option<i64>,
    changes: Option<String>,
    pub(crate) seq: Option<i64>,
    pub(crate) hash: Option<Vec<u8>>,
}

/// Members in the order in which they are hashed. A member that a later release adds is left out where it is not set, so
/// that the links of earlier events stay what they are.
#[derive(Serialize)]
struct Shown<'a> {
    id: String,
    seq: Option<i64>,
    at: Timestamp,
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
    changes: Option<Value>,
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
    kind: &'a str,
    id: Value,
}

impl Record {
    /// The link that is stored, where it is one.
    pub(crate) fn link(&self) -> Option<Link> {
        self.hash.as_deref().and_then(|hash| hash.try_into().ok())
    }

    /// The event as the chain has it at the place `seq`: JSON without its link.
    ///
    /// # Errors
    /// Where the row holds what no event does: a time that no calendar has.
    pub(crate) fn canonical(&self, service: &str, seq: i64) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&self.shown(service, Some(seq)))
    }

    fn shown<'a>(&'a self, service: &'a str, seq: Option<i64>) -> Shown<'a> {
        let target = self.target_type.as_deref().zip(self.target_id.as_deref());
        Shown {
            id: format!("{service}-{}", self.id),
            seq,
            at: Timestamp(self.at),
            service,
            action: &self.action,
            outcome: &self.outcome,
            reason: self.reason.as_deref(),
            actor: Actor {
                kind: &self.actor_type,
                id: self.actor_id,
                name: self.actor_name.as_deref(),
            },
            target: target.map(|(kind, id)| Target { kind, id: id_of(kind, id) }),
            org_id: self.org_id,
            ip: self.ip.as_deref(),
            user_agent: self.user_agent.as_deref(),
            request_id: &self.request_id,
            revision: self.revision,
            changes: self.changes.as_deref().map(json_of),
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

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_none| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_hashed_in_one_form() {
        let record = Record {
            id: 1042,
            at: 1_796_511_600_123,
            action: "key.revoked".to_owned(),
            outcome: "success".to_owned(),
            reason: None,
            actor_type: "user".to_owned(),
            actor_id: Some(1),
            actor_name: None,
            target_type: Some("key".to_owned()),
            target_id: Some("7".to_owned()),
            org_id: None,
            ip: Some("203.0.113.7".to_owned()),
            user_agent: Some("curl/8.5".to_owned()),
            request_id: "a-1".to_owned(),
            revision: Some(12),
            changes: None,
            seq: None,
            hash: None,
        };
        let expected = concat!(
            r#"{"id":"keys-1042","seq":1040,"at":"2026-12-05T23:00:00.123Z","service":"keys","action":"key.revoked","#,
            r#""outcome":"success","reason":null,"actor":{"type":"user","id":1,"name":null},"#,
            r#""target":{"type":"key","id":7},"org_id":null,"ip":"203.0.113.7","user_agent":"curl/8.5","#,
            r#""request_id":"a-1","revision":12,"changes":null}"#
        );
        let canonical = record.canonical("keys", 1040).unwrap();
        assert_eq!(String::from_utf8(canonical).unwrap(), expected);
        let session = "12345678901234567890123456789012";
        assert_eq!(id_of("session", session), Value::from(session));
        assert_eq!(id_of("key", "+7"), Value::from("+7"), "two rows never look alike");
    }
}
