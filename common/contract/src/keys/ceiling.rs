//! What the identity service tells the key service of ceilings: what keys of a user may do at most.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::authority::{CHANGE_ATTEMPT, CHANGE_TIMEOUT, Receipt};
use crate::ids::UserId;
use crate::lease::{Epoch, Revision};
use crate::rpc::{Retry, Rpc};
use crate::scope::Scopes;

/// Tells what keys may do at most whose owners have no ceiling of their own. What is older than what was told before is
/// refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SetDefaultCeiling {
    /// The ceiling; it may be nothing at all.
    pub ceiling: Scopes,
    /// The identity service's history that the revision counts.
    pub epoch: Epoch,
    /// The revision of the decision.
    pub revision: Revision,
}

/// One owner on a page of [`TellOwners`](super::TellOwners).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldOwner {
    /// The user.
    pub owner: UserId,
    /// Whether the account is deactivated.
    pub disabled: bool,
    /// What their keys may do at most; `None`: what those of all users may.
    pub ceiling: Option<Scopes>,
}

/// Whether the key service was told of ceilings, when it was told of all owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CeilingsTold {
    /// It does not know them: it is of the release before.
    Unknown,
    /// It was not told of all of them.
    Untold,
    /// It was told of those of identity's history with this random number.
    Of(i64),
}

impl Rpc for SetDefaultCeiling {
    const SUBJECT: &'static str = "v1.keys.operator.set-default-ceiling";
    const TIMEOUT: Duration = CHANGE_TIMEOUT;
    const RETRY: Retry = Retry::Idempotent(CHANGE_ATTEMPT);
    type Reply = Receipt;
}
