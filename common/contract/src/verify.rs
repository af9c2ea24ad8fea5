//! What every other service may ask: who does this credential stand for? `docs/bus.md` has it in words.
//!
//! These messages are for other languages too. Their JSON is pinned by tests, as are their bytes.

use std::borrow::Borrow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{KeyId, Timestamp, UserId};
use crate::lease::Revision;
pub use crate::principal::PrincipalKind;
use crate::principal::{Detail, Principal};
use crate::refusal::FieldError;
use crate::rpc::{ATTEMPT, Retry, Rpc};
use crate::secret::{Secret, exposed_list, exposed_option};
use crate::verdict::Verdict;

/// Asks who one credential stands for.
///
/// A field that is not known is refused, so that a misspelt `required_scope` is not taken for none.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
    pub keys: Option<Revision>,
    /// Access tokens are judged as of this revision of the identity service, or a later one.
    #[serde(default)]
    pub identity: Option<Revision>,
}

/// Asks the same of many credentials; the answers come in the same order.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
    pub principal: Option<VerifiedPrincipal>,
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
    /// It is refused until its owner enables it again.
    Disabled,
}

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
    pub fn accepted(self) -> Option<VerifiedPrincipal> {
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
            Self::Disabled => "disabled",
        }
    }
}

impl<P: Borrow<Principal>> From<Verdict<P>> for Verified {
    fn from(verdict: Verdict<P>) -> Self {
        let (outcome, principal) = match verdict {
            Verdict::Valid(principal) => (Outcome::Valid, Some(principal.borrow().into())),
            Verdict::Expired(_) => (Outcome::Expired, None),
            Verdict::Revoked => (Outcome::Revoked, None),
            Verdict::Unknown => (Outcome::Unknown, None),
            Verdict::Malformed => (Outcome::Malformed, None),
            Verdict::Inactive(_) => (Outcome::Inactive, None),
            Verdict::Disabled(_) => (Outcome::Disabled, None),
        };
        Self { outcome, principal }
    }
}

impl From<&Principal> for VerifiedPrincipal {
    fn from(principal: &Principal) -> Self {
        let nobody = Self {
            kind: principal.kind(),
            user_id: principal.owner().user(),
            username: None,
            email: None,
            key_id: None,
            name: None,
            expires_at: principal.expires_at,
        };
        match &principal.detail {
            Detail::User(user) => Self {
                username: Some(user.username.to_string()),
                email: Some(user.email.to_string()),
                ..nobody
            },
            Detail::Key(key) => {
                Self { key_id: Some(key.id), name: Some(key.name.to_string()), ..nobody }
            }
        }
    }
}

#[cfg(test)]
mod tests;
