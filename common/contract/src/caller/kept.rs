//! How much of a client's address is written down.

use std::net::{IpAddr, Ipv4Addr};

use super::network;

/// How much of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kept {
    /// All of it.
    #[default]
    Full,
    /// The network that it is in: a /24, or a /64 of IPv6.
    Prefix,
    /// Nothing.
    Off,
}

impl Kept {
    /// What is written down of `address`.
    #[must_use]
    pub fn of(self, address: IpAddr) -> Option<String> {
        let address = address.to_canonical();
        match (self, address) {
            (Self::Off, _) => None,
            (Self::Full, address) => Some(address.to_string()),
            (Self::Prefix, IpAddr::V4(address)) => {
                let [a, b, c, _] = address.octets();
                Some(format!("{}/24", Ipv4Addr::new(a, b, c, 0)))
            }
            (Self::Prefix, address @ IpAddr::V6(_)) => Some(format!("{}/64", network(address))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_address_no_more_is_kept_than_is_said() {
        for (address, full, prefix) in [
            ("203.0.113.7", "203.0.113.7", "203.0.113.0/24"),
            ("::ffff:203.0.113.7", "203.0.113.7", "203.0.113.0/24"),
            ("2001:db8:1:2:3::4", "2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(Kept::Full.of(address).as_deref(), Some(full));
            assert_eq!(Kept::Prefix.of(address).as_deref(), Some(prefix));
            assert_eq!(Kept::Off.of(address), None);
        }
    }
}
