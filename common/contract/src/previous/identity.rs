//! Messages of the identity service by the contract before, which knows neither scopes of logins, refresh tokens
//! nor ceilings.

use serde::{Deserialize, Serialize};

use crate::identity::{LogIn, LogOutAll, LoggedIn, UserState};
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

/// [`LogOutAll`] that ends the session that acts, too.
#[derive(Serialize, Deserialize)]
pub struct LogOutAllBefore {
    user: UserId,
    through: i64,
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
        // What the session is called, its user would only see.
        let Self { username, password, mark, scope, refresh, device: _ } = self;
        match (scope, refresh) {
            (None, Some(false)) => Ok(LogInBefore { username, password, mark }),
            (Some(_), _) => Err(Untranslatable("a login for less than everything")),
            (None, _) => Err(Untranslatable("a login that gives a refresh token")),
        }
    }

    fn from_previous(previous: LogInBefore) -> Result<Self, Untranslatable> {
        let LogInBefore { username, password, mark } = previous;
        Ok(Self { username, password, mark, scope: None, refresh: Some(false), device: None })
    }
}

impl Message for LoggedIn {
    type Previous = LoggedInBefore;

    fn into_previous(self) -> Result<LoggedInBefore, Untranslatable> {
        let Self { access_token, expires_in, scope, refresh } = self;
        match (scope, refresh) {
            (None, None) => Ok(LoggedInBefore { access_token, expires_in }),
            (Some(_), _) => Err(Untranslatable("a token for less than everything")),
            (None, Some(_)) => Err(Untranslatable("a refresh token")),
        }
    }

    fn from_previous(previous: LoggedInBefore) -> Result<Self, Untranslatable> {
        let LoggedInBefore { access_token, expires_in } = previous;
        Ok(Self { access_token, expires_in, scope: None, refresh: None })
    }
}

impl Message for LogOutAll {
    type Previous = LogOutAllBefore;

    fn into_previous(self) -> Result<LogOutAllBefore, Untranslatable> {
        let Self { user, through, keep_current } = self;
        if keep_current {
            return Err(Untranslatable("that the session that acts goes on"));
        }
        Ok(LogOutAllBefore { user, through })
    }

    fn from_previous(previous: LogOutAllBefore) -> Result<Self, Untranslatable> {
        let LogOutAllBefore { user, through } = previous;
        Ok(Self { user, through, keep_current: false })
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
