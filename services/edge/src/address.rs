//! Who is at the other end: the peer, or the address that the trusted proxies saw.
//!
//! `X-Forwarded-For` is counted from the right: only the entries that our own proxies appended are
//! believed, and what a client wrote before them changes nothing.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::http::HeaderMap;
use latchkey_contract::caller::network;

/// Bytes of an entry that is no address, by which clients are told apart, at most.
const MAX_TEXT: usize = 64;

/// The client, as far as limits go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientAddress {
    /// An IPv4 address, or the /64 network of an IPv6 one.
    Network(IpAddr),
    /// Whoever a proxy has named with one and the same text that is no address: the text's hash.
    Text(u64),
}

/// The address that a client is known by to accounts and logs, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownAddress(pub Option<IpAddr>);

/// What a request came by, from which its client's address is found where somebody asks for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CameBy {
    /// The other end of the connection.
    pub(crate) peer: IpAddr,
    /// So many trusted proxies stand before the edge.
    pub(crate) proxies: usize,
}

/// What names a client: its connection, or a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    Address(IpAddr),
    /// The hash of a text that is none.
    Text(u64),
}

/// The client behind `peer`, where `proxies` trusted ones stand before the edge.
#[must_use]
pub fn find(peer: IpAddr, headers: &HeaderMap, proxies: usize) -> (ClientAddress, KnownAddress) {
    let named = Named::find(peer, headers, proxies);
    (ClientAddress::of(named), KnownAddress::of(named, peer, proxies))
}

impl KnownAddress {
    /// That of whoever is `named`, who came by way of `peer`. Where proxies stand before the edge, the peer's own
    /// address is a proxy's: everybody has it whom that proxy has not named. A text is no address.
    fn of(named: Named, peer: IpAddr, proxies: usize) -> Self {
        let Named::Address(address) = named else { return Self(None) };
        let is_known = proxies == 0 || network(address) != network(peer);
        Self(is_known.then_some(address))
    }
}

impl CameBy {
    /// The address that the client is known by, of a request with these headers.
    pub(crate) fn client(self, headers: &HeaderMap) -> Option<IpAddr> {
        let (_, KnownAddress(address)) = find(self.peer, headers, self.proxies);
        address
    }
}

impl Named {
    fn find(peer: IpAddr, headers: &HeaderMap, proxies: usize) -> Self {
        let own = Self::Address(peer.to_canonical());
        let Some(back) = proxies.checked_sub(1) else { return own };
        let lines = headers.get_all("x-forwarded-for").into_iter();
        let lines: Vec<&[u8]> = lines.map(axum::http::HeaderValue::as_bytes).collect();
        let entries = lines.iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b','));
        // An empty one is none (RFC 9110 §5.6.1.2).
        let mut entries = entries.map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty());
        entries.nth(back).map_or(own, Self::read)
    }

    /// What a proxy has written.
    fn read(entry: &[u8]) -> Self {
        let address = str::from_utf8(entry).ok().and_then(address);
        address.map_or_else(
            || {
                let mut hasher = DefaultHasher::new();
                entry.get(..MAX_TEXT).unwrap_or(entry).hash(&mut hasher);
                Self::Text(hasher.finish())
            },
            |address| Self::Address(address.to_canonical()),
        )
    }
}

impl ClientAddress {
    fn of(named: Named) -> Self {
        match named {
            Named::Address(address) => Self::Network(network(address)),
            Named::Text(hash) => Self::Text(hash),
        }
    }

    /// Whose network it is in, roughly: a /24 of IPv4, a /32 of IPv6, which is all that one provider has. Texts
    /// have one for all of them.
    #[must_use]
    pub fn provider(&self) -> Self {
        match self {
            Self::Network(IpAddr::V4(address)) => {
                let [a, b, c, _] = address.octets();
                Self::Network(IpAddr::from([a, b, c, 0]))
            }
            Self::Network(IpAddr::V6(address)) => {
                let [a, b, ..] = address.segments();
                Self::Network(IpAddr::from([a, b, 0, 0, 0, 0, 0, 0]))
            }
            Self::Text(_) => Self::Text(0),
        }
    }
}

/// An address in any form that proxies write: quoted or not, with or without a port, IPv6 with or without
/// brackets and zone (RFC 7239 §6, RFC 4007 §11).
fn address(text: &str) -> Option<IpAddr> {
    let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let text = inner.unwrap_or(text).trim();
    let is_port = |port: &str| port.parse::<u16>().is_ok();
    if let Some(rest) = text.strip_prefix('[') {
        let (address, after) = rest.split_once(']')?;
        let is_good = after.is_empty() || after.strip_prefix(':').is_some_and(is_port);
        return is_good.then(|| ipv6(address)).flatten();
    }
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Some(address.into());
    }
    if let Some(address) = ipv6(text) {
        return Some(address);
    }
    // With a port: of IPv4, or behind all eight groups of IPv6.
    let (address, port) = text.rsplit_once(':').filter(|(_, port)| is_port(port))?;
    let ipv4 = address.parse::<Ipv4Addr>().map(IpAddr::from).ok();
    ipv4.or_else(|| ipv6(address).filter(|_| !port.is_empty()))
}

fn ipv6(text: &str) -> Option<IpAddr> {
    let address = text.split_once('%').map_or(text, |(address, _zone)| address);
    address.parse::<Ipv6Addr>().map(IpAddr::from).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(forwarded: &[&[u8]], proxies: usize) -> ClientAddress {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", (*value).try_into().unwrap());
        }
        super::find([10, 0, 0, 1].into(), &headers, proxies).0
    }

    fn found(forwarded: &[&str], proxies: usize) -> String {
        let lines: Vec<&[u8]> = forwarded.iter().map(|line| line.as_bytes()).collect();
        match find(&lines, proxies) {
            ClientAddress::Network(network) => network.to_string(),
            ClientAddress::Text(_) => "a text".to_owned(),
        }
    }

    #[test]
    fn without_trusted_proxies_the_header_means_nothing() {
        assert_eq!(found(&["1.1.1.1"], 0), "10.0.0.1");
    }

    #[test]
    fn only_what_the_trusted_proxies_appended_counts() {
        assert_eq!(found(&["6.6.6.6, 1.1.1.1"], 1), "1.1.1.1");
        assert_eq!(found(&["6.6.6.6", "1.1.1.1"], 1), "1.1.1.1");
        assert_eq!(found(&["6.6.6.6, 1.1.1.1, 10.0.0.2"], 2), "1.1.1.1");
        assert_eq!(found(&["6.6.6.6, 1.1.1.1", "10.0.0.2"], 2), "1.1.1.1");
        assert_eq!(found(&["1.1.1.1"], 2), "10.0.0.1");
        assert_eq!(found(&["", " , "], 1), "10.0.0.1");
        assert_eq!(found(&["1.1.1.1, , 10.0.0.2,"], 2), "1.1.1.1");
        // Bytes that are no text hide nothing.
        assert_eq!(find(&[b"\xff, 1.1.1.1"], 1), find(&[b"1.1.1.1"], 1));
    }

    #[test]
    fn an_address_is_read_in_every_form() {
        for (forwarded, client) in [
            ("203.0.113.9", "203.0.113.9"),
            ("203.0.113.9:1234", "203.0.113.9"),
            ("\"203.0.113.9:1234\"", "203.0.113.9"),
            ("\" 203.0.113.9 \"", "203.0.113.9"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
            ("[::ffff:203.0.113.9]:1234", "203.0.113.9"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:DB8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("[2001:db8:1:2::6]", "2001:db8:1:2::"),
            ("[2001:db8:1:2::6]:443", "2001:db8:1:2::"),
            ("\"[2001:db8:1:2::6]:443\"", "2001:db8:1:2::"),
            ("2001:db8:1:2:3:4:5:6:443", "2001:db8:1:2::"),
            ("fe80::1%eth0", "fe80::"),
            ("[fe80::1%25eth0]:443", "fe80::"),
            ("\t203.0.113.9 ", "203.0.113.9"),
            ("unknown", "a text"),
            ("_hidden", "a text"),
            ("203.0.113.9:", "a text"),
            ("203.0.113.9:99999", "a text"),
            ("203.0.113", "a text"),
            ("203.0.113.009", "a text"),
            ("[203.0.113.9]", "a text"),
            ("[::1", "a text"),
            ("[::1]x", "a text"),
            ("example.com", "a text"),
            ("\"", "a text"),
        ] {
            assert_eq!(found(&[forwarded], 1), client, "{forwarded}");
        }
    }

    #[test]
    fn what_is_no_address_is_a_client_by_its_text() {
        let client = |text: &str| find(&[text.as_bytes()], 1);
        assert_eq!(client("unknown"), client(" unknown "));
        assert_ne!(client("unknown"), client("_hidden"));
        assert_ne!(client("unknown"), find(&[], 1));
        let long = "x".repeat(MAX_TEXT);
        assert_eq!(client(&format!("{long}a")), client(&format!("{long}b")));
        assert_ne!(find(&[b"\xff"], 1), find(&[b"\xfe"], 1));
    }

    #[test]
    fn an_account_knows_no_client_by_the_address_of_a_proxy_or_by_a_text() {
        let known = |named: Option<&str>, proxies| {
            let peer = "2001:db8:7:7:1::1".parse().unwrap();
            let mut headers = HeaderMap::new();
            headers.extend(named.map(|named| {
                let name = axum::http::HeaderName::from_static("x-forwarded-for");
                (name, named.parse().unwrap())
            }));
            super::find(peer, &headers, proxies).1.0.map(|address| address.to_string())
        };
        assert_eq!(known(Some("203.0.113.7"), 1).as_deref(), Some("203.0.113.7"));
        assert_eq!(known(Some("::ffff:203.0.113.7"), 1).as_deref(), Some("203.0.113.7"));
        assert_eq!(known(Some("2001:db8:8::2"), 1).as_deref(), Some("2001:db8:8::2"));
        assert_eq!(known(Some("2001:db8:7:7:2::2"), 1), None);
        assert_eq!(known(Some("unknown"), 1), None);
        assert_eq!(known(None, 1), None);
        for forged in [None, Some("203.0.113.7")] {
            assert_eq!(known(forged, 0).as_deref(), Some("2001:db8:7:7:1::1"));
        }
    }

    #[test]
    fn a_provider_has_a_whole_network() {
        let provider = |text: &str| find(&[text.as_bytes()], 1).provider();
        for (address, of) in
            [("203.0.113.7", "203.0.113.0"), ("2001:db8:1:2:3:4:5:6", "2001:db8::")]
        {
            assert_eq!(provider(address), ClientAddress::Network(of.parse().unwrap()));
        }
        assert_eq!(provider("unknown"), provider("_hidden"));
    }
}
