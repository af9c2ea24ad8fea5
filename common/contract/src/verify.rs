//! What every other service may ask: who does this credential stand for? `docs/bus.md` has it in words.
//!
//! These messages are for other languages too. Their JSON is pinned by tests, as are their bytes.

use std::borrow::Borrow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{KeyId, UserId};
use crate::lease::Revision;
use crate::principal::Principal;
pub use crate::principal::PrincipalKind;
use crate::refusal::FieldError;
use crate::rpc::{ATTEMPT, Retry, Rpc};
use crate::scope::RequiredScope;
use crate::secret::{Secret, exposed_list, exposed_option};
use crate::verdict::Verdict;
pub use principal::{OwnerKind, VerifiedOwner, VerifiedPrincipal};

mod principal;

/// Asks who one credential stands for, and whether that is enough for what is asked for.
///
/// A field that is not known is refused, so that a misspelt `required_scope` is not taken for none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    /// An access token or an API key; its form says which. `None` where it is missing.
    #[serde(default, with = "exposed_option")]
    pub credential: Option<Secret>,
    /// What scopes are needed: one of these texts, all of its scopes.
    #[serde(default)]
    pub required_scope: Option<RequiredScope>,
    /// What it has to stand for.
    #[serde(default)]
    pub kind: Option<PrincipalKind>,
    /// What environment a key has to be made for.
    #[serde(default)]
    pub environment: Option<String>,
    /// The address of the client that showed it, as a text. A key that may be used from some addresses alone is
    /// refused where it is not known.
    #[serde(default)]
    pub ip: Option<String>,
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifyBatch {
    /// 1 to [`MAX_BATCH`](crate::wire::MAX_BATCH) credentials, of both kinds.
    #[serde(default, with = "exposed_list")]
    pub credentials: Vec<Secret>,
    /// As in [`Verify`], of every credential.
    #[serde(default)]
    pub required_scope: Option<RequiredScope>,
    /// As in [`Verify`].
    #[serde(default)]
    pub kind: Option<PrincipalKind>,
    /// As in [`Verify`].
    #[serde(default)]
    pub environment: Option<String>,
    /// As in [`Verify`]: one client's.
    #[serde(default)]
    pub ip: Option<String>,
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
    /// Whose it is, for logs alone, where it is good and not enough: there where the outcome is one of the last four.
    pub denied: Option<Denied>,
}

/// Whose a good credential is that is not enough for what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denied {
    /// A service's key.
    pub key_id: Option<KeyId>,
    /// The user, or the user whose key it is.
    pub user_id: UserId,
}

/// What was found of each credential of a batch, in the order of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedBatch {
    /// As many as there were credentials.
    pub results: Vec<Verified>,
}

/// What is known of a credential. Of one that is not good nothing more is told (RFC 7662 §2.2). A good one may still not
/// be enough for what was asked for: then the outcome is one of the last four, in the order in which they are judged.
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
    /// It is good, and stands for another kind.
    WrongKind,
    /// It is good, and a user's or made for another environment.
    WrongEnvironment,
    /// It is good, and not from where it is used, as far as that is known.
    IpDenied,
    /// It is good, and its scopes are not enough.
    InsufficientScope,
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
        Self { credential: Some(credential), ..Self::default() }
    }
}

impl VerifyBatch {
    /// Asks for each of `credentials`.
    #[must_use]
    pub fn of(credentials: Vec<Secret>) -> Self {
        Self { credentials, ..Self::default() }
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

    /// What is told of a good credential of `principal` that is not enough for what was asked for.
    #[must_use]
    pub fn denied(outcome: Outcome, principal: &Principal) -> Self {
        let (key_id, user_id) = (principal.key().map(|key| key.id), principal.owner().user());
        Self { outcome, principal: None, denied: Some(Denied { key_id, user_id }) }
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
            Self::WrongKind => "wrong_kind",
            Self::WrongEnvironment => "wrong_environment",
            Self::IpDenied => "ip_denied",
            Self::InsufficientScope => "insufficient_scope",
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
        Self { outcome, principal, denied: None }
    }
}

#[cfg(test)]
mod tests;
