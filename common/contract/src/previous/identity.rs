//! Requests of the identity service by the contract before.

use serde::{Deserialize, Serialize};

use crate::authority::Receipt;
use crate::identity::{ActiveSet, ChangePassword, LogIn, LogOutAll, SetActive};
use crate::ids::{SessionId, UserId};
use crate::message::{Message, Untranslatable};
use crate::secret::{Secret, exposed_option};

/// [`LogIn`] without a mark: a doubled message opens a second session, whose token nobody holds.
#[derive(Serialize, Deserialize)]
pub struct LogInBefore {
    username: Option<String>,
    #[serde(with = "exposed_option")]
    password: Option<Secret>,
}

/// [`LogOutAll`] of every session there is when it is carried out.
#[derive(Serialize, Deserialize)]
pub struct LogOutAllBefore {
    user: UserId,
}

/// [`ChangePassword`] that is carried out whatever came since it was asked for.
#[derive(Serialize, Deserialize)]
pub struct ChangePasswordBefore {
    user: UserId,
    session: SessionId,
    #[serde(with = "exposed_option")]
    current_password: Option<Secret>,
    #[serde(with = "exposed_option")]
    new_password: Option<Secret>,
}

/// [`SetActive`] by name, that is carried out whatever came since it was asked for.
#[derive(Serialize, Deserialize)]
pub struct SetActiveBefore {
    username: String,
    active: bool,
}

/// [`ActiveSet`] that says nothing before the key service has confirmed.
#[derive(Serialize, Deserialize)]
pub struct ActiveSetBefore {
    user: UserId,
    tokens: Receipt,
    keys: Receipt,
}

/// A command that would lose the condition it is given under, or has none.
const UNCONDITIONAL: Untranslatable = Untranslatable("a command without what it was decided on");

impl Message for LogIn {
    type Previous = LogInBefore;

    fn into_previous(self) -> Result<LogInBefore, Untranslatable> {
        let Self { username, password, mark: _ } = self;
        Ok(LogInBefore { username, password })
    }

    fn from_previous(previous: LogInBefore) -> Result<Self, Untranslatable> {
        let LogInBefore { username, password } = previous;
        Ok(Self { username, password, mark: None })
    }
}

/// Either way more sessions may end than were meant, never fewer.
impl Message for LogOutAll {
    type Previous = LogOutAllBefore;

    fn into_previous(self) -> Result<LogOutAllBefore, Untranslatable> {
        Ok(LogOutAllBefore { user: self.user })
    }

    fn from_previous(previous: LogOutAllBefore) -> Result<Self, Untranslatable> {
        Ok(Self { user: previous.user, through: i64::MAX })
    }
}

impl Message for ChangePassword {
    type Previous = ChangePasswordBefore;

    fn into_previous(self) -> Result<ChangePasswordBefore, Untranslatable> {
        Err(UNCONDITIONAL)
    }

    fn from_previous(_: ChangePasswordBefore) -> Result<Self, Untranslatable> {
        Err(UNCONDITIONAL)
    }
}

impl Message for SetActive {
    type Previous = SetActiveBefore;

    fn into_previous(self) -> Result<SetActiveBefore, Untranslatable> {
        Err(UNCONDITIONAL)
    }

    fn from_previous(_: SetActiveBefore) -> Result<Self, Untranslatable> {
        Err(UNCONDITIONAL)
    }
}

impl Message for ActiveSet {
    type Previous = ActiveSetBefore;

    fn into_previous(self) -> Result<ActiveSetBefore, Untranslatable> {
        let Self { user, tokens, keys } = self;
        let keys = keys.ok_or(Untranslatable("keys that are not confirmed yet"))?;
        Ok(ActiveSetBefore { user, tokens, keys })
    }

    fn from_previous(previous: ActiveSetBefore) -> Result<Self, Untranslatable> {
        let ActiveSetBefore { user, tokens, keys } = previous;
        Ok(Self { user, tokens, keys: Some(keys) })
    }
}
