//! Messages of the identity service by the contract before, which knows neither scopes of logins nor ceilings.

use serde::{Deserialize, Serialize};

use crate::identity::{LogIn, LoggedIn, UserState};
use crate::ids::{Mark, UserId};
use crate::message::{Message, Untranslatable};
use crate::secret::{Secret, exposed, exposed_option};

/// [`LogIn`] for everything that the user may do.
#[derive(Serialize, Deserialize)]
pub struct LogInBefore {
    username: Option<String>,
    #[serde(with = "exposed_option")]
    password: Option<Secret>,
    mark: Option<Mark>,
}

/// [`LoggedIn`] with everything that the user may do.
#[derive(Serialize, Deserialize)]
pub struct LoggedInBefore {
    #[serde(with = "exposed")]
    access_token: Secret,
    expires_in: u64,
}

/// [`UserState`] without the version of the ceiling.
#[derive(Serialize, Deserialize)]
pub struct UserStateBefore {
    user: UserId,
    version: i64,
    active_version: i64,
    last_session: i64,
}

/// No ceiling has this version: a command that rests on it is refused, and decided anew.
const NO_VERSION: i64 = -1;

impl Message for LogIn {
    type Previous = LogInBefore;

    fn into_previous(self) -> Result<LogInBefore, Untranslatable> {
        let Self { username, password, mark, scope } = self;
        match scope {
            None => Ok(LogInBefore { username, password, mark }),
            Some(_) => Err(Untranslatable("a login for less than everything")),
        }
    }

    fn from_previous(previous: LogInBefore) -> Result<Self, Untranslatable> {
        let LogInBefore { username, password, mark } = previous;
        Ok(Self { username, password, mark, scope: None })
    }
}

impl Message for LoggedIn {
    type Previous = LoggedInBefore;

    fn into_previous(self) -> Result<LoggedInBefore, Untranslatable> {
        let Self { access_token, expires_in, scope } = self;
        match scope {
            None => Ok(LoggedInBefore { access_token, expires_in }),
            Some(_) => Err(Untranslatable("a token for less than everything")),
        }
    }

    fn from_previous(previous: LoggedInBefore) -> Result<Self, Untranslatable> {
        let LoggedInBefore { access_token, expires_in } = previous;
        Ok(Self { access_token, expires_in, scope: None })
    }
}

impl Message for UserState {
    type Previous = UserStateBefore;

    fn into_previous(self) -> Result<UserStateBefore, Untranslatable> {
        let Self { user, version, active_version, last_session, ceiling_version: _ } = self;
        Ok(UserStateBefore { user, version, active_version, last_session })
    }

    fn from_previous(previous: UserStateBefore) -> Result<Self, Untranslatable> {
        let UserStateBefore { user, version, active_version, last_session } = previous;
        Ok(Self { user, version, active_version, last_session, ceiling_version: NO_VERSION })
    }
}
