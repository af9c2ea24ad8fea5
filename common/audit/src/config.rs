//! The variables of the audit log, which each service that writes one reads.

use std::path::{Path, PathBuf};

use latchkey_contract::Secret;
use latchkey_contract::caller::Kept;
use latchkey_runtime::config::{
    Confidential, Fault, Kind, LongText, Number, OneOf, Parsed, Preset,
};
use latchkey_runtime::os::check_writable;
use latchkey_runtime::{ConfigError, Environment, Table, Variable};

use crate::chain::{ChainKey, ChainKeys};
use crate::sink::Destination;

/// Characters of the shortest `AUDIT_KEY`: 256 bits where each holds 8.
const AUDIT_KEY_MIN: usize = 32;
/// The former key of a log that was sealed without one.
const UNKEYED: &str = "none";

/// What the chain of audit events is made with.
pub const AUDIT_KEY: Variable<Confidential<LongText<Secret>>> = Variable {
    name: "AUDIT_KEY",
    kind: Confidential(LongText {
        min: AUDIT_KEY_MIN,
        note: "the same for every replica",
        make: Secret::new,
    }),
    default: Preset::Described(
        "standalone: derived from the secret that is kept beside the database, if there is one; cluster: none",
    ),
    help: "seals audit events (HMAC-SHA-256); without it they are sealed by SHA-256, which whoever writes the database can do",
};
/// What it was made with before.
pub const AUDIT_KEY_PREVIOUS: Variable<Confidential<Parsed<ChainKey>>> = Variable {
    name: "AUDIT_KEY_PREVIOUS",
    kind: Confidential(Parsed {
        read: previous,
        accepted: "at least 32 characters, other ones than AUDIT_KEY, or none where events were sealed without a key",
        placeholder: "SECRET",
    }),
    default: Preset::Described("the key was never another"),
    help: "the former AUDIT_KEY, where it was changed: events from before the change were sealed with it",
};

/// How long events are kept.
pub const AUDIT_DAYS: Variable<Number<i64>> = Variable {
    name: "AUDIT_DAYS",
    kind: Number { min: 30, max: 3_650, note: "" },
    default: Preset::Value("400"),
    help: "how long audit events are kept, in days",
};

/// How much of an address is written down.
pub const AUDIT_IP: Variable<OneOf> = Variable {
    name: "AUDIT_IP",
    kind: OneOf(&[FULL, PREFIX, OFF]),
    default: Preset::Value(FULL),
    help: "how much of a client's address is written down: all of it, its network (/24, or /64 of IPv6), or nothing",
};

const FULL: &str = "full";
const PREFIX: &str = "prefix";
const OFF: &str = "off";
const STDERR: &str = "stderr";

/// Where sealed events are written besides.
pub const AUDIT_LOG: Variable<Parsed<Option<Destination>>> = Variable {
    name: "AUDIT_LOG",
    kind: Parsed {
        read: destination,
        accepted: "off, stderr, or a file in a folder that is there",
        placeholder: "off|stderr|FILE",
    },
    default: Preset::Value(OFF),
    help: "where each sealed audit event is written, too, as a line of JSON: at least once, in order; SIGHUP opens a file anew",
};

/// How events are sealed and kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the chain is made with, if it is made with something.
    pub key: Option<Secret>,
    /// What it was made with before, where it was changed.
    pub previous: Option<ChainKey>,
    /// How long events are kept, in days.
    pub days: i64,
    /// How much of a client's address is written down.
    pub ip: Kept,
    /// Where sealed events are written, if anywhere.
    pub log: Option<Destination>,
}

/// The variables.
#[must_use]
pub fn table() -> Table {
    Table::new("Audit log", &[&AUDIT_KEY, &AUDIT_KEY_PREVIOUS, &AUDIT_DAYS, &AUDIT_IP, &AUDIT_LOG])
}

impl Settings {
    /// Reads the variables.
    ///
    /// # Errors
    /// [`ConfigError`] names the one that cannot be used.
    pub fn read(environment: &Environment) -> Result<Self, ConfigError> {
        let (key, previous) =
            (environment.find(&AUDIT_KEY)?, environment.find(&AUDIT_KEY_PREVIOUS)?);
        match (&key, &previous) {
            (Some(key), Some(ChainKey::Keyed(previous))) if key == previous => {
                return Err(AUDIT_KEY_PREVIOUS.wrong("the same as AUDIT_KEY"));
            }
            _ => {}
        }
        let ip = match environment.read(&AUDIT_IP)? {
            PREFIX => Kept::Prefix,
            OFF => Kept::Off,
            _full => Kept::Full,
        };
        let days = environment.read(&AUDIT_DAYS)?;
        Ok(Self { key, previous, days, ip, log: environment.read(&AUDIT_LOG)? })
    }

    /// What the chain is made with, and was before.
    #[must_use]
    pub fn keys(&self) -> ChainKeys {
        ChainKeys { current: ChainKey::of(self.key.clone()), previous: self.previous.clone() }
    }
}

fn destination(text: &str) -> Result<Option<Destination>, Fault> {
    let path = match text {
        OFF => return Ok(None),
        STDERR => return Ok(Some(Destination::Stderr)),
        path => PathBuf::from(path),
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let place = if path.exists() { &path } else { folder };
    let fault = if !folder.is_dir() {
        format!("the folder {} is not there", folder.display())
    } else if path.is_dir() {
        format!("{} is a folder", path.display())
    } else if let Err(error) = check_writable(place) {
        format!("{} cannot be written: {error}", place.display())
    } else {
        return Ok(Some(Destination::File(path)));
    };
    Err(Fault::Because(fault))
}

fn previous(text: &str) -> Result<ChainKey, Fault> {
    if text == UNKEYED {
        return Ok(ChainKey::Unkeyed);
    }
    AUDIT_KEY.kind.read(text).map(ChainKey::Keyed)
}
