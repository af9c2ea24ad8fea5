//! The variables of the whole system in one process.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use latchkey_contract::Secret;
use latchkey_runtime::{
    ConfigError, Entropy, Environment, Exit, StartError, Variable, monitor, process, telemetry,
};
use latchkey_store::config::DATABASE_POOL;

/// Where the data is.
pub const DATABASE_URL: Variable = Variable {
    name: "DATABASE_URL",
    default: "sqlite://data/latchkey.db",
    help: "where the data is",
    accepted: "sqlite://FILE, or postgres://USER:PASSWORD@HOST/NAME",
};

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
    /// The identity service's part.
    pub identity: latchkey_identity::Config,
    /// The key service's part.
    pub keys: latchkey_keys::Config,
    /// The edge's part.
    pub edge: latchkey_edge::Config,
}

/// Every variable of this process, each once.
#[must_use]
pub fn variables() -> Vec<&'static Variable> {
    let mut all: Vec<&Variable> = vec![
        &DATABASE_URL,
        &DATABASE_POOL,
        &MONITOR_ADDR,
        &process::WORKER_THREADS,
        &telemetry::RUST_LOG,
    ];
    let parts = [
        latchkey_runtime::trace::VARIABLES,
        latchkey_identity::config::VARIABLES,
        latchkey_keys::config::VARIABLES,
        latchkey_edge::config::VARIABLES,
    ];
    for variable in parts.into_iter().flatten() {
        if !all.iter().any(|known| known.name == variable.name) {
            all.push(variable);
        }
    }
    all
}

impl Config {
    /// Reads every variable. Where no secret is set, one is taken from beside the database or, where
    /// `make_secret` says so, made and kept there; then the second value says where.
    ///
    /// # Errors
    /// [`StartError`] names the variable, or the file, that cannot be used.
    pub fn read(
        environment: &Environment,
        make_secret: bool,
        entropy: &Entropy,
    ) -> Result<(Self, Option<String>), StartError> {
        let database_url = database_url(environment)?;
        let database_pool = latchkey_store::config::connections(environment)?;
        let monitor = monitor::address(environment, &MONITOR_ADDR)?;
        let edge = latchkey_edge::Config::read(environment)?;
        let keys = latchkey_keys::Config::read(environment)?;
        // Every other variable is checked before a secret is made for it.
        let given = latchkey_identity::config::secret_key(environment)?;
        let placeholder = Secret::new(String::new());
        let mut identity =
            latchkey_identity::Config::read(environment, given.clone().unwrap_or(placeholder))?;
        let file = secret_file(&database_url)?;
        let mut made = None;
        if let (None, true) = (&given, make_secret) {
            let (secret, is_new) = match file {
                Some(file) => {
                    kept_secret(&file, entropy).map_err(|error| unusable(&file, &error))?
                }
                None => return Err(latchkey_identity::config::SECRET_KEY.wrong("not set").into()),
            };
            identity.token.secret = secret;
            made = is_new.then(|| "made now and kept beside the database".to_owned());
        }
        Ok((Self { database_url, database_pool, monitor, identity, keys, edge }, made))
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

/// The file beside a SQLite database; nothing beside a server.
fn secret_file(database_url: &str) -> Result<Option<PathBuf>, ConfigError> {
    match database_url.split_once(':') {
        Some(("sqlite", rest)) => {
            let path = rest.trim_start_matches("//").split('?').next().unwrap_or_default();
            Ok(Some(Path::new(path).with_file_name("secret.key")))
        }
        Some(("postgres" | "postgresql", _)) => Ok(None),
        _ => Err(DATABASE_URL.wrong("not an address of either kind")),
    }
}

/// The secret in `file`, made there if there is none; and whether it was made.
fn kept_secret(file: &Path, entropy: &Entropy) -> io::Result<(Secret, bool)> {
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    match fs::read_to_string(file) {
        Ok(text) if text.trim().len() >= 32 => {
            return Ok((Secret::new(text.trim().to_owned()), false));
        }
        Ok(_short) => return Err(io::Error::other("it holds fewer than 32 characters")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let text = format!(
        "{:032x}{:032x}",
        u128::from_be_bytes(entropy.bytes()),
        u128::from_be_bytes(entropy.bytes())
    );
    let mut created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    created.write_all(text.as_bytes())?;
    created.sync_all()?;
    Ok((Secret::new(text), true))
}

fn unusable(file: &Path, error: &io::Error) -> StartError {
    let message = format!("the secret in {} cannot be used: {error}", file.display());
    StartError::new(Exit::Data, message)
}
