//! What other services are told, by the contract before.

use serde::{Deserialize, Serialize};

use crate::message::{Message, Untranslatable};
use crate::verify::{Outcome, Verified, VerifiedBatch, VerifiedPrincipal};

/// [`Verified`] with fewer outcomes.
#[derive(Serialize, Deserialize)]
pub struct VerifiedBefore {
    outcome: OutcomeBefore,
    principal: Option<VerifiedPrincipal>,
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

impl Message for Verified {
    type Previous = VerifiedBefore;

    fn into_previous(self) -> Result<VerifiedBefore, Untranslatable> {
        let outcome = match self.outcome {
            Outcome::Valid => OutcomeBefore::Valid,
            Outcome::Expired => OutcomeBefore::Expired,
            Outcome::Revoked => OutcomeBefore::Revoked,
            Outcome::Unknown => OutcomeBefore::Unknown,
            Outcome::Malformed => OutcomeBefore::Malformed,
            Outcome::Inactive | Outcome::Disabled => OutcomeBefore::Inactive,
        };
        Ok(VerifiedBefore { outcome, principal: self.principal })
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
        Ok(Self { outcome, principal: previous.principal })
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
