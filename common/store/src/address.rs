//! What a database's address says. An address may hold a password, so no error repeats any part of it: an
//! error says which part is wrong and what to write.

mod tls;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

use crate::OpenError;

/// Links that are followed to a database's file at most.
const MAX_LINKS: usize = 16;
/// How long making a connection may take where nobody waits for it, unless the address says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Seconds that `connect_timeout` may say.
const CONNECT_SECONDS: std::ops::RangeInclusive<u64> = 1..=60;
/// What to do about a character that ends a part of an address.
const ENCODE: &str = "in the user and the password write these characters percent-encoded: \
    % as %25, / as %2F, ? as %3F, # as %23, @ as %40, : as %3A, a space as %20";

/// What a Postgres server's address says.
#[derive(Clone, Debug)]
pub struct PostgresAddress {
    /// As the library wants it.
    pub options: PgConnectOptions,
    /// How long making a connection may take where nobody waits for it.
    pub connect_timeout: Duration,
}

/// Parameters that the library reads.
const READ: [&str; 10] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "hostaddr",
    "port",
    "application_name",
    "options",
    "statement-cache-capacity",
];
/// Parameters that hosted databases put into their addresses, with the values that change nothing here.
const FIXED: [(&str, &[&str]); 5] = [
    ("channel_binding", &["prefer", "disable"]),
    ("target_session_attrs", &["any", "read-write", "primary"]),
    ("gssencmode", &["prefer", "disable"]),
    ("sslnegotiation", &["postgres"]),
    ("load_balance_hosts", &["disable"]),
];
/// The values of `sslmode`.
const SSL_MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
/// Parameters of a SQLite file's address that change nothing here. With others it could not be written, or not be there.
const SQLITE_PARAMETERS: [&str; 4] = ["mode=rwc", "mode=rw", "cache=private", "cache=shared"];
/// How the address of a Postgres server begins.
const SCHEMES: [&str; 2] = ["postgres", "postgresql"];
/// How long to wait for a connection.
const CONNECT_TIMEOUT_NAME: &str = "connect_timeout";

/// Whether an address is that of a Postgres server, by how it begins.
#[must_use]
pub fn is_postgres(url: &str) -> bool {
    url.split_once("://").is_some_and(|(scheme, _)| SCHEMES.contains(&scheme))
}

/// Reads the address of a Postgres server.
///
/// # Errors
/// [`OpenError`], which repeats no part of it.
pub fn postgres(url: &str) -> Result<PostgresAddress, OpenError> {
    let (scheme, rest) = url.split_once("://").ok_or(OpenError::Address)?;
    if !SCHEMES.contains(&scheme) {
        return Err(OpenError::Address);
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at_checked(end).ok_or(OpenError::Address)?;
    if tail.contains(['@', '#']) || rest.contains(char::is_whitespace) {
        return Err(OpenError::Part(format!("a character ends a part of it too early; {ENCODE}")));
    }
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if host.contains(',') {
        return Err(OpenError::Part("it names several hosts, where one is accepted".to_owned()));
    }
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let mut kept = Vec::new();
    let mut connect_timeout = CONNECT_TIMEOUT;
    for (number, part) in query.split('&').filter(|part| !part.is_empty()).enumerate() {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        match name {
            CONNECT_TIMEOUT_NAME => connect_timeout = seconds(value)?,
            _ => match READ.into_iter().find(|known| *known == name) {
                Some(name) => {
                    check(name, value)?;
                    kept.push(part);
                }
                None => ignorable(name, value, number + 1)?,
            },
        }
    }
    let address =
        if kept.is_empty() { base.to_owned() } else { format!("{base}?{}", kept.join("&")) };
    // What the library says may repeat what it could not read.
    tls::check(&kept)?;
    let options = PgConnectOptions::from_str(&address).map_err(|_secret| {
        OpenError::Part(format!("the user, password, host, port or name cannot be read; {ENCODE}"))
    })?;
    Ok(PostgresAddress { options, connect_timeout })
}

fn seconds(value: &str) -> Result<Duration, OpenError> {
    let seconds = value.parse().ok().filter(|seconds| CONNECT_SECONDS.contains(seconds));
    seconds.map(Duration::from_secs).ok_or_else(|| {
        let (first, last) = CONNECT_SECONDS.into_inner();
        parameter(CONNECT_TIMEOUT_NAME, format!("must be a whole number from {first} to {last}"))
    })
}

/// Looks at what the library does not, or tells in words that may be a secret.
fn check(name: &'static str, value: &str) -> Result<(), OpenError> {
    let is_good = match name {
        "sslmode" => SSL_MODES.contains(&value),
        "port" => value.parse::<u16>().is_ok(),
        "hostaddr" => value.parse::<std::net::IpAddr>().is_ok(),
        "statement-cache-capacity" => value.parse::<usize>().is_ok(),
        _ => true,
    };
    if !is_good {
        let fault = match name {
            "sslmode" => format!("must be one of {}", SSL_MODES.join(", ")),
            "hostaddr" => "must be an address such as 192.0.2.1".to_owned(),
            _ => "must be a whole number".to_owned(),
        };
        return Err(parameter(name, fault));
    }
    Ok(())
}

/// Takes a parameter that says nothing new, and refuses every other one.
fn ignorable(name: &str, value: &str, number: usize) -> Result<(), OpenError> {
    let known = FIXED.iter().copied().find(|(known, _)| *known == name);
    match known {
        Some((_, accepted)) if accepted.contains(&value) => Ok(()),
        // It asks for more than is done: passed over, it would be a promise that is not kept.
        Some(("channel_binding", _)) => Err(parameter(
            "channel_binding",
            "cannot be required: this client does not bind channels. Leave it out; with \
             sslmode=verify-full the server's certificate is checked instead",
        )),
        Some(("target_session_attrs", _)) => Err(parameter(
            "target_session_attrs",
            "must be read-write, primary or any: everything is asked of the primary",
        )),
        Some((name, accepted)) => {
            Err(parameter(name, format!("must be one of {}, or left out", accepted.join(", "))))
        }
        None => {
            let names = READ.into_iter().chain(FIXED.iter().map(|(name, _)| *name));
            let close = names.chain([CONNECT_TIMEOUT_NAME]).find(|known| is_close(name, known));
            let meant = close.map(|known| format!(" (is {known} meant?)")).unwrap_or_default();
            Err(OpenError::Part(format!(
                "parameter {number} after the question mark is not known{meant}; a question mark in the \
                 password is written %3F"
            )))
        }
    }
}

/// Whether two names differ in one letter that is wrong, missing or too much, or in case and dashes.
fn is_close(one: &str, other: &str) -> bool {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '_'], "");
    let (one, other) = (plain(one), plain(other));
    let same = one.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    let rest = |text: &str, skipped: usize| text.bytes().skip(same + skipped).collect::<Vec<_>>();
    one == other
        || rest(&one, 1) == rest(&other, 1)
        || rest(&one, 1) == rest(&other, 0)
        || rest(&one, 0) == rest(&other, 1)
}

fn parameter(name: &'static str, fault: impl Into<String>) -> OpenError {
    OpenError::Parameter { name, fault: fault.into() }
}

/// The file that a SQLite address names, as it is written there but for its percent-encoding; `None` for what
/// is no such address. The database, its secret, its lock and its socket are all in one folder, [`found`].
#[must_use]
pub fn sqlite_file(url: &str) -> Option<PathBuf> {
    let rest = url.strip_prefix("sqlite:")?;
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = path.trim_start_matches("//");
    // In memory nothing would be kept, and connections would not share it.
    let is_file = !path.is_empty() && path != ":memory:";
    let is_plain = |part: &str| part.is_empty() || SQLITE_PARAMETERS.contains(&part);
    if !is_file || !query.split('&').all(is_plain) {
        return None;
    }
    let options = SqliteConnectOptions::from_str(url).ok()?;
    Some(options.get_filename().to_owned())
}

/// The file that a path leads to, by whichever links: two paths to one file give the same. The file need not
/// be there yet, nor its folder.
///
/// # Errors
/// What the system said where it cannot be looked for.
pub fn found(path: &Path) -> io::Result<PathBuf> {
    let mut path = std::path::absolute(path)?;
    for _ in 0..MAX_LINKS {
        match fs::read_link(&path) {
            Ok(target) => {
                let folder = path.parent().unwrap_or(Path::new("/"));
                path = std::path::absolute(folder.join(target))?;
            }
            // No link, or nothing there yet.
            Err(_) => break,
        }
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::other("it names no file"));
    };
    match fs::canonicalize(folder) {
        Ok(folder) => Ok(folder.join(name)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
