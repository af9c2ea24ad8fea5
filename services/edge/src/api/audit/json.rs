//! An event as it is shown.

use latchkey_contract::Timestamp;
use latchkey_contract::audit::{AuditEvent, EventTarget};
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

use super::merge::Logged;

/// Something that was done, or that somebody tried.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"id": "keys-1042", "seq": 1040, "at": "2026-12-05T23:00:00.123Z", "service": "keys", "action": "key.revoked", "outcome": "success", "reason": null, "actor": {"type": "user", "id": 1, "name": null}, "target": {"type": "key", "id": 7}, "org_id": null, "ip": "203.0.113.7", "user_agent": "curl/8.5", "request_id": "4f6c1c1e9a1b2d3c-1", "revision": 12, "changes": null, "hash": "5f1d…", "sealed": true}))]
pub struct EventBody {
    id: String,
    /// Its place in the service's log; null while it is not sealed, which takes about a second.
    seq: Option<i64>,
    #[schema(value_type = String, format = DateTime)]
    at: String,
    #[schema(value_type = String, pattern = "^(identity|keys)$")]
    service: &'static str,
    /// What was done: a dotted name, which is stable.
    action: String,
    #[schema(pattern = "^(success|failure)$")]
    outcome: String,
    /// Why; of a failure the problem's code.
    reason: Option<String>,
    actor: ActorBody,
    target: Option<TargetBody>,
    org_id: Option<i64>,
    /// The client's address, as much of it as is kept.
    ip: Option<String>,
    user_agent: Option<String>,
    request_id: String,
    /// The number that the change took, as in its receipt.
    revision: Option<i64>,
    /// What each changed field was and is, by its name: which there are depends on what was done.
    #[schema(value_type = Option<HashMap<String, Value>>, additional_properties)]
    changes: Option<Value>,
    /// The link by which it is sealed.
    hash: Option<String>,
    sealed: bool,
}

/// Who did it.
#[derive(Serialize, ToSchema)]
struct ActorBody {
    #[serde(rename = "type")]
    #[schema(pattern = "^(user|key|operator|system|anonymous)$")]
    kind: String,
    id: Option<i64>,
    name: Option<String>,
}

/// What it was done to.
#[derive(Serialize, ToSchema)]
struct TargetBody {
    #[serde(rename = "type")]
    kind: String,
    id: TargetId,
}

/// Users and keys have numbers, sessions have texts.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum TargetId {
    Number(i64),
    Text(String),
}

impl EventBody {
    /// How an event of a log is shown.
    #[must_use]
    pub(super) fn new((of, event): (Logged, AuditEvent)) -> Self {
        let service = of.name();
        Self {
            id: format!("{service}-{}", event.id),
            seq: event.seq,
            at: moment(event.at),
            service,
            action: event.action,
            outcome: event.outcome,
            reason: event.reason,
            actor: ActorBody { kind: event.actor_type, id: event.actor_id, name: event.actor_name },
            target: event.target.map(TargetBody::new),
            org_id: event.org_id,
            ip: event.ip,
            user_agent: event.user_agent,
            request_id: event.request_id,
            revision: event.revision,
            changes: event.changes.and_then(|changes| serde_json::from_str(&changes).ok()),
            hash: event.hash,
            sealed: event.seq.is_some(),
        }
    }
}

impl TargetBody {
    fn new(target: EventTarget) -> Self {
        let number = target.number().map(TargetId::Number);
        Self { kind: target.kind, id: number.unwrap_or(TargetId::Text(target.id)) }
    }
}

/// RFC 3339 in UTC, to the millisecond.
fn moment(at: Timestamp) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0) * 1_000_000)
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_default()
}
