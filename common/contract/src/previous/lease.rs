//! Changes by the contract before: of a credential or of an owner, and of nothing else.

use serde::{Deserialize, Serialize};

use crate::authority::{Invalidating, WaiterId};
use crate::credential::CredentialHash;
use crate::ids::UserId;
use crate::lease::{Epoch, Invalidate, Invalidation, Missed, Renewed, Revision, SharedTag, Tag};
use crate::message::{Message, Untranslatable};
use crate::principal::Owner;

/// [`Tag`] as it was.
#[derive(Serialize, Deserialize)]
enum TagBefore {
    Credential(CredentialHash),
    Owner(UserId),
}

/// [`Invalidation`] with that.
#[derive(Serialize, Deserialize)]
pub struct InvalidationBefore {
    revision: Revision,
    tag: TagBefore,
}

/// [`Invalidating`] with that.
#[derive(Serialize, Deserialize)]
pub struct InvalidatingBefore {
    epoch: Epoch,
    change: InvalidationBefore,
    waiter: WaiterId,
}

/// [`Renewed`] with that.
#[derive(Serialize, Deserialize)]
pub struct RenewedBefore {
    epoch: Epoch,
    revision: Revision,
    missed: MissedBefore,
}

/// [`Missed`] with that.
#[derive(Serialize, Deserialize)]
enum MissedBefore {
    These(Vec<InvalidationBefore>),
    TooMany,
}

impl InvalidationBefore {
    /// `None` of what the release before has no word for.
    fn of(change: &Invalidation<CredentialHash>) -> Option<Self> {
        let tag = match change.tag {
            Tag::Credential(hash) => TagBefore::Credential(hash),
            Tag::Shared(SharedTag::Owner(Owner::User(user))) => TagBefore::Owner(user),
            Tag::All | Tag::Unknown(_) => return None,
        };
        Some(Self { revision: change.revision, tag })
    }
}

impl From<InvalidationBefore> for Invalidation<CredentialHash> {
    fn from(before: InvalidationBefore) -> Self {
        let tag = match before.tag {
            TagBefore::Credential(hash) => Tag::Credential(hash),
            TagBefore::Owner(user) => Tag::Shared(SharedTag::Owner(Owner::User(user))),
        };
        Self { revision: before.revision, tag }
    }
}

/// What cannot be said is not published to the release before: its renewals tell it to drop everything, and a
/// revoke waits for that.
impl Message for Invalidating {
    type Previous = InvalidatingBefore;

    fn into_previous(self) -> Result<InvalidatingBefore, Untranslatable> {
        let Invalidate { epoch, change } = self.invalidate;
        let change = InvalidationBefore::of(&change);
        let change = change.ok_or(Untranslatable("a change of everything"))?;
        Ok(InvalidatingBefore { epoch, change, waiter: self.waiter })
    }

    fn from_previous(previous: InvalidatingBefore) -> Result<Self, Untranslatable> {
        let InvalidatingBefore { epoch, change, waiter } = previous;
        Ok(Self { invalidate: Invalidate { epoch, change: change.into() }, waiter })
    }
}

/// A change that cannot be said is everything.
impl Message for Renewed<CredentialHash> {
    type Previous = RenewedBefore;

    fn into_previous(self) -> Result<RenewedBefore, Untranslatable> {
        let Self { epoch, revision, missed } = self;
        let told: Option<Vec<_>> = match missed {
            Missed::These(changes) => changes.iter().map(InvalidationBefore::of).collect(),
            Missed::TooMany => None,
        };
        let missed = told.map_or(MissedBefore::TooMany, MissedBefore::These);
        Ok(RenewedBefore { epoch, revision, missed })
    }

    fn from_previous(previous: RenewedBefore) -> Result<Self, Untranslatable> {
        let RenewedBefore { epoch, revision, missed } = previous;
        let missed = match missed {
            MissedBefore::These(told) => {
                Missed::These(told.into_iter().map(Invalidation::from).collect())
            }
            MissedBefore::TooMany => Missed::TooMany,
        };
        Ok(Self { epoch, revision, missed })
    }
}
