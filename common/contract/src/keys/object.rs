//! A key as its owner sees it.

use serde::{Deserialize, Serialize};

use crate::caller::Actor;
use crate::grants::{AllowedIps, Metadata};
use crate::ids::{KeyId, Timestamp, UserId};
use crate::principal::Owner;
use crate::scope::Scopes;

/// All that is shown of a key after it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyObject {
    /// The key's id.
    pub id: KeyId,
    /// The name its owner gave it.
    pub name: String,
    /// Enough of the key to recognise it by; empty where nothing of it is known.
    pub hint: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// From then on it is no longer accepted.
    pub expires_at: Timestamp,
    /// When it was last accepted, at most 10 s behind; `None` before the first use.
    pub last_used_at: Option<Timestamp>,
    /// What it is worth.
    pub state: KeyState,
    /// What it is for, at length.
    pub description: String,
    /// What verifiers are told of it.
    pub metadata: Metadata,
    /// Whose key it is in the owner's own system.
    pub external_id: Option<String>,
    /// By which it is found: each once, in order.
    pub tags: Vec<String>,
    /// The environment that it was made for.
    pub environment: String,
    /// Where it comes from.
    pub origin: KeyOrigin,
    /// What it was granted. What it may do is no more than its owner may.
    pub scopes: Scopes,
    /// Where from it may be used.
    pub allowed_ips: AllowedIps,
    /// Whose it is.
    pub owner: Owner,
    /// The user who made it; `None` where that was not written down.
    pub created_by: Option<UserId>,
    /// Which keys it replaced, and is replaced by.
    pub lineage: Lineage,
    /// When, why and by whom it was revoked, if it was.
    pub revocation: Option<Revocation>,
    /// Rises with each command on it: what a change is decided on.
    pub version: i64,
}

/// What a key is worth: the first that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// It was ended for good.
    Revoked,
    /// Its time is over.
    Expired,
    /// It is refused until it is enabled.
    Disabled,
    /// Its owner's account is deactivated.
    Inactive,
    /// It was replaced and is accepted until it retires.
    Retiring,
    /// It is accepted.
    Active,
}

/// Where a key comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyOrigin {
    /// This service made it.
    Issued,
    /// Another system made it.
    Imported,
}

/// A key and those that replaced each other by rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// The first of them.
    pub id: KeyId,
    /// How many there are up to this one.
    pub generation: i64,
    /// The key that this one replaced.
    pub replaces: Option<KeyId>,
    /// The key that replaced this one.
    pub replaced_by: Option<KeyId>,
    /// When a key that was replaced ends.
    pub retires_at: Option<Timestamp>,
}

/// How a key was ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: RevocationReason,
    /// What whoever did it added.
    pub note: Option<String>,
    /// Who did it; `None` where that was not written down.
    pub by: Option<Revoker>,
}

/// Why a key was ended (RFC 5280 §5.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevocationReason {
    /// Nobody said.
    #[default]
    Unspecified,
    /// Somebody else may have it.
    KeyCompromise,
    /// Another key took its place.
    Superseded,
    /// Whoever has it belongs elsewhere now.
    AffiliationChanged,
    /// Whoever has it may no longer do what it allows.
    PrivilegeWithdrawn,
    /// It is needed no more.
    CessationOfOperation,
}

/// Who ended a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoker {
    /// `user`, `key`, `operator` or `system`.
    pub kind: String,
    /// The user's or key's id, or the name of an operator or a service.
    pub id: String,
}

impl KeyObject {
    /// A key of which nothing is said: active, the first of its lineage, with everything but what is reserved.
    #[must_use]
    pub fn bare(id: KeyId, owner: Owner, created_at: Timestamp, expires_at: Timestamp) -> Self {
        let (replaces, replaced_by, retires_at) = (None, None, None);
        Self {
            id,
            name: String::new(),
            hint: String::new(),
            created_at,
            expires_at,
            last_used_at: None,
            state: KeyState::Active,
            description: String::new(),
            metadata: Metadata::default(),
            external_id: None,
            tags: Vec::new(),
            environment: "live".to_owned(),
            origin: KeyOrigin::Issued,
            scopes: Scopes::everything(),
            allowed_ips: AllowedIps::default(),
            owner,
            created_by: None,
            lineage: Lineage { id, generation: 1, replaces, replaced_by, retires_at },
            revocation: None,
            version: 1,
        }
    }

    /// Whether it was ended.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.revocation.is_some()
    }
}

impl KeyState {
    /// Each of them.
    pub const ALL: [Self; 6] = [
        Self::Revoked,
        Self::Expired,
        Self::Disabled,
        Self::Inactive,
        Self::Retiring,
        Self::Active,
    ];

    /// The one with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Its name, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Disabled => "disabled",
            Self::Inactive => "inactive",
            Self::Retiring => "retiring",
            Self::Active => "active",
        }
    }
}

impl KeyOrigin {
    /// The one with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Issued, Self::Imported].into_iter().find(|origin| origin.name() == name)
    }

    /// Its name, as in JSON and in the database.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::Imported => "imported",
        }
    }
}

impl RevocationReason {
    /// Each of them.
    pub const ALL: [Self; 6] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::Superseded,
        Self::AffiliationChanged,
        Self::PrivilegeWithdrawn,
        Self::CessationOfOperation,
    ];

    /// Its name, as in JSON and in the database.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "key_compromise",
            Self::Superseded => "superseded",
            Self::AffiliationChanged => "affiliation_changed",
            Self::PrivilegeWithdrawn => "privilege_withdrawn",
            Self::CessationOfOperation => "cessation_of_operation",
        }
    }

    /// Its name, where somebody gave one.
    #[must_use]
    pub fn given(self) -> Option<&'static str> {
        (self != Self::Unspecified).then(|| self.name())
    }

    /// The one with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

impl Revoker {
    /// Whoever acts.
    #[must_use]
    pub fn of(actor: &Actor) -> Option<Self> {
        let (kind, id) = match actor {
            Actor::Anonymous => return None,
            Actor::User { id, .. } => ("user", id.to_string()),
            Actor::Key { id, .. } => ("key", id.to_string()),
            Actor::Operator { name } => ("operator", name.to_string()),
            Actor::System { service } => ("system", service.to_string()),
        };
        Some(Self { kind: kind.to_owned(), id })
    }

    /// The one whose text [`as_text`](Self::as_text) wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, id) = text.split_once(':')?;
        Some(Self { kind: kind.to_owned(), id: id.to_owned() })
    }

    /// As it is stored.
    #[must_use]
    pub fn as_text(&self) -> String {
        format!("{}:{}", self.kind, self.id)
    }
}
