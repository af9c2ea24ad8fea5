//! The edge's own variables.

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::HeaderValue;
use latchkey_gate::MemoryConfig;
use latchkey_gate::config as memory;
use latchkey_revocation::config as revocation;
use latchkey_runtime::config::{Fault, Number, Parsed, Preset};
use latchkey_runtime::monitor::MonitorAddress;
use latchkey_runtime::{ConfigError, Environment, Setting, Table, Variable};
use latchkey_service::limits::{self, RATE_LIMIT};

use crate::origin;

/// Where HTTP is served.
pub const LISTEN_ADDR: Variable<Parsed<SocketAddr>> = Variable {
    name: "LISTEN_ADDR",
    kind: Parsed {
        read: |text| text.parse().map_err(|_not_one| Fault::Unusable),
        accepted: "ADDRESS:PORT, for example 0.0.0.0:8000 or [::1]:8000",
        placeholder: "ADDRESS",
    },
    default: Preset::Value("127.0.0.1:8000"),
    help: "where HTTP is served; port 0 takes a free one",
};
/// Which web pages may call the API.
pub const CORS_ORIGINS: Variable<Parsed<Vec<HeaderValue>>> = Variable {
    name: "CORS_ORIGINS",
    kind: Parsed {
        read: origins,
        accepted: "origins such as https://app.example.com or http://localhost:3000, no patterns, separated by commas, or `none`",
        placeholder: "LIST",
    },
    default: Preset::Value("http://localhost:3000,http://localhost:8000"),
    help: "web pages that may call the API from a browser",
};
/// Where clients find the API.
pub const PUBLIC_URL: Variable<Parsed<String>> = Variable {
    name: "PUBLIC_URL",
    kind: Parsed {
        read: public_url,
        accepted: "the origin that clients use: https://HOST, or http:// on localhost",
        placeholder: "URL",
    },
    default: Preset::Described("none"),
    help: "where clients find the API; with JWT_ISSUER equal to it, /.well-known/oauth-authorization-server says where what is",
};
/// How many proxies stand before the edge.
pub const TRUSTED_PROXIES: Variable<Number<usize>> = Variable {
    name: "TRUSTED_PROXIES",
    kind: Number { min: 0, max: 10, note: "" },
    default: Preset::Value("0"),
    help: "proxies before the edge that append to X-Forwarded-For; limits count the address they saw",
};
/// How long an idle connection stays open.
pub const KEEP_ALIVE_SECONDS: Variable<Number<u64>> = Variable {
    name: "KEEP_ALIVE_SECONDS",
    kind: Number { min: 5, max: 3_600, note: "" },
    default: Preset::Value("75"),
    help: "how long an idle connection stays open; longer than a proxy before the edge keeps its own",
};

/// The variables of this service.
#[must_use]
pub fn tables() -> Vec<Table> {
    let own: [&dyn Setting; 5] =
        [&LISTEN_ADDR, &PUBLIC_URL, &CORS_ORIGINS, &TRUSTED_PROXIES, &KEEP_ALIVE_SECONDS];
    let memory = [memory::table(), revocation::table_of_bounds()];
    [Table::new("HTTP", &own), limits::table()].into_iter().chain(memory).collect()
}

/// How the edge works.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where HTTP is served.
    pub listen: SocketAddr,
    /// Where clients find the API.
    pub public_url: Option<String>,
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
        Ok(Self {
            listen: environment.read(&LISTEN_ADDR)?,
            public_url: environment.find(&PUBLIC_URL)?,
            origins: environment.read(&CORS_ORIGINS)?,
            trusted_proxies: environment.read(&TRUSTED_PROXIES)?,
            keep_alive: Duration::from_secs(environment.read(&KEEP_ALIVE_SECONDS)?),
            rate_limit: environment.read(&RATE_LIMIT)?,
            memory: MemoryConfig::read(environment)?,
        })
    }

    /// Refuses a monitor where HTTP is served.
    ///
    /// # Errors
    /// [`ConfigError`] names the monitor's variable.
    pub fn check_beside(
        &self,
        variable: &MonitorAddress,
        monitor: Option<SocketAddr>,
    ) -> Result<(), ConfigError> {
        let takes = |one: SocketAddr, other: SocketAddr| {
            let of_all = one.ip().is_unspecified() && (one.is_ipv6() || other.is_ipv4());
            one.port() == other.port() && (one.ip() == other.ip() || of_all)
        };
        match monitor.filter(|monitor| monitor.port() != 0) {
            Some(monitor) if takes(monitor, self.listen) || takes(self.listen, monitor) => {
                Err(variable.wrong("LISTEN_ADDR takes the same address and port"))
            }
            _ => Ok(()),
        }
    }
}

/// An origin by which nobody can be listened to.
fn public_url(text: &str) -> Result<String, Fault> {
    let wrong = |fault: &str| Fault::Because(fault.to_owned());
    let url = origin::normal(text).map_err(wrong)?;
    let Some(host) = url.strip_prefix("http://") else { return Ok(url) };
    let host =
        host.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).map_or(host, |it| it.0);
    if ["localhost", "127.0.0.1", "[::1]"].contains(&host) {
        Ok(url)
    } else {
        Err(wrong("is http: only localhost may be"))
    }
}

fn origins(text: &str) -> Result<Vec<HeaderValue>, Fault> {
    if text.trim() == "none" {
        return Ok(Vec::new());
    }
    let mut all: Vec<HeaderValue> = Vec::new();
    for (index, part) in text.split(',').enumerate() {
        // What stands before an `@` may be a secret.
        let is_secret = part.contains('@');
        let shown = if is_secret { format!("number {}", index + 1) } else { format!("{part:?}") };
        let wrong = |fault| Fault::Because(format!("{shown} {fault}"));
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
    fn a_monitor_is_not_where_http_is_served() {
        for (listen, monitor, is_free) in [
            ("127.0.0.1:8000", "127.0.0.1:8000", false),
            ("0.0.0.0:8000", "127.0.0.1:8000", false),
            ("127.0.0.1:8000", "[::]:8000", false),
            ("[::]:8000", "[::1]:8000", false),
            ("127.0.0.1:8000", "127.0.0.1:9100", true),
            ("127.0.0.1:8000", "127.0.0.2:8000", true),
            ("0.0.0.0:8000", "[::1]:8000", true),
            ("127.0.0.1:0", "127.0.0.1:0", true),
            ("127.0.0.1:8000", "off", true),
        ] {
            let own = [("LISTEN_ADDR".to_owned(), listen.to_owned())];
            let config = Config::read(&Environment::of(own)).unwrap();
            let variable = latchkey_runtime::monitor::variable("off");
            let own = [("MONITOR_ADDR".to_owned(), monitor.to_owned())];
            let monitor = Environment::of(own).read(&variable).unwrap();
            let checked = config.check_beside(&variable, monitor);
            assert_eq!(checked.is_ok(), is_free, "{listen} {monitor:?} {checked:?}");
        }
    }

    #[test]
    fn the_public_url_is_https_or_here() {
        for (text, url) in [
            ("https://id.example.com", "https://id.example.com"),
            ("https://ID.example.com:443/", "https://id.example.com"),
            ("http://localhost:8000", "http://localhost:8000"),
            ("http://127.0.0.1", "http://127.0.0.1"),
            ("http://[::1]:8000", "http://[::1]:8000"),
            ("http://[::1]", "http://[::1]"),
        ] {
            assert_eq!(public_url(text).unwrap(), url, "{text}");
        }
        for bad in [
            "http://id.example.com",
            "http://localhost.example.com",
            "http://127.0.0.2:8000",
            "id.example.com",
            "https://id.example.com/path",
            "https://u@id.example.com",
            "https://id.example.com?x",
        ] {
            assert!(public_url(bad).is_err(), "{bad}");
        }
    }

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
        let secret = "https://a.example,https://ada:tr0ub4dor@b.example";
        let said = CORS_ORIGINS.check(secret).unwrap_err().to_string();
        assert!(said.contains("number 2") && !said.contains("tr0ub4dor"), "{said}");
    }
}
