//! The service's own variables.

use latchkey_contract::Secret;
use latchkey_contract::credential::KeyPrefix;
use latchkey_contract::scope::Scopes;
use latchkey_revocation::config::{self as revocation, Settings};
use latchkey_runtime::config::{Fault, Number, OrNothing, Parsed, Preset};
use latchkey_runtime::{ConfigError, Environment, Setting, Table, Variable};

use crate::environments::Environments;

/// Days that a key may live where nothing says less.
const MAX_DAYS: i64 = 3_650;
/// Seconds that an old key may live on after a rotation: 90 days.
const MAX_GRACE_SECONDS: i64 = 7_776_000;
/// Keys that an owner may have at most, where there is a limit.
const MAX_PER_OWNER: u32 = 1_000_000;

/// How long a key lives whose maker does not say.
pub const API_KEY_EXPIRE_DAYS: Variable<Number<i64>> = Variable {
    name: "API_KEY_EXPIRE_DAYS",
    kind: Number { min: 1, max: MAX_DAYS, note: "at most API_KEY_MAX_DAYS" },
    default: Preset::Value("365"),
    help: "how long a key lives whose maker does not say, in days",
};
/// How long a key may live.
pub const API_KEY_MAX_DAYS: Variable<Number<i64>> = Variable {
    name: "API_KEY_MAX_DAYS",
    kind: Number { min: 1, max: MAX_DAYS, note: "" },
    default: Preset::Value("3650"),
    help: "how long a key may live from its creation, in days",
};
/// What new keys begin with.
pub const API_KEY_PREFIX: Variable<Parsed<KeyPrefix>> = Variable {
    name: "API_KEY_PREFIX",
    kind: Parsed {
        read: prefix,
        accepted: "2 to 16 characters a-z and 0-9, the first of them a letter, and not rt, ev, pr or mt",
        placeholder: "PREFIX",
    },
    default: Preset::Value("sk"),
    help: "what new keys begin with, best a name of your own; keys with other prefixes stay valid",
};
/// The environments of keys.
pub const API_KEY_ENVIRONMENTS: Variable<Parsed<Environments>> = Variable {
    name: "API_KEY_ENVIRONMENTS",
    kind: Parsed {
        read: environments,
        accepted: "1 to 8 different names of 2 to 12 characters a-z and 0-9, separated by commas; beside the prefix sk, \
            rk or pk none but the first is live, test, prod or org",
        placeholder: "NAMES",
    },
    default: Preset::Value("live,sandbox"),
    help: "the environments of keys; the name of each but the first stands in its keys, behind the prefix",
};
/// How long an old key lives on after a rotation.
pub const API_KEY_ROTATE_GRACE_SECONDS: Variable<Number<i64>> = Variable {
    name: "API_KEY_ROTATE_GRACE_SECONDS",
    kind: Number { min: 0, max: MAX_GRACE_SECONDS, note: "" },
    default: Preset::Value("86400"),
    help: "how long the old key works on after a rotation that does not say, in seconds",
};
/// What a key is granted whose maker does not say.
pub const API_KEY_DEFAULT_SCOPES: Variable<OrNothing<Parsed<Scopes>>> = Variable {
    name: "API_KEY_DEFAULT_SCOPES",
    kind: OrNothing(Parsed {
        read: scopes,
        accepted: "scopes such as orders:read or orders:*, separated by single spaces; * is all but those that begin \
            with latchkey:; or nothing, which is none",
        placeholder: "SCOPES",
    }),
    default: Preset::Value("*"),
    help: "the scopes of a key whose maker does not say",
};
/// Live keys of one owner at most.
pub const API_KEYS_PER_OWNER: Variable<Parsed<Option<u32>>> = Variable {
    name: "API_KEYS_PER_OWNER",
    kind: Parsed {
        read: per_owner,
        accepted: "a whole number from 1 to 1000000, or off",
        placeholder: "NUMBER|off",
    },
    default: Preset::Value("1000"),
    help: "keys that an owner may have at a time, without revoked and expired ones",
};

/// The variables of this service.
#[must_use]
pub fn tables() -> Vec<Table> {
    let keys: [&dyn Setting; 7] = [
        &API_KEY_PREFIX,
        &API_KEY_ENVIRONMENTS,
        &API_KEY_EXPIRE_DAYS,
        &API_KEY_MAX_DAYS,
        &API_KEY_ROTATE_GRACE_SECONDS,
        &API_KEY_DEFAULT_SCOPES,
        &API_KEYS_PER_OWNER,
    ];
    vec![Table::new("Keys", &keys), latchkey_audit::config::table(), revocation::table()]
}

/// How the service works.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long a key lives whose maker does not say, in days.
    pub expire_days: i64,
    /// How long a key may live from its creation, in days: at least [`expire_days`](Self::expire_days).
    pub max_days: i64,
    /// What new keys begin with.
    pub prefix: KeyPrefix,
    /// The environments of keys, none of which is [mistaken](Environments::mistaken) for another company's.
    pub environments: Environments,
    /// How long an old key works on after a rotation that does not say, in seconds.
    pub rotate_grace_seconds: i64,
    /// What a key is granted whose maker does not say.
    pub default_scopes: Scopes,
    /// Live keys of one owner at most, if there is a limit.
    pub per_owner: Option<u32>,
    /// How the audit log is sealed.
    pub audit: latchkey_audit::config::Settings,
    /// How a revoke waits for the edges.
    pub revocation: Settings,
    /// A secret of the process, where it has one that all replicas share and no database holds: the standalone process has,
    /// that of its tokens.
    pub process_secret: Option<Secret>,
}

impl Config {
    /// Reads the service's variables.
    ///
    /// # Errors
    /// [`ConfigError`] names the first variable that cannot be used.
    pub fn read(environment: &Environment) -> Result<Self, ConfigError> {
        let config = Self {
            expire_days: environment.read(&API_KEY_EXPIRE_DAYS)?,
            max_days: environment.read(&API_KEY_MAX_DAYS)?,
            prefix: environment.read(&API_KEY_PREFIX)?,
            environments: environment.read(&API_KEY_ENVIRONMENTS)?,
            rotate_grace_seconds: environment.read(&API_KEY_ROTATE_GRACE_SECONDS)?,
            default_scopes: environment.read(&API_KEY_DEFAULT_SCOPES)?,
            per_owner: environment.read(&API_KEYS_PER_OWNER)?,
            audit: latchkey_audit::config::Settings::read(environment)?,
            revocation: Settings::read(environment)?,
            process_secret: None,
        };
        config.check()?;
        Ok(config)
    }

    /// What answers are kept by for whoever may ask again: a secret that all replicas share, and no database holds.
    #[must_use]
    pub fn shared_secret(&self) -> Option<&Secret> {
        self.audit.key.as_ref().or(self.process_secret.as_ref())
    }

    /// Refuses what is good by itself and not together.
    fn check(&self) -> Result<(), ConfigError> {
        let Self { expire_days, max_days, prefix, environments, .. } = self;
        if expire_days > max_days {
            let fault = format!("{expire_days} is more than API_KEY_MAX_DAYS, which is {max_days}");
            return Err(API_KEY_EXPIRE_DAYS.wrong(fault));
        }
        if let Some(name) = environments.mistaken(prefix) {
            let fault = format!(
                "scanners of secrets take {prefix}_{name}_… for another company's keys: choose another name, or a prefix \
                 of your own in API_KEY_PREFIX"
            );
            return Err(API_KEY_ENVIRONMENTS.wrong(fault));
        }
        Ok(())
    }
}

fn prefix(text: &str) -> Result<KeyPrefix, Fault> {
    KeyPrefix::parse(text).map_err(|_malformed| Fault::Unusable)
}

fn environments(text: &str) -> Result<Environments, Fault> {
    Environments::parse(text).map_err(|malformed| Fault::Because(malformed.to_string()))
}

fn scopes(text: &str) -> Result<Scopes, Fault> {
    if text.is_empty() {
        return Ok(Scopes::default());
    }
    Scopes::of(text.split(' ')).map_err(|error| Fault::Because(format!("{text:?} {error}")))
}

fn per_owner(text: &str) -> Result<Option<u32>, Fault> {
    let number = || text.parse().ok().filter(|number| (1..=MAX_PER_OWNER).contains(number));
    if text == "off" { Ok(None) } else { number().map(Some).ok_or(Fault::Unusable) }
}

#[cfg(test)]
mod tests;
