//! What the identity service tells the key service of owners, by the contract before, which knows no ceilings.

use serde::{Deserialize, Serialize};

use crate::ids::UserId;
use crate::keys::{CeilingsTold, SetOwner, TellOwners, Telling, ToldOwner};
use crate::lease::{Epoch, Revision};
use crate::message::{Message, Untranslatable};
use crate::scope::Scopes;

/// [`SetOwner`] of one without a ceiling.
#[derive(Serialize, Deserialize)]
pub struct SetOwnerBefore {
    owner: UserId,
    disabled: bool,
    epoch: Epoch,
    revision: Revision,
}

/// [`Telling`] that says nothing of ceilings.
#[derive(Serialize, Deserialize)]
pub struct TellingBefore {
    version: i64,
    epoch: Epoch,
    is_current: bool,
    of: Option<Epoch>,
    revision: Revision,
    through: Option<UserId>,
}

/// [`TellOwners`] of those who are deactivated.
#[derive(Serialize, Deserialize)]
pub struct TellOwnersBefore {
    version: i64,
    keys: Epoch,
    of: Epoch,
    revision: Revision,
    after: Option<UserId>,
    deactivated: Vec<UserId>,
    more: bool,
}

/// What the release before would not do.
const CEILING: Untranslatable = Untranslatable("a ceiling");

impl Message for SetOwner {
    type Previous = SetOwnerBefore;

    fn into_previous(self) -> Result<SetOwnerBefore, Untranslatable> {
        let Self { owner, disabled, ceiling, epoch, revision } = self;
        match ceiling {
            None => Ok(SetOwnerBefore { owner, disabled, epoch, revision }),
            Some(_) => Err(CEILING),
        }
    }

    /// There are no ceilings while the release before is there.
    fn from_previous(previous: SetOwnerBefore) -> Result<Self, Untranslatable> {
        let SetOwnerBefore { owner, disabled, epoch, revision } = previous;
        Ok(Self { owner, disabled, ceiling: None, epoch, revision })
    }
}

impl Message for Telling {
    type Previous = TellingBefore;

    fn into_previous(self) -> Result<TellingBefore, Untranslatable> {
        let Self { version, epoch, is_current, of, revision, through, ceilings: _ } = self;
        Ok(TellingBefore { version, epoch, is_current, of, revision, through })
    }

    fn from_previous(previous: TellingBefore) -> Result<Self, Untranslatable> {
        let TellingBefore { version, epoch, is_current, of, revision, through } = previous;
        let ceilings = CeilingsTold::Unknown;
        Ok(Self { version, epoch, is_current, of, revision, through, ceilings })
    }
}

impl Message for TellOwners {
    type Previous = TellOwnersBefore;

    fn into_previous(self) -> Result<TellOwnersBefore, Untranslatable> {
        let Self { version, keys, of, revision, after, owners, more, default_ceiling } = self;
        let everything = Scopes::everything();
        if default_ceiling.is_some_and(|ceiling| !everything.is_within(&ceiling)) {
            return Err(CEILING);
        }
        let deactivated = |told: ToldOwner| match told {
            ToldOwner { owner, disabled: true, ceiling: None } => Ok(owner),
            _ => Err(CEILING),
        };
        let deactivated = owners.into_iter().map(deactivated).collect::<Result<_, _>>()?;
        Ok(TellOwnersBefore { version, keys, of, revision, after, deactivated, more })
    }

    fn from_previous(previous: TellOwnersBefore) -> Result<Self, Untranslatable> {
        let TellOwnersBefore { version, keys, of, revision, after, deactivated, more } = previous;
        let told = |owner| ToldOwner { owner, disabled: true, ceiling: None };
        let owners = deactivated.into_iter().map(told).collect();
        Ok(Self { version, keys, of, revision, after, owners, more, default_ceiling: None })
    }
}
