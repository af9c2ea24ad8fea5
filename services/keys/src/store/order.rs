//! What a key is to be: as it was asked for, and the row that is made of it.

use latchkey_contract::keys::KeyObject;
use latchkey_contract::refusal::Conflict;
use latchkey_contract::scope::Scopes;
use latchkey_contract::{
    AllowedIps, CredentialHash, KeyId, Metadata, Owner, Refusal, Timestamp, UserId,
};
use serde_json::{Value, json};

use crate::acting::{Reach, Wanted};

/// What an installation says of every new key.
#[derive(Clone, Debug)]
pub struct Policy {
    /// What it is granted whose maker does not say, as far as the owner's ceiling reaches.
    pub default_scopes: Scopes,
    /// Living keys of one owner at most, if there is a limit.
    pub per_owner: Option<u32>,
    /// The environment that restricts nothing: the first.
    pub environment: String,
    /// Whether whoever else uses the tables refuses what a key is not allowed.
    pub may_restrict: bool,
}

/// A key that is asked for; what was not said stands for itself.
#[derive(Clone, Debug)]
pub struct Order {
    /// Whose it is to be.
    pub owner: UserId,
    /// The scopes of the token that acts, where it is narrowed.
    pub narrowed: Option<Scopes>,
    /// What is stored of it.
    pub hash: CredentialHash,
    /// What is shown of it.
    pub hint: String,
    /// Its name.
    pub name: String,
    /// Now.
    pub created_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
    /// Whether nobody said when: then a key that acts makes none that outlives itself.
    pub is_default_expiry: bool,
    /// What it is for.
    pub description: String,
    /// What verifiers are told of it.
    pub metadata: Metadata,
    /// Whose key it is in the owner's own system; `None`: as of the key that acts, or nobody's in particular.
    pub external_id: Option<String>,
    /// Each once, in order.
    pub tags: Vec<String>,
    /// The environment that it is for.
    pub environment: String,
    /// What it is granted; `None`: the default, as far as the owner's ceiling reaches.
    pub scopes: Option<Scopes>,
    /// Where from it may be used; `None`: as the key that acts, or from anywhere.
    pub allowed_ips: Option<AllowedIps>,
}

/// A key to be.
#[derive(Clone, Debug)]
pub struct NewRow {
    /// Whose it is to be.
    pub owner: UserId,
    /// Who makes it.
    pub created_by: Option<UserId>,
    /// What is stored of it.
    pub hash: CredentialHash,
    /// What is shown of it.
    pub hint: String,
    /// Its name.
    pub name: String,
    /// Now.
    pub created_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
    /// What it is for.
    pub description: String,
    /// What verifiers are told of it.
    pub metadata: Metadata,
    /// Whose key it is in the owner's own system.
    pub external_id: Option<String>,
    /// Each once, in order.
    pub tags: Vec<String>,
    /// The environment that it is for.
    pub environment: String,
    /// What it is granted.
    pub scopes: Scopes,
    /// Where from it may be used.
    pub allowed_ips: AllowedIps,
}

impl Default for Policy {
    /// Everything but what is reserved, without a limit.
    fn default() -> Self {
        let (default_scopes, environment) = (Scopes::everything(), "live".to_owned());
        Self { default_scopes, per_owner: None, environment, may_restrict: true }
    }
}

impl Order {
    /// The row that it makes, within what whoever acts may give away and the owner's ceiling.
    pub(super) fn row(
        self,
        reach: &Reach,
        ceiling: &Scopes,
        policy: &Policy,
    ) -> Result<NewRow, Refusal> {
        let acting = match reach {
            Reach::Key(within) => Some(within),
            Reach::Owner | Reach::Token(_) => None,
        };
        let expires_at = match acting {
            Some(own) if self.is_default_expiry => self.expires_at.min(own.expires_at),
            _ => self.expires_at,
        };
        let scopes = self.scopes.unwrap_or_else(|| policy.default_scopes.intersection(ceiling));
        let allowed_ips = self.allowed_ips.unwrap_or_else(|| {
            acting.map_or_else(AllowedIps::default, |own| own.allowed_ips.clone())
        });
        let external_id =
            self.external_id.or_else(|| acting.and_then(|own| own.external_id.clone()));
        let wanted = Wanted {
            scopes: &scopes,
            allowed_ips: &allowed_ips,
            environment: &self.environment,
            expires_at,
            external_id: external_id.as_deref(),
        };
        reach.covers(wanted, ceiling)?;
        let is_bare = scopes == Scopes::everything()
            && allowed_ips.is_empty()
            && self.environment == policy.environment;
        if !is_bare && !policy.may_restrict {
            return Err(Refusal::Conflict(Conflict::OlderRelease));
        }
        let Self { owner, hash, hint, name, created_at, description, metadata, .. } = self;
        let (environment, tags) = (self.environment, self.tags);
        let created_by = Some(owner);
        Ok(NewRow {
            owner,
            created_by,
            hash,
            hint,
            name,
            created_at,
            expires_at,
            description,
            metadata,
            external_id,
            tags,
            environment,
            scopes,
            allowed_ips,
        })
    }
}

impl NewRow {
    /// What the log says of the new key: what it may do, where from, for what and how long.
    pub(super) fn said(&self) -> String {
        let new = |to: Value| json!({"from": null, "to": to});
        let mut said = json!({
            "scopes": new(json!(self.scopes)),
            "environment": new(json!(self.environment)),
            "expires_at": new(json!(self.expires_at)),
        });
        if !self.allowed_ips.is_empty() {
            said["allowed_ips"] = new(json!(self.allowed_ips));
        }
        said.to_string()
    }

    /// The key as it is shown, once it has this id.
    pub(super) fn object(self, id: KeyId) -> KeyObject {
        KeyObject {
            name: self.name,
            hint: self.hint,
            description: self.description,
            metadata: self.metadata,
            external_id: self.external_id,
            tags: self.tags,
            environment: self.environment,
            scopes: self.scopes,
            allowed_ips: self.allowed_ips,
            created_by: self.created_by,
            ..KeyObject::bare(id, Owner::User(self.owner), self.created_at, self.expires_at)
        }
    }
}
