//! The service's own variables.

use latchkey_contract::{Scopes, Secret, Timestamp};
use latchkey_revocation::config as revocation;
use latchkey_runtime::config::{
    Confidential, Fault, LongText, Number, OneOf, OrNothing, Parsed, Preset, Text,
};
use latchkey_runtime::{ConfigError, Environment, Setting, Table, Variable};
use latchkey_service::limits::{self, RATE_LIMIT};

use crate::signing::algorithm::KeyAlgorithm;
use crate::signing::keeper::Settings;
use crate::{password, role_scopes, token};

pub mod sessions;

/// Characters of the shortest `SECRET_KEY`: 256 bits where each holds 8, as RFC 7518 §3.2 asks for HS256.
const SECRET_KEY_MIN: usize = 32;

/// Signs and verifies access tokens (HS256).
pub const SECRET_KEY: Variable<Confidential<LongText<Secret>>> = Variable {
    name: "SECRET_KEY",
    kind: Confidential(LongText {
        min: SECRET_KEY_MIN,
        note: "the same for every replica",
        make: Secret::new,
    }),
    default: Preset::Described(
        "standalone: made at the first start and kept beside the database; cluster: required",
    ),
    help: "signs access tokens",
};
/// Accepted besides, for a change of the secret.
pub const SECRET_KEY_PREVIOUS: Variable<Confidential<LongText<Secret>>> = Variable {
    name: "SECRET_KEY_PREVIOUS",
    kind: Confidential(LongText {
        min: SECRET_KEY_MIN,
        note: "other ones than SECRET_KEY",
        make: Secret::new,
    }),
    default: Preset::Described("none"),
    help: "a second secret, while SECRET_KEY is changed: tokens signed with it are accepted, and it signs none",
};
/// How long a login lasts.
pub const ACCESS_TOKEN_EXPIRE_MINUTES: Variable<Number<u32>> = Variable {
    name: "ACCESS_TOKEN_EXPIRE_MINUTES",
    kind: Number { min: 1, max: 525_600, note: "" },
    default: Preset::Value("30"),
    help: "how long a login lasts, in minutes",
};
/// The `iss` claim.
pub const JWT_ISSUER: Variable<Text> = Variable {
    name: "JWT_ISSUER",
    kind: Text { accepted: "a text" },
    default: Preset::Value("latchkey"),
    help: "the `iss` claim of access tokens, written and required",
};
/// The `aud` claim.
pub const JWT_AUDIENCE: Variable<Text> = Variable {
    name: "JWT_AUDIENCE",
    kind: Text { accepted: "a text" },
    default: Preset::Value("latchkey"),
    help: "the `aud` claim of access tokens, written and required",
};
/// How access tokens are signed.
pub const JWT_ALGORITHM: Variable<OneOf> = Variable {
    name: "JWT_ALGORITHM",
    kind: OneOf(&["HS256", "ES256", "EdDSA", "RS256"]),
    default: Preset::Value("HS256"),
    help: "how access tokens are signed: HS256 with SECRET_KEY; the others with keys that the service makes, keeps and replaces \
        by itself, and that anybody can check tokens by (/.well-known/jwks.json); the last start decides for all replicas",
};
/// How long a signing key signs.
pub const SIGNING_KEY_DAYS: Variable<Number<i64>> = Variable {
    name: "SIGNING_KEY_DAYS",
    kind: Number { min: 2, max: 3_650, note: "" },
    default: Preset::Value("90"),
    help: "how long a signing key signs before the next one does, which is published a day before",
};
/// Characters of the shortest password.
pub const PASSWORD_MIN_LENGTH: Variable<Number<usize>> = Variable {
    name: "PASSWORD_MIN_LENGTH",
    kind: Number { min: 8, max: 64, note: "" },
    default: Preset::Value("8"),
    help: "characters of the shortest password (NIST SP 800-63B-4 asks for 15 where it is the only factor)",
};
/// The ceiling of users.
pub const USER_SCOPES: Variable<OrNothing<Parsed<Scopes>>> = Variable {
    name: "USER_SCOPES",
    kind: OrNothing(Parsed {
        read: user_scopes,
        accepted: "at most 64 scopes separated by spaces, without latchkey:admin:…, latchkey:audit:read and \
            latchkey:leaks:write, which come with roles alone; or nothing at all",
        placeholder: "SCOPES",
    }),
    default: Preset::Value(
        "* latchkey:verify latchkey:keys:read latchkey:keys:write latchkey:keys:rotate-self latchkey:usage:read",
    ),
    help: "what a user may do and grant to keys at most who has no ceiling of their own; the last start decides for all \
        replicas, and a change is in force at once for every token and key",
};
/// Memory of one password hash.
pub const ARGON2_MEMORY_KIB: Variable<Number<u32>> = Variable {
    name: "ARGON2_MEMORY_KIB",
    kind: Number { min: 1_024, max: password::MAX_MEMORY_KIB, note: "" },
    default: Preset::Value("19456"),
    help: "memory of one password hash, in KiB",
};
/// Passes of one password hash.
pub const ARGON2_ITERATIONS: Variable<Number<u32>> = Variable {
    name: "ARGON2_ITERATIONS",
    kind: Number { min: 1, max: 100, note: "" },
    default: Preset::Value("2"),
    help: "passes over that memory",
};
/// Lanes of one password hash.
pub const ARGON2_PARALLELISM: Variable<Number<u32>> = Variable {
    name: "ARGON2_PARALLELISM",
    kind: Number { min: 1, max: 16, note: "" },
    default: Preset::Value("1"),
    help: "lanes of one password hash",
};

/// The variables of this service.
#[must_use]
pub fn tables() -> Vec<Table> {
    let tokens: [&dyn Setting; 7] = [
        &SECRET_KEY,
        &SECRET_KEY_PREVIOUS,
        &ACCESS_TOKEN_EXPIRE_MINUTES,
        &JWT_ISSUER,
        &JWT_AUDIENCE,
        &JWT_ALGORITHM,
        &SIGNING_KEY_DAYS,
    ];
    let passwords: [&dyn Setting; 4] =
        [&PASSWORD_MIN_LENGTH, &ARGON2_MEMORY_KIB, &ARGON2_ITERATIONS, &ARGON2_PARALLELISM];
    vec![
        Table::new("Access tokens", &tokens),
        sessions::table(),
        Table::new("Passwords", &passwords),
        Table::new("Scopes", &[&USER_SCOPES]),
        limits::table(),
        latchkey_audit::config::table(),
        revocation::table(),
    ]
}

/// How the service works.
#[derive(Clone, Debug)]
pub struct Config {
    /// How tokens are made.
    pub token: token::Config,
    /// How signing keys are kept.
    pub signing: Settings,
    /// How sessions live that have refresh tokens.
    pub sessions: sessions::Sessions,
    /// How passwords are hashed.
    pub password: password::Config,
    /// Characters of the shortest password.
    pub password_min_length: usize,
    /// What users may do and grant at most.
    pub user_scopes: Scopes,
    /// Whether failed logins slow the next ones for the same name.
    pub rate_limit: bool,
    /// How the audit log is sealed.
    pub audit: latchkey_audit::config::Settings,
    /// How a logout waits for the edges.
    pub revocation: revocation::Settings,
}

impl Config {
    /// Reads the service's variables; the secret is [`SECRET_KEY`] or was made.
    ///
    /// # Errors
    /// [`ConfigError`] names the first variable that cannot be used.
    pub fn read(environment: &Environment, secret: Secret) -> Result<Self, ConfigError> {
        let previous = environment.find(&SECRET_KEY_PREVIOUS)?;
        if previous.as_ref() == Some(&secret) {
            return Err(SECRET_KEY_PREVIOUS.wrong("the same as SECRET_KEY"));
        }
        let minutes = environment.read(&ACCESS_TOKEN_EXPIRE_MINUTES)?;
        let config = Self {
            token: token::Config {
                secret,
                previous,
                issuer: environment.read(&JWT_ISSUER)?,
                audience: environment.read(&JWT_AUDIENCE)?,
                lifetime_seconds: i64::from(minutes) * 60,
            },
            signing: Settings {
                algorithm: KeyAlgorithm::of(environment.read(&JWT_ALGORITHM)?),
                period: environment.read(&SIGNING_KEY_DAYS)? * Timestamp::DAY,
                life: i64::from(minutes) * 60 * Timestamp::SECOND,
            },
            sessions: sessions::Sessions::read(environment)?,
            password: password::Config {
                memory_kib: environment.read(&ARGON2_MEMORY_KIB)?,
                iterations: environment.read(&ARGON2_ITERATIONS)?,
                parallelism: environment.read(&ARGON2_PARALLELISM)?,
            },
            password_min_length: environment.read(&PASSWORD_MIN_LENGTH)?,
            user_scopes: environment.read(&USER_SCOPES)?,
            rate_limit: environment.read(&RATE_LIMIT)?,
            audit: latchkey_audit::config::Settings::read(environment)?,
            revocation: revocation::Settings::read(environment)?,
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

fn user_scopes(text: &str) -> Result<Scopes, Fault> {
    let scopes = Scopes::of(text.split_ascii_whitespace())
        .map_err(|error| Fault::Because(error.to_string()))?;
    role_scopes::check(&scopes).map_err(|error| Fault::Because(error.to_string()))?;
    Ok(scopes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_with_roles_alone_is_no_scope_of_all_users() {
        for good in ["", "*", "latchkey:keys:*", "orders:read latchkey:verify", " a  b "] {
            assert!(user_scopes(good).is_ok(), "{good:?}");
        }
        for bad in [
            "latchkey:*",
            "latchkey:admin:*",
            "latchkey:admin:read",
            "* latchkey:admin:anything",
            "latchkey:audit:read",
            "latchkey:audit:*",
            "latchkey:leaks:write",
            "orders:read,orders:write",
            "**",
        ] {
            assert!(user_scopes(bad).is_err(), "{bad:?}");
        }
        let Preset::Value(default) = USER_SCOPES.default else { panic!("described") };
        assert!(user_scopes(default).is_ok_and(|scopes| scopes.cover("*")));
    }
}
