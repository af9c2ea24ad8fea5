//! Who is at the other end: the peer, or the address that the trusted proxies saw.
//!
//! `X-Forwarded-For` is counted from the right: only the entries that our own proxies appended are
//! believed, and what a client wrote before them changes nothing.

use std::net::{IpAddr, Ipv6Addr};

use axum::http::HeaderMap;

/// The client, as far as limits go: an IPv4 address, or the /64 network of an IPv6 one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    /// The client behind `peer`, where `proxies` trusted ones stand before the edge.
    #[must_use]
    pub fn find(peer: IpAddr, headers: &HeaderMap, proxies: usize) -> Self {
        let forwarded = || {
            let values = headers.get_all("x-forwarded-for").into_iter();
            let entries: Vec<&str> =
                values.filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(',')).collect();
            let index = entries.len().checked_sub(proxies)?;
            entries.get(index)?.trim().parse().ok()
        };
        let address = if proxies == 0 { None } else { forwarded() };
        Self(network(address.unwrap_or(peer)))
    }
}

/// One IPv6 customer has a /64: single addresses in it are free to make up.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(forwarded: &[&str], proxies: usize) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        ClientAddress::find([10, 0, 0, 1].into(), &headers, proxies).0.to_string()
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
        assert_eq!(found(&["1.1.1.1"], 2), "10.0.0.1");
        assert_eq!(found(&["nonsense"], 1), "10.0.0.1");
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        assert_eq!(found(&["2001:db8:1:2:3:4:5:6"], 1), "2001:db8:1:2::");
        assert_eq!(found(&["::ffff:1.2.3.4"], 1), "1.2.3.4");
    }
}
