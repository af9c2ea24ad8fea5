//! The service's own variables.

use latchkey_contract::Secret;
use latchkey_revocation::config::{self as revocation, Settings};
use latchkey_runtime::{ConfigError, Environment, Variable};

use crate::password;
use crate::token;

/// Signs and verifies access tokens (HS256).
pub const SECRET_KEY: Variable = Variable {
    name: "SECRET_KEY",
    default: "standalone: made at the first start and kept beside the database; cluster: required",
    help: "signs access tokens",
    accepted: "at least 32 characters, the same for every replica",
};
/// Accepted besides, for a change of the secret.
pub const SECRET_KEY_PREVIOUS: Variable = Variable {
    name: "SECRET_KEY_PREVIOUS",
    default: "none",
    help: "a second secret, while SECRET_KEY is changed: tokens signed with it are accepted, and it signs none",
    accepted: "at least 32 characters, other ones than SECRET_KEY",
};
/// How long a login lasts.
pub const ACCESS_TOKEN_EXPIRE_MINUTES: Variable = Variable {
    name: "ACCESS_TOKEN_EXPIRE_MINUTES",
    default: "30",
    help: "how long a login lasts, in minutes",
    accepted: "a whole number from 1 to 525600",
};
/// The `iss` claim.
pub const JWT_ISSUER: Variable = Variable {
    name: "JWT_ISSUER",
    default: "latchkey",
    help: "the `iss` claim of access tokens, written and required",
    accepted: "a text",
};
/// The `aud` claim.
pub const JWT_AUDIENCE: Variable = Variable {
    name: "JWT_AUDIENCE",
    default: "latchkey",
    help: "the `aud` claim of access tokens, written and required",
    accepted: "a text",
};
/// Characters of the shortest password.
pub const PASSWORD_MIN_LENGTH: Variable = Variable {
    name: "PASSWORD_MIN_LENGTH",
    default: "8",
    help: "characters of the shortest password (NIST SP 800-63B-4 asks for 15 where it is the only factor)",
    accepted: "a whole number from 8 to 64",
};
/// Memory of one password hash.
pub const ARGON2_MEMORY_KIB: Variable = Variable {
    name: "ARGON2_MEMORY_KIB",
    default: "19456",
    help: "memory of one password hash, in KiB",
    accepted: "a whole number from 1024 to 1048576",
};
/// Passes of one password hash.
pub const ARGON2_ITERATIONS: Variable = Variable {
    name: "ARGON2_ITERATIONS",
    default: "2",
    help: "passes over that memory",
    accepted: "a whole number from 1 to 100",
};
/// Lanes of one password hash.
pub const ARGON2_PARALLELISM: Variable = Variable {
    name: "ARGON2_PARALLELISM",
    default: "1",
    help: "lanes of one password hash",
    accepted: "a whole number from 1 to 16",
};
/// Lifts the limits.
pub const RATE_LIMIT: Variable = Variable {
    name: "RATE_LIMIT",
    default: "on",
    help: "limits on logins, signups and new keys; `off` is for tests and benchmarks",
    accepted: "on, off",
};

/// Every variable of this service.
pub const VARIABLES: &[&Variable] = &[
    &SECRET_KEY,
    &SECRET_KEY_PREVIOUS,
    &ACCESS_TOKEN_EXPIRE_MINUTES,
    &JWT_ISSUER,
    &JWT_AUDIENCE,
    &PASSWORD_MIN_LENGTH,
    &ARGON2_MEMORY_KIB,
    &ARGON2_ITERATIONS,
    &ARGON2_PARALLELISM,
    &RATE_LIMIT,
    &revocation::LEASE_MS,
    &revocation::RENEWAL_MS,
    &revocation::REVOKE_WAIT_MS,
    &revocation::CLOCK_DRIFT,
    &revocation::REVOKE_EARLY,
];

/// Characters of the shortest `SECRET_KEY`: 256 bits where each holds 8, as RFC 7518 §3.2 asks for HS256.
const SECRET_KEY_MIN: usize = 32;

/// How the service works.
#[derive(Clone, Debug)]
pub struct Config {
    /// How tokens are made.
    pub token: token::Config,
    /// How passwords are hashed.
    pub password: password::Config,
    /// Characters of the shortest password.
    pub password_min_length: usize,
    /// Whether failed logins slow the next ones for the same name.
    pub rate_limit: bool,
    /// How a logout waits for the edges.
    pub revocation: Settings,
}

impl Config {
    /// Reads the service's variables; the secret comes from [`secret_key`] or was made.
    ///
    /// # Errors
    /// [`ConfigError`] names the first variable that cannot be used.
    pub fn read(environment: &Environment, secret: Secret) -> Result<Self, ConfigError> {
        let text = |variable| environment.text(variable).map(str::to_owned);
        let minutes: u32 = environment.number(&ACCESS_TOKEN_EXPIRE_MINUTES, 30, 1, 525_600)?;
        let memory =
            environment.number(&ARGON2_MEMORY_KIB, 19_456, 1_024, password::MAX_MEMORY_KIB)?;
        let previous = read_secret(environment, &SECRET_KEY_PREVIOUS)?;
        if previous.as_ref() == Some(&secret) {
            return Err(SECRET_KEY_PREVIOUS.wrong("the same as SECRET_KEY"));
        }
        let config = Self {
            token: token::Config {
                secret,
                previous,
                issuer: text(&JWT_ISSUER).unwrap_or_else(|| "latchkey".to_owned()),
                audience: text(&JWT_AUDIENCE).unwrap_or_else(|| "latchkey".to_owned()),
                lifetime_seconds: i64::from(minutes) * 60,
            },
            password: password::Config {
                memory_kib: memory,
                iterations: environment.number(&ARGON2_ITERATIONS, 2, 1, 100)?,
                parallelism: environment.number(&ARGON2_PARALLELISM, 1, 1, 16)?,
            },
            password_min_length: environment.number(&PASSWORD_MIN_LENGTH, 8, 8, 64)?,
            rate_limit: environment.switch(&RATE_LIMIT, true)?,
            revocation: Settings::read(environment)?,
        };
        config.check()?;
        Ok(config)
    }

    /// Makes what a start makes of the settings, which refuses what is good by itself and not together.
    fn check(&self) -> Result<(), ConfigError> {
        token::Tokens::new(&self.token).map_err(|error| SECRET_KEY.wrong(error.to_string()))?;
        password::check(&self.password).map_err(|error| ARGON2_MEMORY_KIB.wrong(error.to_string()))
    }
}

/// `SECRET_KEY`, or what the file in `SECRET_KEY_FILE` holds, if either is set.
///
/// # Errors
/// [`ConfigError`] where it is too short or cannot be read. Its value is never shown.
pub fn secret_key(environment: &Environment) -> Result<Option<Secret>, ConfigError> {
    read_secret(environment, &SECRET_KEY)
}

fn read_secret(
    environment: &Environment,
    variable: &Variable,
) -> Result<Option<Secret>, ConfigError> {
    let Some(text) = environment.secret(variable)? else { return Ok(None) };
    match text.chars().count() {
        length if length < SECRET_KEY_MIN => {
            Err(variable.wrong(format!("{length} characters are too few")))
        }
        _ => Ok(Some(Secret::new(text))),
    }
}
