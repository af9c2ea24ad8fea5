//! The variables of the whole system in one process.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use latchkey_contract::Secret;
use latchkey_identity::config::SECRET_KEY;
use latchkey_runtime::{ConfigError, Entropy, Environment, Exit, StartError, Variable, monitor};
use latchkey_store::address;
use latchkey_store::config::DATABASE_POOL;

/// Where the data is.
pub const DATABASE_URL: Variable = Variable {
    name: "DATABASE_URL",
    default: "sqlite://data/latchkey.db",
    help: "where the data is",
    accepted: "sqlite://FILE, or postgres://USER:PASSWORD@HOST/NAME",
};

/// The file beside the database that keeps a secret that was made.
const SECRET_FILE: &str = "secret.key";

/// Where metrics and health checks are served.
pub const MONITOR_ADDR: Variable = monitor::variable("off");

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

/// Every variable of this process, each once.
#[must_use]
pub fn variables() -> Vec<&'static Variable> {
    let parts = [
        latchkey_identity::config::VARIABLES,
        latchkey_keys::config::VARIABLES,
        latchkey_edge::config::VARIABLES,
    ];
    latchkey_service::help(&[&DATABASE_URL, &DATABASE_POOL], &MONITOR_ADDR, &parts)
}

impl Config {
    /// Reads every variable. Where no secret is set, the one is taken that is kept beside the database. Nothing is
    /// made.
    ///
    /// # Errors
    /// [`StartError`] names the variable, or the file, that cannot be used.
    pub fn read(environment: &Environment) -> Result<Self, StartError> {
        let database_url = database_url(environment)?;
        let database_pool = latchkey_store::config::connections(environment)?;
        let monitor = monitor::address(environment, &MONITOR_ADDR)?;
        let edge = latchkey_edge::Config::read(environment)?;
        let keys = latchkey_keys::Config::read(environment)?;
        let given = latchkey_identity::config::secret_key(environment)?;
        let placeholder = Secret::new(String::new());
        let mut identity =
            latchkey_identity::Config::read(environment, given.clone().unwrap_or(placeholder))?;
        let mut to_make = None;
        if given.is_none() {
            let file = secret_file(&database_url)?.ok_or_else(|| SECRET_KEY.wrong("not set"))?;
            match kept_secret(&file).map_err(|error| unusable(&file, &error))? {
                Some(secret) => identity = latchkey_identity::Config::read(environment, secret)?,
                None => to_make = Some(file),
            }
        }
        let secret_file = to_make;
        Ok(Self { database_url, database_pool, monitor, secret_file, identity, keys, edge })
    }
}

/// The address of the database that the environment names, or the usual one.
///
/// # Errors
/// [`ConfigError`] where the file that is to hold it cannot be read.
pub fn database_url(environment: &Environment) -> Result<String, ConfigError> {
    let given = environment.secret(&DATABASE_URL)?;
    Ok(given.unwrap_or_else(|| DATABASE_URL.default.to_owned()))
}

/// The file `name` in the folder of a SQLite database; nothing beside a server. A link leads to the folder
/// where the database is.
///
/// # Errors
/// [`StartError`] where the address is neither kind's, or the folder cannot be looked for.
pub fn beside(database_url: &str, name: &str) -> Result<Option<PathBuf>, StartError> {
    Ok(database_file(database_url)?.map(|file| file.with_file_name(name)))
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
    match database_url.split_once(':') {
        Some(("sqlite", _)) => {
            let file = address::sqlite_file(database_url)
                .ok_or_else(|| DATABASE_URL.wrong("not the address of a SQLite file"))?;
            let found = address::found(&file).map_err(|error| {
                let message =
                    format!("the data folder of {} cannot be used: {error}", file.display());
                StartError::new(Exit::Data, message)
            })?;
            Ok(Some(found))
        }
        Some(("postgres" | "postgresql", _)) => {
            address::postgres(database_url)
                .map_err(|error| DATABASE_URL.wrong(error.to_string()))?;
            Ok(None)
        }
        _ => Err(DATABASE_URL.wrong("not an address of either kind").into()),
    }
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
