//! The header `Host`: every request of HTTP/1.1 has one, none has two, and what it says is a host
//! (RFC 9112 §3.2). Two hops that each believe another one would take a request for two different ones.

use std::net::Ipv6Addr;

use axum::http::header::HOST;
use axum::http::{HeaderMap, Version};

/// Whether the request names its host as it must.
pub(crate) fn is_good(version: Version, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => is_host(host.as_bytes()),
        (Some(_), Some(_)) => false,
        // HTTP/1.0 has no such header.
        (None, _) => version == Version::HTTP_10,
    }
}

/// `host` or `host:port` (RFC 3986 §3.2.2). A host may be empty: a target without one has none.
fn is_host(text: &[u8]) -> bool {
    let (host, port) = match text {
        [b'[', rest @ ..] => {
            let Some(end) = rest.iter().position(|byte| *byte == b']') else { return false };
            let (address, after) = rest.split_at(end);
            let is_address = str::from_utf8(address).is_ok_and(is_ip_literal);
            match after {
                [b']'] if is_address => return true,
                [b']', b':', port @ ..] if is_address => (&[][..], port),
                _ => return false,
            }
        }
        _ => match text.iter().position(|byte| *byte == b':') {
            Some(colon) => (text.split_at(colon).0, text.split_at(colon + 1).1),
            None => (text, &[][..]),
        },
    };
    is_name(host) && port.iter().all(u8::is_ascii_digit)
}

fn is_ip_literal(text: &str) -> bool {
    // Addresses of versions to come (`v1.x`) are of no use to anybody yet.
    text.parse::<Ipv6Addr>().is_ok()
}

fn is_name(name: &[u8]) -> bool {
    let mut rest = name;
    while let [first, tail @ ..] = rest {
        rest = match (first, tail) {
            (b'%', [high, low, after @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                after
            }
            (byte, _) if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(byte) => tail,
            _ => return false,
        };
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
        for good in [
            "",
            "x",
            "EXAMPLE.com.",
            "a_b:8000",
            "127.0.0.1:80",
            "[::1]",
            "[2001:db8::1]:8000",
            "a:",
            "a%20b",
        ] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in [
            "a b", "a/b", "u@a", "a?b", "a#b", "a:x", "a:1:2", "[::1", "[::1]x", "[]", "[x]",
            "::1", "a%zz", "a%2", "<a>", "a\\b", "\u{e4}", "a:-1", "a\t",
        ] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }
}
