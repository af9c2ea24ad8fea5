//! What is asked of the key service about keys that are there: to change, replace and end them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::commands::{ExpiresIn, IssuedKey, KeyFilter, READ, TIMEOUT, command};
use super::object::{KeyObject, RevocationReason};
use crate::authority::{CHANGE_ATTEMPT, CHANGE_TIMEOUT, Changed};
use crate::caller::Sender;
use crate::credential::CredentialHash;
use crate::grants::{AllowedIps, Metadata};
use crate::idempotency::Idempotency;
use crate::ids::{KeyId, Mark, Timestamp, UserId};
use crate::rpc::{Retry, Rpc};
use crate::scope::Scopes;
use crate::secret::{Secret, exposed};

const CHANGE: Retry = Retry::Idempotent(CHANGE_ATTEMPT);

/// Which key a change is about, and what it was decided on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyTarget {
    /// The user whose key it is.
    pub owner: UserId,
    /// The key.
    pub key: KeyId,
    /// [`KeyObject::version`] as the sender read it after its client had asked, or as the client named it: a message
    /// that comes after something newer is refused.
    pub version: i64,
    /// A doubled or repeated message is known by it.
    pub mark: Mark,
    /// The scopes of the token that acts, where it is narrowed.
    pub narrowed: Option<Scopes>,
}

/// Changes what is said of a key, or what it may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateKey {
    /// Which key.
    pub target: KeyTarget,
    /// The changes.
    pub patch: KeyPatch,
    /// Whether the reply comes when no edge acts on the old state, or as soon as it is on disk.
    pub wait: bool,
}

/// What is to be another; `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPatch {
    /// See [`KeyObject`].
    pub name: Option<String>,
    /// See [`KeyObject`].
    pub description: Option<String>,
    /// The whole of it; a sender has merged what it patches (RFC 7396).
    pub metadata: Option<Metadata>,
    /// `Some(None)` takes it away.
    pub external_id: Option<Option<String>>,
    /// See [`KeyObject`].
    pub tags: Option<Vec<String>>,
    /// See [`KeyObject`].
    pub scopes: Option<Scopes>,
    /// See [`KeyObject`].
    pub allowed_ips: Option<AllowedIps>,
    /// A later or an earlier end, in days from the key's creation or as a moment.
    pub expires: Option<ExpiresIn>,
}

/// Has a key be refused until it is enabled again, or enables it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetKeyEnabled {
    /// Which key.
    pub target: KeyTarget,
    /// Whether it is to be accepted.
    pub enabled: bool,
    /// What whoever does it adds, for the audit log.
    pub note: Option<String>,
    /// Whether a key that is marked as leaked may be enabled.
    pub confirm: bool,
    /// As in [`UpdateKey`].
    pub wait: bool,
}

/// A key after a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyChanged {
    /// As it is now.
    pub object: KeyObject,
    /// How far the change is; `None` where no edge has to know of it.
    pub changed: Option<Changed>,
}

/// Ends a key of `owner`'s: it is refused from the reply on. Revoking twice is no error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeKey {
    /// The user whose key it is.
    pub owner: UserId,
    /// The key to end.
    pub key: KeyId,
    /// Whether the reply comes when no edge accepts the key any more, or as soon as it is on disk.
    pub wait: bool,
    /// Why; a second revoke may raise it to [`RevocationReason::KeyCompromise`] and nothing else.
    pub reason: RevocationReason,
    /// What whoever does it adds.
    pub note: Option<String>,
    /// Whether the acting key ends itself, which needs no scope.
    pub is_self: bool,
}

/// Ends several keys of `owner`'s.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeKeys {
    /// The user whose keys they are.
    pub owner: UserId,
    /// Which of them.
    pub which: Which,
    /// As in [`RevokeKey`].
    pub reason: RevocationReason,
    /// As in [`RevokeKey`].
    pub note: Option<String>,
    /// Whether to say which keys it would end, and end none.
    pub dry_run: bool,
    /// As in [`RevokeKey`].
    pub wait: bool,
}

/// Which keys are to be ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Which {
    /// 1 to [`MAX_ENDED`](super::rules::MAX_ENDED) keys, each once.
    Ids(Vec<KeyId>),
    /// Those that a filter finds, which names at least one thing: [`MAX_ENDED`](super::rules::MAX_ENDED) at most.
    Filter(KeyFilter),
}

/// What became of several keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysRevoked {
    /// Those that are ended, or would be, by rising id.
    pub keys: Vec<RevokedOne>,
    /// Ids that are no keys of the owner's.
    pub missing: Vec<KeyId>,
    /// Whether the filter finds more: the same command ends those.
    pub more: bool,
    /// How far the change is; `None` where there was nothing to wait for.
    pub changed: Option<Changed>,
}

/// One of several keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedOne {
    /// The key.
    pub id: KeyId,
    /// When it was last accepted.
    pub last_used_at: Option<Timestamp>,
}

/// Replaces a key by a new one that has what it has.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RotateKey {
    /// Which key.
    pub target: KeyTarget,
    /// Until when the old one is accepted.
    pub grace: Grace,
    /// How long the new key lives; [`ExpiresIn::Default`]: as long from now as the old one lived from its creation.
    pub expires_in: ExpiresIn,
    /// Why the old one ends.
    pub reason: RevocationReason,
    /// Whether a grace is meant although the old key may be somebody else's, or a lineage marked as leaked goes on.
    pub confirm: bool,
    /// Whether the acting key replaces itself, which needs a scope of its own.
    pub is_self: bool,
    /// As in [`IssueKey`](super::IssueKey).
    #[serde(with = "exposed")]
    pub seed: Secret,
    /// As in [`IssueKey`](super::IssueKey).
    pub idempotency: Option<Idempotency>,
    /// As in [`UpdateKey`].
    pub wait: bool,
}

/// Until when a key that is replaced is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Grace {
    /// As long as the service is configured to give.
    Default,
    /// For so many seconds; 0: it is revoked at once.
    Seconds(i64),
    /// Until this moment.
    Until(Timestamp),
}

/// A key and what it replaces.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RotatedKey {
    /// The new one.
    pub issued: IssuedKey,
    /// The old one.
    pub replaces: KeyId,
    /// When the old one ends, or ended.
    pub retires_at: Timestamp,
    /// How far the change of the old one is.
    pub changed: Changed,
}

/// Takes away what is said of a revoked key; what is left of its row says that there was one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeKey {
    /// The user whose key it is: the one who acts.
    pub owner: UserId,
    /// The key.
    pub key: KeyId,
}

impl KeyTarget {
    /// No key has this version. An edge whose client does not wait any more asks by it that a rotation of before is done
    /// or never will be.
    pub const NEVER: i64 = 0;
}

/// Ends the key that somebody shows, whoever they are. The reply is `None` where it is not accepted just now, and was not
/// revoked before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeShown {
    /// The key.
    pub hash: CredentialHash,
}

impl RevokeKey {
    /// Ends this key of `owner`'s, for no reason that was said.
    #[must_use]
    pub fn of(owner: UserId, key: KeyId, wait: bool) -> Self {
        let reason = RevocationReason::Unspecified;
        Self { owner, key, wait, reason, note: None, is_self: false }
    }
}

command!(UpdateKey, "v1.keys.update", CHANGE_TIMEOUT, CHANGE, KeyChanged);
command!(SetKeyEnabled, "v1.keys.state", CHANGE_TIMEOUT, CHANGE, KeyChanged);
command!(RevokeKey, "v1.keys.revoke", CHANGE_TIMEOUT, CHANGE, Changed);
command!(RevokeShown, "v1.keys.revoke-shown", CHANGE_TIMEOUT, CHANGE, Option<Changed>);
command!(RevokeKeys, "v1.keys.revoke-many", CHANGE_TIMEOUT, CHANGE, KeysRevoked);
command!(RotateKey, "v1.keys.rotate", CHANGE_TIMEOUT, CHANGE, RotatedKey);
command!(PurgeKey, "v1.keys.purge", TIMEOUT, READ, ());
