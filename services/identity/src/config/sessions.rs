//! How long sessions live that have refresh tokens.

use latchkey_contract::Timestamp;
use latchkey_runtime::config::{Number, Preset};
use latchkey_runtime::{ConfigError, Environment, Setting, Table, Variable};

/// How long a refresh token lives that is not used.
pub const REFRESH_TOKEN_DAYS: Variable<Number<i64>> = Variable {
    name: "REFRESH_TOKEN_DAYS",
    kind: Number { min: 1, max: 3_650, note: "" },
    default: Preset::Value("30"),
    help: "how long a session with a refresh token goes on that is not refreshed, in days",
};
/// How long a session lives, however often it is refreshed.
pub const SESSION_MAX_DAYS: Variable<Number<i64>> = Variable {
    name: "SESSION_MAX_DAYS",
    kind: Number { min: 1, max: 3_650, note: "" },
    default: Preset::Value("90"),
    help: "how long a session with refresh tokens lasts, however often it is refreshed, in days",
};
/// The window in which a token gives the same successor again.
pub const REFRESH_REUSE_SECONDS: Variable<Number<i64>> = Variable {
    name: "REFRESH_REUSE_SECONDS",
    kind: Number { min: 0, max: 300, note: "" },
    default: Preset::Value("10"),
    help: "how long after a refresh the same refresh token gives the same next one again, in seconds: an answer may have \
        been lost, or two tabs have asked; a token that is used later, or whose next one was used, ends the session",
};
/// Sessions of one user.
pub const SESSIONS_PER_USER: Variable<Number<i64>> = Variable {
    name: "SESSIONS_PER_USER",
    kind: Number { min: 1, max: 10_000, note: "" },
    default: Preset::Value("100"),
    help: "sessions with refresh tokens that one user has at most; a login beyond it ends the oldest",
};

/// The variables.
pub(super) fn table() -> Table {
    let all: [&dyn Setting; 4] =
        [&REFRESH_TOKEN_DAYS, &SESSION_MAX_DAYS, &REFRESH_REUSE_SECONDS, &SESSIONS_PER_USER];
    Table::new("Sessions", &all)
}

/// How sessions live that have refresh tokens; times in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Sessions {
    /// How long a refresh token lives that is not used.
    pub idle: i64,
    /// How long a session lives.
    pub longest: i64,
    /// How long after it was rotated a token gives the same successor again.
    pub reuse: i64,
    /// Sessions of one user at most.
    pub per_user: i64,
}

impl Sessions {
    pub(super) fn read(environment: &Environment) -> Result<Self, ConfigError> {
        Ok(Self {
            idle: environment.read(&REFRESH_TOKEN_DAYS)? * Timestamp::DAY,
            longest: environment.read(&SESSION_MAX_DAYS)? * Timestamp::DAY,
            reuse: environment.read(&REFRESH_REUSE_SECONDS)? * Timestamp::SECOND,
            per_user: environment.read(&SESSIONS_PER_USER)?,
        })
    }

    /// When a session that was opened or refreshed at `now` ends if nothing prolongs it, of one that nothing prolongs
    /// beyond `longest`.
    #[must_use]
    pub fn ends(&self, now: Timestamp, longest: Timestamp) -> Timestamp {
        now.plus(self.idle).min(longest)
    }
}
