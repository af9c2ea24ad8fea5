//! A key as it is shown: the answer of every route of keys.

use latchkey_contract::keys::{KeyObject, Lineage, Revocation};
use latchkey_contract::{Owner, UserId};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::json::rfc3339;

/// A key, without its text.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"id": 1, "name": "ci", "hint": "sk_0123…jklm", "created_at": "2025-12-05T23:00:00Z", "expires_at": "2026-12-05T23:00:00Z", "is_revoked": false, "last_used_at": "2025-12-06T08:30:00Z", "state": "active", "description": "", "metadata": {}, "external_id": null, "tags": ["team:core"], "environment": "live", "origin": "issued", "scopes": ["*"], "roles": [], "allowed_ips": [], "limits": [], "quota": null, "owner": {"type": "user", "id": 1}, "created_by": 1, "lineage": {"id": 1, "generation": 1, "replaces": null, "replaced_by": null, "retires_at": null}, "revocation": null, "version": 1}))]
pub struct KeyBody {
    id: i64,
    #[serde(flatten)]
    fields: KeyFields,
}

/// A key as it is shown to itself: without what its owner wrote for themselves, its `description` and the note of a
/// revocation.
#[derive(Serialize, ToSchema)]
pub struct OwnKeyBody {
    id: i64,
    #[serde(flatten)]
    fields: OpenFields,
}

/// What is shown of a key besides its id.
#[derive(Serialize, ToSchema)]
pub struct KeyFields {
    #[serde(flatten)]
    open: OpenFields,
    description: String,
}

/// What is shown of a key to whoever holds it, too.
#[derive(Serialize, ToSchema)]
pub struct OpenFields {
    name: String,
    /// Enough of the key to recognise it by.
    hint: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: String,
    is_revoked: bool,
    /// At most 10 seconds behind; null before the first use.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<String>,
    /// What the key is worth: the first of these that holds.
    #[schema(value_type = String, pattern = "^(revoked|expired|disabled|inactive|retiring|active)$")]
    state: &'static str,
    /// Told to whoever verifies the key.
    #[schema(value_type = Object)]
    metadata: Value,
    /// Whose key it is in your own system.
    external_id: Option<String>,
    tags: Vec<String>,
    environment: String,
    /// `issued` here, or `imported`.
    origin: &'static str,
    /// What the key was granted. What it may do is no more than its owner may.
    scopes: Vec<String>,
    #[schema(value_type = Vec<String>, max_items = 0)]
    roles: [&'static str; 0],
    /// Where from it may be used, as CIDRs; empty: from anywhere.
    allowed_ips: Vec<String>,
    #[schema(value_type = Vec<Object>, max_items = 0)]
    limits: [&'static str; 0],
    #[schema(value_type = Option<Object>)]
    quota: Option<()>,
    owner: OwnerBody,
    created_by: Option<i64>,
    lineage: LineageBody,
    revocation: Option<RevocationBody>,
    /// Rises with each change: `ETag` names it.
    version: i64,
}

#[derive(Serialize, ToSchema)]
struct OwnerBody {
    #[serde(rename = "type")]
    kind: &'static str,
    id: i64,
}

/// The keys that replaced each other.
#[derive(Serialize, ToSchema)]
struct LineageBody {
    /// The first of them.
    id: i64,
    generation: i64,
    replaces: Option<i64>,
    replaced_by: Option<i64>,
    /// When a key that was replaced ends.
    #[schema(value_type = Option<String>, format = DateTime)]
    retires_at: Option<String>,
}

/// How a key was ended.
#[derive(Serialize, ToSchema)]
struct RevocationBody {
    #[schema(value_type = String, format = DateTime)]
    at: String,
    reason: &'static str,
    note: Option<String>,
    /// Who did it, where that was written down.
    by: Option<RevokerBody>,
}

/// Who ended a key.
#[derive(Serialize, ToSchema)]
struct RevokerBody {
    #[serde(rename = "type")]
    #[schema(pattern = "^(user|key|operator|system)$")]
    kind: String,
    id: RevokerId,
}

/// Users and keys have numbers, operators and services names.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum RevokerId {
    Number(i64),
    Name(String),
}

impl KeyBody {
    /// How `key` is shown to `owner`, whose it is.
    #[must_use]
    pub fn new(key: KeyObject, owner: UserId) -> Self {
        Self { id: key.id.0, fields: KeyFields::new(key, owner) }
    }

    /// The value of `ETag`.
    #[must_use]
    pub fn etag(&self) -> String {
        etag(self.fields.open.version)
    }
}

impl OwnKeyBody {
    /// How `key`, which belongs to `owner`, is shown to itself.
    #[must_use]
    pub fn new(mut key: KeyObject, owner: UserId) -> Self {
        if let Some(revocation) = &mut key.revocation {
            revocation.note = None;
        }
        let (id, KeyFields { open: fields, .. }) = (key.id.0, KeyFields::new(key, owner));
        Self { id, fields }
    }

    /// The value of `ETag`.
    #[must_use]
    pub fn etag(&self) -> String {
        etag(self.fields.version)
    }
}

fn etag(version: i64) -> String {
    format!("\"v{version}\"")
}

impl KeyFields {
    /// The same without its id.
    #[must_use]
    pub fn new(key: KeyObject, owner: UserId) -> Self {
        // A key service of the release before does not say whose a key is.
        let owner = match key.owner {
            Owner::User(UserId(0)) => owner,
            Owner::User(user) => user,
        };
        let is_revoked = key.is_revoked();
        let open = OpenFields {
            name: key.name,
            hint: key.hint,
            created_at: rfc3339(key.created_at),
            expires_at: rfc3339(key.expires_at),
            is_revoked,
            last_used_at: key.last_used_at.map(rfc3339),
            state: key.state.name(),
            metadata: key.metadata.to_value(),
            external_id: key.external_id,
            tags: key.tags,
            environment: key.environment,
            origin: key.origin.name(),
            scopes: key.scopes.iter().map(str::to_owned).collect(),
            roles: [],
            allowed_ips: key.allowed_ips.iter().collect(),
            limits: [],
            quota: None,
            owner: OwnerBody { kind: "user", id: owner.0 },
            created_by: key.created_by.map(|user| user.0),
            lineage: key.lineage.into(),
            revocation: key.revocation.map(RevocationBody::from),
            version: key.version,
        };
        Self { open, description: key.description }
    }
}

impl From<Lineage> for LineageBody {
    fn from(lineage: Lineage) -> Self {
        Self {
            id: lineage.id.0,
            generation: lineage.generation,
            replaces: lineage.replaces.map(|key| key.0),
            replaced_by: lineage.replaced_by.map(|key| key.0),
            retires_at: lineage.retires_at.map(rfc3339),
        }
    }
}

impl From<Revocation> for RevocationBody {
    fn from(revocation: Revocation) -> Self {
        let by = revocation.by.map(|by| {
            let id = by.id.parse().map_or_else(|_name| RevokerId::Name(by.id), RevokerId::Number);
            RevokerBody { kind: by.kind, id }
        });
        let reason = revocation.reason.name();
        Self { at: rfc3339(revocation.at), reason, note: revocation.note, by }
    }
}
