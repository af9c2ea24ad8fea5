//! What other services ask and are told, by the contract before: without scopes.

use serde::{Deserialize, Serialize};

use crate::ids::{KeyId, Timestamp, UserId};
use crate::message::{Message, Untranslatable};
use crate::principal::{Owner, PrincipalKind};
use crate::scope::{RequiredScope, Scopes};
use crate::secret::{Secret, exposed_list, exposed_option};
use crate::verify::{
    MinRevision, Outcome, Verified, VerifiedBatch, VerifiedPrincipal, Verify, VerifyBatch,
};

/// [`Verify`] that requires nothing but a good credential: what it named as a scope was refused.
#[derive(Serialize, Deserialize)]
pub struct VerifyBefore {
    #[serde(with = "exposed_option")]
    credential: Option<Secret>,
    required_scope: Option<String>,
    min_revision: Option<MinRevision>,
}

/// [`VerifyBatch`] of the same.
#[derive(Serialize, Deserialize)]
pub struct VerifyBatchBefore {
    #[serde(with = "exposed_list")]
    credentials: Vec<Secret>,
    required_scope: Option<String>,
    min_revision: Option<MinRevision>,
}

/// [`Verified`] with fewer outcomes.
#[derive(Serialize, Deserialize)]
pub struct VerifiedBefore {
    outcome: OutcomeBefore,
    principal: Option<PrincipalBefore>,
}

/// [`VerifiedBatch`] of those.
#[derive(Serialize, Deserialize)]
pub struct VerifiedBatchBefore {
    results: Vec<VerifiedBefore>,
}

#[derive(Serialize, Deserialize)]
enum OutcomeBefore {
    Valid,
    Expired,
    Revoked,
    Unknown,
    Malformed,
    Inactive,
}

/// [`VerifiedPrincipal`] without what it may do.
#[derive(Serialize, Deserialize)]
struct PrincipalBefore {
    kind: PrincipalKind,
    user_id: UserId,
    username: Option<String>,
    email: Option<String>,
    key_id: Option<KeyId>,
    name: Option<String>,
    expires_at: Timestamp,
}

/// Whoever does not judge it would let everybody through.
const REQUIREMENT: Untranslatable = Untranslatable("a requirement");

/// Whether a request requires nothing of what the contract before cannot say. An address requires nothing: where it is
/// left out, keys that may be used from some addresses alone are refused.
fn is_plain(
    scope: Option<&RequiredScope>,
    kind: Option<PrincipalKind>,
    environment: Option<&String>,
) -> Result<(), Untranslatable> {
    let is_plain = scope.is_none() && kind.is_none() && environment.is_none();
    if is_plain { Ok(()) } else { Err(REQUIREMENT) }
}

fn one_of(scope: Option<String>) -> Option<RequiredScope> {
    scope.map(|text| RequiredScope(vec![text]))
}

impl Message for Verify {
    type Previous = VerifyBefore;

    fn into_previous(self) -> Result<VerifyBefore, Untranslatable> {
        is_plain(self.required_scope.as_ref(), self.kind, self.environment.as_ref())?;
        let Self { credential, min_revision, .. } = self;
        Ok(VerifyBefore { credential, required_scope: None, min_revision })
    }

    fn from_previous(previous: VerifyBefore) -> Result<Self, Untranslatable> {
        let VerifyBefore { credential, required_scope, min_revision } = previous;
        let required_scope = one_of(required_scope);
        Ok(Self { credential, required_scope, min_revision, ..Self::default() })
    }
}

impl Message for VerifyBatch {
    type Previous = VerifyBatchBefore;

    fn into_previous(self) -> Result<VerifyBatchBefore, Untranslatable> {
        is_plain(self.required_scope.as_ref(), self.kind, self.environment.as_ref())?;
        let Self { credentials, min_revision, .. } = self;
        Ok(VerifyBatchBefore { credentials, required_scope: None, min_revision })
    }

    fn from_previous(previous: VerifyBatchBefore) -> Result<Self, Untranslatable> {
        let VerifyBatchBefore { credentials, required_scope, min_revision } = previous;
        let required_scope = one_of(required_scope);
        Ok(Self { credentials, required_scope, min_revision, ..Self::default() })
    }
}

impl From<VerifiedPrincipal> for PrincipalBefore {
    /// Whoever asks by the contract before requires no scopes, so that what the credential may do changes nothing.
    fn from(principal: VerifiedPrincipal) -> Self {
        let VerifiedPrincipal { kind, user_id, username, email, key_id, name, expires_at, .. } =
            principal;
        Self { kind, user_id, username, email, key_id, name, expires_at }
    }
}

impl From<PrincipalBefore> for VerifiedPrincipal {
    /// Of an edge that knows no scopes, and accepts nothing that is restricted.
    fn from(before: PrincipalBefore) -> Self {
        let PrincipalBefore { kind, user_id, username, email, key_id, name, expires_at } = before;
        Self {
            kind,
            user_id,
            username,
            email,
            key_id,
            name,
            expires_at,
            scopes: Scopes::everything(),
            environment: None,
            owner: Owner::User(user_id).into(),
            external_id: None,
            metadata: None,
            lineage_id: key_id,
            session_id: None,
        }
    }
}

impl Message for Verified {
    type Previous = VerifiedBefore;

    fn into_previous(self) -> Result<VerifiedBefore, Untranslatable> {
        let outcome = match self.outcome {
            Outcome::Valid => OutcomeBefore::Valid,
            Outcome::Expired => OutcomeBefore::Expired,
            Outcome::Revoked => OutcomeBefore::Revoked,
            Outcome::Unknown => OutcomeBefore::Unknown,
            Outcome::Malformed => OutcomeBefore::Malformed,
            // Known, and not accepted as it is.
            Outcome::Inactive
            | Outcome::Disabled
            | Outcome::WrongKind
            | Outcome::WrongEnvironment
            | Outcome::IpDenied
            | Outcome::InsufficientScope => OutcomeBefore::Inactive,
        };
        Ok(VerifiedBefore { outcome, principal: self.principal.map(Into::into) })
    }

    fn from_previous(previous: VerifiedBefore) -> Result<Self, Untranslatable> {
        let outcome = match previous.outcome {
            OutcomeBefore::Valid => Outcome::Valid,
            OutcomeBefore::Expired => Outcome::Expired,
            OutcomeBefore::Revoked => Outcome::Revoked,
            OutcomeBefore::Unknown => Outcome::Unknown,
            OutcomeBefore::Malformed => Outcome::Malformed,
            OutcomeBefore::Inactive => Outcome::Inactive,
        };
        Ok(Self { outcome, principal: previous.principal.map(Into::into), denied: None })
    }
}

impl Message for VerifiedBatch {
    type Previous = VerifiedBatchBefore;

    fn into_previous(self) -> Result<VerifiedBatchBefore, Untranslatable> {
        Ok(VerifiedBatchBefore { results: self.results.into_previous()? })
    }

    fn from_previous(previous: VerifiedBatchBefore) -> Result<Self, Untranslatable> {
        Ok(Self { results: Vec::from_previous(previous.results)? })
    }
}
