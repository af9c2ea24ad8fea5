//! Whom a credential stands for, as other languages read it.

use serde::{Deserialize, Serialize};

use crate::grants::Metadata;
use crate::ids::{KeyId, Timestamp, UserId};
use crate::principal::{Detail, Owner, Principal, PrincipalKind};
use crate::scope::Scopes;

/// Whom a credential stands for, as other languages read it: every field is always there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedPrincipal {
    /// What it is. It says which of the other fields are there.
    #[serde(rename = "type")]
    pub kind: PrincipalKind,
    /// The user, or the user who made the key.
    pub user_id: UserId,
    /// A user's name.
    pub username: Option<String>,
    /// A user's e-mail address.
    pub email: Option<String>,
    /// A service's key.
    pub key_id: Option<KeyId>,
    /// The name that the key's owner gave it.
    pub name: Option<String>,
    /// From then on the credential is no longer accepted.
    pub expires_at: Timestamp,
    /// What it may do: as it was granted, as far as its owner may.
    pub scopes: Scopes,
    /// What a key was made for.
    pub environment: Option<String>,
    /// Whose it is; a user is their own.
    pub owner: VerifiedOwner,
    /// Whose key it is in the owner's own system, where the owner said so.
    pub external_id: Option<String>,
    /// What the owner noted of a key, for whoever verifies it: an object, empty where there is nothing.
    pub metadata: Option<Metadata>,
    /// The first of the keys that replaced each other down to this one.
    pub lineage_id: Option<KeyId>,
    /// The login session of a user's token.
    pub session_id: Option<String>,
}

/// Whose a credential is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedOwner {
    /// What the owner is.
    #[serde(rename = "type")]
    pub kind: OwnerKind,
    /// Their id, among those of the kind.
    pub id: i64,
}

/// The kinds of owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnerKind {
    /// A person.
    User,
}

impl From<Owner> for VerifiedOwner {
    fn from(owner: Owner) -> Self {
        match owner {
            Owner::User(UserId(id)) => Self { kind: OwnerKind::User, id },
        }
    }
}

impl From<&Principal> for VerifiedPrincipal {
    fn from(principal: &Principal) -> Self {
        let grants = &principal.grants;
        let nobody = Self {
            kind: principal.kind(),
            user_id: principal.owner().user(),
            username: None,
            email: None,
            key_id: None,
            name: None,
            expires_at: principal.expires_at,
            scopes: grants.scopes.clone(),
            environment: grants.environment.as_ref().map(ToString::to_string),
            owner: principal.owner().into(),
            external_id: grants.external_id.as_ref().map(ToString::to_string),
            metadata: None,
            lineage_id: None,
            session_id: None,
        };
        match &principal.detail {
            Detail::User(user) => Self {
                username: Some(user.username.to_string()),
                email: Some(user.email.to_string()),
                session_id: Some(user.session.to_string()),
                ..nobody
            },
            Detail::Key(key) => Self {
                key_id: Some(key.id),
                name: Some(key.name.to_string()),
                metadata: Some(grants.metadata.clone()),
                lineage_id: Some(key.lineage),
                ..nobody
            },
        }
    }
}
