//! The variables of the whole system in one process.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use latchkey_audit::chain::{self, ChainKey};
use latchkey_contract::Secret;
use latchkey_identity::config::SECRET_KEY;
use latchkey_runtime::config::{Confidential, Fault, Parsed, Preset};
use latchkey_runtime::monitor::{self, MonitorAddress};
use latchkey_runtime::{Entropy, Environment, Exit, Setting, StartError, Table, Variable};
use latchkey_store::address;
use latchkey_store::config::{DATABASE_POOL, database_url};
use latchkey_store::sqlite::check_place;

/// Where the data is.
pub const DATABASE_URL: Variable<latchkey_store::config::Address> = database_url(
    Confidential(Parsed {
        read: either_kind,
        accepted: "sqlite://FILE, or postgres://USER:PASSWORD@HOST/NAME",
        placeholder: "URL",
    }),
    Preset::Value("sqlite://data/latchkey.db"),
);

/// The data folder where the database is a server, below the working directory: as that of the usual SQLite file.
const DATA_FOLDER: &str = "data";
/// The file beside the database that keeps a secret that was made.
const SECRET_FILE: &str = "secret.key";

/// Where metrics and health checks are served.
pub const MONITOR_ADDR: MonitorAddress = monitor::variable("off");

/// How the process works.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the data is.
    pub database_url: String,
    /// Connections to it at most, where it is a server.
    pub database_pool: u32,
    /// Where metrics and health checks are served, if anywhere.
    pub monitor: Option<SocketAddr>,
    /// Where a secret is to be made: none is given, and none is kept.
    pub secret_file: Option<PathBuf>,
    /// The identity service's part; where a secret is to be made, without one.
    pub identity: latchkey_identity::Config,
    /// The key service's part.
    pub keys: latchkey_keys::Config,
    /// The edge's part.
    pub edge: latchkey_edge::Config,
}

/// The variables of this process.
#[must_use]
pub fn tables() -> Vec<Table> {
    let parts = [
        latchkey_edge::config::tables(),
        latchkey_identity::config::tables(),
        latchkey_keys::config::tables(),
    ];
    let data = latchkey_store::config::table(&DATABASE_URL);
    [data].into_iter().chain(parts.into_iter().flatten()).collect()
}

impl Config {
    /// Reads every variable. Where no secret is set, the one is taken that is kept beside the database. Nothing is
    /// made.
    ///
    /// # Errors
    /// [`StartError`] names the variable, or the file, that cannot be used.
    pub fn read(environment: &Environment) -> Result<Self, StartError> {
        let database_url = environment.read(&DATABASE_URL)?;
        let database_pool = environment.read(&DATABASE_POOL)?;
        let monitor = environment.read(&MONITOR_ADDR)?;
        let edge = latchkey_edge::Config::read(environment)?;
        edge.check_beside(&MONITOR_ADDR, monitor)?;
        let mut keys = latchkey_keys::Config::read(environment)?;
        if let Some(file) = database_file(&database_url)? {
            check_place(&file)?;
        }
        let given = environment.find(&SECRET_KEY)?;
        let placeholder = Secret::new(String::new());
        let mut identity =
            latchkey_identity::Config::read(environment, given.clone().unwrap_or(placeholder))?;
        let file = secret_file(&database_url)?;
        let kept = match file.as_deref().map(|file| (file, kept_secret(file))) {
            None => None,
            Some((_, Ok(kept))) => kept,
            Some((file, Err(error))) if given.is_none() => return Err(unusable(file, &error)),
            Some((file, Err(error))) => {
                // Tokens do not need it.
                if identity.audit.key.is_none() {
                    let file = file.display();
                    tracing::warn!(%file, %error, "the audit log is sealed without a key: the kept secret cannot be used");
                }
                None
            }
        };
        let mut secret_file = None;
        match (given, &kept) {
            (Some(_given), _) => {}
            (None, Some(secret)) => {
                identity = latchkey_identity::Config::read(environment, secret.clone())?;
            }
            (None, None) => secret_file = Some(file.ok_or_else(|| SECRET_KEY.wrong("not set"))?),
        }
        if let Some(secret) = &kept {
            seal_by(secret, &mut identity, &mut keys);
        }
        Ok(Self { database_url, database_pool, monitor, secret_file, identity, keys, edge })
    }
}

/// Has what is kept beside the database seal the audit log, also where another secret signs tokens: the chain goes on.
/// Where another key is given for it, this was the one before.
pub(crate) fn seal_by(
    secret: &Secret,
    identity: &mut latchkey_identity::Config,
    keys: &mut latchkey_keys::Config,
) {
    for audit in [&mut identity.audit, &mut keys.audit] {
        let derived = chain::derived(secret);
        if audit.key.is_none() {
            audit.key = Some(derived);
        } else if audit.key.as_ref() != Some(&derived) {
            audit.previous.get_or_insert(ChainKey::Keyed(derived));
        }
    }
}

fn either_kind(url: &str) -> Result<String, Fault> {
    let fault = match url.split_once(':') {
        Some(("sqlite", _)) if address::sqlite_file(url).is_some() => return Ok(url.to_owned()),
        Some(("sqlite", _)) => "not the address of a SQLite file".to_owned(),
        Some(("postgres" | "postgresql", _)) => match address::postgres(url) {
            Ok(_read) => return Ok(url.to_owned()),
            Err(error) => error.to_string(),
        },
        _ => "not an address of either kind".to_owned(),
    };
    Err(Fault::Because(fault))
}

/// The file `name` in the folder of a SQLite database; nothing beside a server. A link leads to the folder
/// where the database is.
///
/// # Errors
/// [`StartError`] where the address is neither kind's, or the folder cannot be looked for.
pub fn beside(database_url: &str, name: &str) -> Result<Option<PathBuf>, StartError> {
    Ok(database_file(database_url)?.map(|file| file.with_file_name(name)))
}

/// The file `name` in the data folder: that of the SQLite database, also where the database is a server and no file.
///
/// # Errors
/// As [`beside`].
pub fn in_data_folder(database_url: &str, name: &str) -> Result<PathBuf, StartError> {
    Ok(beside(database_url, name)?.unwrap_or_else(|| Path::new(DATA_FOLDER).join(name)))
}

/// Refuses a file that is not there, which opening it would make.
///
/// # Errors
/// [`StartError`] where it is not, or as [`database_file`].
pub fn check_is_there(database_url: &str) -> Result<(), StartError> {
    match database_file(database_url)? {
        Some(file) if !file.exists() => {
            let message = format!("there is no database at {}: nothing was done", file.display());
            Err(StartError::new(Exit::Data, message))
        }
        _ => Ok(()),
    }
}

/// The file of a SQLite database, which need not be there; nothing of a server.
///
/// # Errors
/// [`StartError`] where the address is neither kind's, or the folder cannot be looked for.
pub fn database_file(database_url: &str) -> Result<Option<PathBuf>, StartError> {
    let Some(file) = address::sqlite_file(database_url) else {
        DATABASE_URL.check(database_url)?;
        return Ok(None);
    };
    let found = address::found(&file).map_err(|error| {
        let message = format!("the data folder of {} cannot be used: {error}", file.display());
        StartError::new(Exit::Data, message)
    })?;
    Ok(Some(found))
}

/// Where the secret is. Releases before this one took an address as it stands, percent-encoding and links
/// included: a secret that they have made there is taken.
fn secret_file(database_url: &str) -> Result<Option<PathBuf>, StartError> {
    let Some(file) = beside(database_url, SECRET_FILE)? else { return Ok(None) };
    let path = database_url.trim_start_matches("sqlite:").trim_start_matches("//");
    let as_it_stands = Path::new(path.split('?').next().unwrap_or_default());
    let earlier = as_it_stands.with_file_name(SECRET_FILE);
    Ok(Some(if !file.exists() && earlier.exists() { earlier } else { file }))
}

/// The secret in `file`, if there is one.
fn kept_secret(file: &Path) -> io::Result<Option<Secret>> {
    match fs::read_to_string(file) {
        Ok(text) if text.trim().len() >= 32 => Ok(Some(Secret::new(text.trim().to_owned()))),
        Ok(_short) => Err(io::Error::other("it holds fewer than 32 characters")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes a secret and keeps it in `file`, which is not there yet.
///
/// # Errors
/// [`StartError`] where it cannot be kept.
pub fn make_secret(file: &Path, entropy: &Entropy) -> Result<Secret, StartError> {
    write_secret(file, entropy).map_err(|error| unusable(file, &error))
}

fn write_secret(file: &Path, entropy: &Entropy) -> io::Result<Secret> {
    let text = format!(
        "{:032x}{:032x}",
        u128::from_be_bytes(entropy.bytes()),
        u128::from_be_bytes(entropy.bytes())
    );
    let mut created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    created.write_all(text.as_bytes())?;
    created.sync_all()?;
    Ok(Secret::new(text))
}

fn unusable(file: &Path, error: &io::Error) -> StartError {
    let message = format!("the secret in {} cannot be used: {error}", file.display());
    StartError::new(Exit::Data, message)
}
