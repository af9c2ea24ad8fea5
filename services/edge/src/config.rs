//! The edge's own variables.

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::HeaderValue;
use latchkey_gate::MemoryConfig;
use latchkey_gate::config as memory;
use latchkey_revocation::config as revocation;
use latchkey_runtime::{ConfigError, Environment, Variable};

use crate::origin;

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
    accepted: "origins such as https://app.example.com or http://localhost:3000, no patterns, separated by commas, or `none`",
};
/// How many proxies stand before the edge.
pub const TRUSTED_PROXIES: Variable = Variable {
    name: "TRUSTED_PROXIES",
    default: "0",
    help: "proxies before the edge that append to X-Forwarded-For; limits count the address they saw",
    accepted: "a whole number from 0 to 10",
};
/// How long an idle connection stays open.
pub const KEEP_ALIVE_SECONDS: Variable = Variable {
    name: "KEEP_ALIVE_SECONDS",
    default: "75",
    help: "how long an idle connection stays open; longer than a proxy before the edge keeps its own",
    accepted: "a whole number from 5 to 3600",
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
    &LISTEN_ADDR,
    &CORS_ORIGINS,
    &TRUSTED_PROXIES,
    &KEEP_ALIVE_SECONDS,
    &RATE_LIMIT,
    &memory::CACHE,
    &memory::CACHE_ENTRIES,
    &memory::CACHE_MIB,
    &revocation::LEASE_MS,
    &revocation::RENEWAL_MS,
    &revocation::CLOCK_DRIFT,
];

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
    /// How long an idle connection stays open at least.
    pub keep_alive: Duration,
    /// Whether logins, signups and new keys are limited.
    pub rate_limit: bool,
    /// What is remembered, and for how long.
    pub memory: MemoryConfig,
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
            keep_alive: Duration::from_secs(environment.number(
                &KEEP_ALIVE_SECONDS,
                75,
                5,
                3_600,
            )?),
            rate_limit: environment.switch(&RATE_LIMIT, true)?,
            memory: MemoryConfig::read(environment)?,
        })
    }
}

fn origins(text: &str) -> Result<Vec<HeaderValue>, ConfigError> {
    if text.trim() == "none" {
        return Ok(Vec::new());
    }
    let mut all: Vec<HeaderValue> = Vec::new();
    for (index, part) in text.split(',').enumerate() {
        // What stands before an `@` may be a secret.
        let is_secret = part.contains('@');
        let shown = if is_secret { format!("number {}", index + 1) } else { format!("{part:?}") };
        let wrong = |fault| CORS_ORIGINS.wrong(format!("{shown} {fault}"));
        let origin = origin::normal(part).map_err(wrong)?;
        // What a browser may send is ASCII.
        let origin = HeaderValue::try_from(origin).map_err(|_bytes| wrong("is no origin"))?;
        if !all.contains(&origin) {
            all.push(origin);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_checked_one_by_one() {
        let good = origins("http://localhost:3000, https://app.example.com/").unwrap();
        assert_eq!(good, ["http://localhost:3000", "https://app.example.com"]);
        let same = origins("https://a.example,https://A.example:443").unwrap();
        assert_eq!(same, ["https://a.example"]);
        assert!(origins("none").unwrap().is_empty());
        for bad in [
            "*",
            "null",
            "localhost",
            "ftp://a.b",
            "https://a.b/c",
            "https://u@a.b",
            "a,",
            "https://a.b,",
        ] {
            assert!(origins(bad).is_err(), "{bad}");
        }
        let secret = origins("https://a.example,https://ada:tr0ub4dor@b.example").unwrap_err();
        let said = secret.to_string();
        assert!(said.contains("number 2") && !said.contains("tr0ub4dor"), "{said}");
    }
}
