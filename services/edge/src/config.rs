//! The edge's own variables.

use std::net::SocketAddr;

use axum::http::HeaderValue;
use latchkey_revocation::config as revocation;
use latchkey_revocation::{Bounds, Capacity};
use latchkey_runtime::{ConfigError, Environment, Variable};

/// Where HTTP is served.
pub const LISTEN_ADDR: Variable = Variable {
    name: "LISTEN_ADDR",
    default: "127.0.0.1:8000",
    help: "where HTTP is served; port 0 takes a free one",
    accepted: "ADDRESS:PORT, for example 0.0.0.0:8000 or [::1]:8000",
};
/// Which web pages may call the API.
pub const CORS_ORIGINS: Variable = Variable {
    name: "CORS_ORIGINS",
    default: "http://localhost:3000,http://localhost:8000",
    help: "web pages that may call the API from a browser",
    accepted: "origins such as https://app.example.com, separated by commas, or `none`",
};
/// How many proxies stand before the edge.
pub const TRUSTED_PROXIES: Variable = Variable {
    name: "TRUSTED_PROXIES",
    default: "0",
    help: "proxies before the edge that append to X-Forwarded-For; limits count the address they saw",
    accepted: "a whole number from 0 to 10",
};
/// Lifts the limits.
pub const RATE_LIMIT: Variable = Variable {
    name: "RATE_LIMIT",
    default: "on",
    help: "limits on logins, signups and new keys; `off` is for tests and benchmarks",
    accepted: "on, off",
};

/// Whether verdicts are remembered.
pub const CACHE: Variable = Variable {
    name: "CACHE",
    default: "on",
    help: "verdicts are remembered under a lease; `off` asks for each request",
    accepted: "on, off",
};
/// How many.
pub const CACHE_ENTRIES: Variable = Variable {
    name: "CACHE_ENTRIES",
    default: "1000000",
    help: "credentials of each kind that are remembered at most",
    accepted: "a whole number from 64 to 100000000",
};
/// How much memory they take.
pub const CACHE_MIB: Variable = Variable {
    name: "CACHE_MIB",
    default: "192",
    help: "memory for remembered credentials of each kind at most, in MiB",
    accepted: "a whole number from 1 to 65536",
};

/// Every variable of this service.
pub const VARIABLES: &[&Variable] = &[
    &LISTEN_ADDR,
    &CORS_ORIGINS,
    &TRUSTED_PROXIES,
    &RATE_LIMIT,
    &CACHE,
    &CACHE_ENTRIES,
    &CACHE_MIB,
    &revocation::LEASE_MS,
    &revocation::RENEWAL_MS,
    &revocation::CLOCK_DRIFT,
];

/// The fault tests' own: with it answers are used without a lease, and they must notice.
#[cfg(debug_assertions)]
const TEST_WITHOUT_LEASE: Variable = Variable {
    name: "LATCHKEY_TEST_WITHOUT_LEASE",
    default: "off",
    help: "answers are used without a lease: wrong, and not in release builds",
    accepted: "on, off",
};

const DEFAULT_ORIGINS: &str = "http://localhost:3000,http://localhost:8000";

/// How the edge works.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where HTTP is served.
    pub listen: SocketAddr,
    /// Which web pages may call the API.
    pub origins: Vec<HeaderValue>,
    /// How many proxies stand before the edge.
    pub trusted_proxies: usize,
    /// Whether logins, signups and new keys are limited.
    pub rate_limit: bool,
    /// What is remembered, and for how long.
    pub memory: MemoryConfig,
}

/// What the edge remembers.
#[derive(Clone, Copy, Debug)]
pub struct MemoryConfig {
    /// Whether it remembers anything.
    pub enabled: bool,
    /// Lease and renewal.
    pub bounds: Bounds,
    /// How much it remembers at most, of each kind of credential.
    pub capacity: Capacity,
    /// Whether it uses what it remembers without a lease, which is wrong. Not in release builds.
    #[cfg(debug_assertions)]
    pub without_lease: bool,
}

impl MemoryConfig {
    fn read(environment: &Environment) -> Result<Self, ConfigError> {
        let usual = Capacity::default();
        let mebibytes: usize = environment.number(&CACHE_MIB, usual.bytes >> 20, 1, 65_536)?;
        let entries = environment.number(&CACHE_ENTRIES, usual.entries, 64, 100_000_000)?;
        Ok(Self {
            enabled: environment.switch(&CACHE, true)?,
            bounds: revocation::bounds(environment)?,
            capacity: Capacity { entries, bytes: mebibytes << 20, ..usual },
            #[cfg(debug_assertions)]
            without_lease: environment.switch(&TEST_WITHOUT_LEASE, false)?,
        })
    }
}

impl Config {
    /// Reads the edge's variables.
    ///
    /// # Errors
    /// [`ConfigError`] names the first variable that cannot be used.
    pub fn read(environment: &Environment) -> Result<Self, ConfigError> {
        let default_address = SocketAddr::from(([127, 0, 0, 1], 8000));
        Ok(Self {
            listen: environment.parse(&LISTEN_ADDR, default_address, |text| text.parse().ok())?,
            origins: origins(environment.text(&CORS_ORIGINS).unwrap_or(DEFAULT_ORIGINS))?,
            trusted_proxies: environment.number(&TRUSTED_PROXIES, 0, 0, 10)?,
            rate_limit: environment.switch(&RATE_LIMIT, true)?,
            memory: MemoryConfig::read(environment)?,
        })
    }
}

fn origins(text: &str) -> Result<Vec<HeaderValue>, ConfigError> {
    if text == "none" {
        return Ok(Vec::new());
    }
    text.split(',')
        .map(|part| {
            let origin = part.trim().trim_end_matches('/');
            is_origin(origin)
                .then(|| HeaderValue::from_str(origin).ok())
                .flatten()
                .ok_or_else(|| CORS_ORIGINS.wrong(format!("{part:?} is no origin")))
        })
        .collect()
}

/// `scheme://host` or `scheme://host:port`, as a browser writes it (RFC 6454 §6.2).
fn is_origin(text: &str) -> bool {
    let Ok(uri) = text.parse::<axum::http::Uri>() else { return false };
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    let bare = uri.path_and_query().is_none_or(|path| path == "/");
    is_web && bare && uri.host().is_some_and(|host| !host.is_empty()) && !text.contains('@')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_checked_one_by_one() {
        let good = origins("http://localhost:3000, https://app.example.com/").unwrap();
        assert_eq!(good, ["http://localhost:3000", "https://app.example.com"]);
        assert!(origins("none").unwrap().is_empty());
        for bad in ["*", "null", "localhost", "ftp://a.b", "https://a.b/c", "https://u@a.b", "a,"] {
            assert!(origins(bad).is_err(), "{bad}");
        }
    }
}
