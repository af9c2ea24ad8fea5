//! What every other service may ask: who does this credential stand for? `docs/bus.md` has it in words.
//!
//! These messages are for other languages too. Their JSON is pinned by tests, as are their bytes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{KeyId, Timestamp, UserId};
use crate::lease::Position;
use crate::refusal::FieldError;
use crate::rpc::{ATTEMPT, Retry, Rpc};
use crate::secret::{Secret, exposed_list, exposed_option};
use crate::verdict::{KeyPrincipal, UserPrincipal, Verdict};

/// Asks who one credential stands for.
///
/// A field that is not known is refused, so that a misspelt `required_scope` is not taken for none.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    /// An access token or an API key; its form says which. `None` where it is missing.
    #[serde(default, with = "exposed_option")]
    pub credential: Option<Secret>,
    /// Reserved. Credentials have no scopes yet, so that none can have the one that is required:
    /// a request that names one is refused as invalid.
    #[serde(default)]
    pub required_scope: Option<String>,
    /// How recent the answer has to be.
    #[serde(default)]
    pub min_revision: Option<MinRevision>,
}

/// How recent an answer has to be: each authority counts its own changes, and judges its own credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MinRevision {
    /// API keys are judged as of this revision of the key service, or a later one.
    #[serde(default)]
    pub keys: Option<Position>,
    /// Access tokens are judged as of this revision of the identity service, or a later one.
    #[serde(default)]
    pub identity: Option<Position>,
}

/// Asks the same of many credentials; the answers come in the same order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifyBatch {
    /// 1 to [`MAX_BATCH`](crate::wire::MAX_BATCH) credentials, of both kinds.
    #[serde(default, with = "exposed_list")]
    pub credentials: Vec<Secret>,
    /// Reserved, as in [`Verify`].
    #[serde(default)]
    pub required_scope: Option<String>,
    /// How recent every answer has to be.
    #[serde(default)]
    pub min_revision: Option<MinRevision>,
}

/// What was found of one credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Whether it is good, or why not.
    pub outcome: Outcome,
    /// Whom it stands for: there exactly where the outcome is [`Outcome::Valid`].
    pub principal: Option<Principal>,
}

/// What was found of each credential of a batch, in the order of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedBatch {
    /// As many as there were credentials.
    pub results: Vec<Verified>,
}

/// What is known of a credential. Of one that is not valid nothing more is told (RFC 7662 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is good.
    Valid,
    /// Its time is over.
    Expired,
    /// Its owner or an operator ended it.
    Revoked,
    /// Well formed, but nothing is stored of it.
    Unknown,
    /// It has not the form of a credential that this system makes, or its signature is wrong.
    Malformed,
    /// Its owner's account is deactivated.
    Inactive,
}

/// Whom a credential stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
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
}

/// The kinds of principals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    /// A person, by access token.
    User,
    /// A program, by API key.
    Service,
}

impl Rpc for Verify {
    const SUBJECT: &'static str = "v1.verify";
    /// Longer than the authorities are given, so that their absence is answered and not waited out.
    const TIMEOUT: Duration = Duration::from_secs(3);
    const RETRY: Retry = Retry::Idempotent(ATTEMPT);
    type Reply = Verified;
}

impl Rpc for VerifyBatch {
    const SUBJECT: &'static str = "v1.verify.batch";
    /// As for [`Verify`].
    const TIMEOUT: Duration = Duration::from_secs(3);
    const RETRY: Retry = Retry::Idempotent(ATTEMPT);
    type Reply = VerifiedBatch;
}

impl Verify {
    /// Asks for `credential`.
    #[must_use]
    pub fn of(credential: Secret) -> Self {
        Self { credential: Some(credential), required_scope: None, min_revision: None }
    }
}

impl VerifyBatch {
    /// Asks for each of `credentials`.
    #[must_use]
    pub fn of(credentials: Vec<Secret>) -> Self {
        Self { credentials, required_scope: None, min_revision: None }
    }
}

impl MinRevision {
    /// What is wrong with it, field by field: revisions are counted from 1, and 0 asks for none.
    #[must_use]
    pub fn faults(self) -> Vec<FieldError> {
        let fields = [("min_revision.keys", self.keys), ("min_revision.identity", self.identity)];
        let negative = fields.into_iter().filter(|(_, least)| least.is_some_and(|it| it.0 < 0));
        let fault = |(field, _)| FieldError::new(field, "must not be negative");
        negative.map(fault).collect()
    }
}

impl Verified {
    /// Whom the credential stands for, where it is good; `None` for everything else, also for an answer
    /// that contradicts itself.
    #[must_use]
    pub fn accepted(self) -> Option<Principal> {
        self.principal.filter(|_| self.outcome == Outcome::Valid)
    }
}

impl Outcome {
    /// The stable code of this outcome, as in JSON, for logs and metrics.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Unknown => "unknown",
            Self::Malformed => "malformed",
            Self::Inactive => "inactive",
        }
    }
}

impl<P: Into<Principal>> From<Verdict<P>> for Verified {
    fn from(verdict: Verdict<P>) -> Self {
        let (outcome, principal) = match verdict {
            Verdict::Valid(principal) => (Outcome::Valid, Some(principal.into())),
            Verdict::Expired => (Outcome::Expired, None),
            Verdict::Revoked => (Outcome::Revoked, None),
            Verdict::Unknown => (Outcome::Unknown, None),
            Verdict::Malformed => (Outcome::Malformed, None),
            Verdict::Inactive => (Outcome::Inactive, None),
        };
        Self { outcome, principal }
    }
}

impl From<UserPrincipal> for Principal {
    fn from(user: UserPrincipal) -> Self {
        Self {
            kind: PrincipalKind::User,
            user_id: user.user,
            username: Some(user.username.into()),
            email: Some(user.email.into()),
            key_id: None,
            name: None,
            expires_at: user.expires_at,
        }
    }
}

impl From<KeyPrincipal> for Principal {
    fn from(key: KeyPrincipal) -> Self {
        Self {
            kind: PrincipalKind::Service,
            user_id: key.owner,
            username: None,
            email: None,
            key_id: Some(key.key),
            name: Some(key.name.into()),
            expires_at: key.expires_at,
        }
    }
}

#[cfg(test)]
mod tests;
