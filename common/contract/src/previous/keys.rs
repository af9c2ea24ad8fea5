//! Requests of the key service by the contract before.

use serde::{Deserialize, Serialize};

use crate::ids::UserId;
use crate::keys::{ExpiresIn, IssueKey};
use crate::message::{Message, Untranslatable};

/// [`IssueKey`] without a seed: a doubled message makes a second key, whose text nobody is shown.
#[derive(Serialize, Deserialize)]
pub struct IssueKeyBefore {
    owner: UserId,
    name: Option<String>,
    expires_in: ExpiresIn,
}

impl Message for IssueKey {
    type Previous = IssueKeyBefore;

    fn into_previous(self) -> Result<IssueKeyBefore, Untranslatable> {
        let Self { owner, name, expires_in, seed: _ } = self;
        Ok(IssueKeyBefore { owner, name, expires_in })
    }

    fn from_previous(previous: IssueKeyBefore) -> Result<Self, Untranslatable> {
        let IssueKeyBefore { owner, name, expires_in } = previous;
        Ok(Self { owner, name, expires_in, seed: None })
    }
}
