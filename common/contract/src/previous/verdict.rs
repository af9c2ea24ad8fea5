//! Verdicts by the contract before.

use serde::{Deserialize, Serialize};

use crate::authority::Authority;
use crate::lease::ReadAt;
use crate::message::{Message, Untranslatable};
use crate::principal::Principal;
use crate::principal::before::PrincipalBefore;
use crate::verdict::{Verdict, Verdicts};

/// [`Verdicts`] on one kind of credential.
#[derive(Serialize, Deserialize)]
pub struct VerdictsBefore<P> {
    read_at: ReadAt,
    verdicts: Vec<VerdictBefore<P>>,
}

/// [`Verdict`] that does not say what a refusal depends on.
#[derive(Serialize, Deserialize)]
enum VerdictBefore<P> {
    Valid(P),
    Malformed,
    Unknown,
    Revoked,
    Expired,
    Inactive,
}

impl<P: PrincipalBefore> VerdictBefore<P> {
    fn of(verdict: Verdict<Principal>) -> Result<Self, Untranslatable> {
        Ok(match verdict {
            Verdict::Valid(principal) => Self::Valid(P::of(principal)?),
            Verdict::Malformed => Self::Malformed,
            Verdict::Unknown => Self::Unknown,
            Verdict::Revoked => Self::Revoked,
            Verdict::Expired(_) => Self::Expired,
            Verdict::Inactive(_) => Self::Inactive,
        })
    }
}

impl<P: PrincipalBefore> From<VerdictBefore<P>> for Verdict<Principal> {
    fn from(before: VerdictBefore<P>) -> Self {
        match before {
            VerdictBefore::Valid(principal) => Self::Valid(principal.into()),
            VerdictBefore::Malformed => Self::Malformed,
            VerdictBefore::Unknown => Self::Unknown,
            VerdictBefore::Revoked => Self::Revoked,
            VerdictBefore::Expired => Self::Expired(None),
            VerdictBefore::Inactive => Self::Inactive(None),
        }
    }
}

/// The release before answered the whole question or nothing.
const NOT_JUDGED: Untranslatable = Untranslatable("a credential that could not be judged");
impl<A: Authority> Message for Verdicts<A> {
    type Previous = VerdictsBefore<A::Before>;

    fn into_previous(self) -> Result<Self::Previous, Untranslatable> {
        let said = self.verdicts.into_iter();
        let said = said.map(|verdict| verdict.ok_or(NOT_JUDGED).and_then(VerdictBefore::of));
        Ok(VerdictsBefore { read_at: self.read_at, verdicts: said.collect::<Result<_, _>>()? })
    }

    fn from_previous(previous: Self::Previous) -> Result<Self, Untranslatable> {
        let meant = previous.verdicts.into_iter().map(Verdict::from);
        Ok(Self::new(previous.read_at, meant.collect()))
    }
}
