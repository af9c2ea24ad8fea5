//! `CORS_ORIGINS`: what an operator writes, as a browser writes it (RFC 6454 §6.2, and the URL Standard's
//! hosts). The two are compared byte by byte for every request, so what no browser would ever send is told
//! at the start.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Characters of a label of a name at most, and of a name (RFC 1035 §2.3.4).
const MAX_LABEL: usize = 63;
const MAX_NAME: usize = 253;

/// The origin in the form that browsers send.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn normal(text: &str) -> Result<String, &'static str> {
    let text = text.trim().to_ascii_lowercase();
    let (scheme, usual_port, rest): (_, u16, _) = if let Some(rest) = text.strip_prefix("https://")
    {
        ("https", 443, rest)
    } else if let Some(rest) = text.strip_prefix("http://") {
        ("http", 80, rest)
    } else {
        return Err("is no origin: it begins with http:// or https://");
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#', '@']) {
        return Err("is more than an origin: scheme, host and port are all");
    }
    if authority.contains('*') {
        return Err("holds a pattern: each origin stands for itself");
    }
    let (host, port) = split(authority).ok_or("has no readable port")?;
    let port = match port {
        "" => usual_port,
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or("has a port that is none: from 1 to 65535")?,
        _ => return Err("has no readable port"),
    };
    let host = host_of(host)?;
    let port = if port == usual_port { String::new() } else { format!(":{port}") };
    Ok(format!("{scheme}://{host}{port}"))
}

/// Host and port; an address of IPv6 keeps its brackets.
fn split(authority: &str) -> Option<(&str, &str)> {
    match authority.split_once(']') {
        Some((address, "")) => Some((address, "")),
        Some((address, rest)) => Some((address, rest.strip_prefix(':')?)),
        None => Some(authority.split_once(':').unwrap_or((authority, ""))),
    }
}

fn host_of(host: &str) -> Result<String, &'static str> {
    if let Some(address) = host.strip_prefix('[') {
        let address: Ipv6Addr = address.parse().map_err(|_not_one| "has no readable host")?;
        // Its last two groups are never written as an address of IPv4 (the URL Standard, §3.5).
        return Ok(match address.to_ipv4_mapped() {
            Some(_) => {
                let [.., high, low] = address.segments();
                format!("[::ffff:{high:x}:{low:x}]")
            }
            None => format!("[{address}]"),
        });
    }
    if !host.is_ascii() {
        return Err("has a host that is not ASCII: browsers send its form in xn--");
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let is_label = |label: &str| (1..=MAX_LABEL).contains(&label.len()) && label.bytes().all(good);
    if name.len() > MAX_NAME || !name.split('.').all(is_label) {
        return Err("has no readable host");
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    // Browsers take such a name for an address, in whichever form, and write it in this one.
    if is_number && host.parse::<Ipv4Addr>().is_err() {
        return Err("has a host that is neither a name nor an address");
    }
    Ok(host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_the_same_is_written_the_same() {
        for (written, origin) in [
            ("http://localhost:3000", "http://localhost:3000"),
            ("HTTPS://App.Example.COM/", "https://app.example.com"),
            ("https://a.example:443", "https://a.example"),
            ("http://a.example:080", "http://a.example"),
            ("http://a.example:443", "http://a.example:443"),
            ("https://a.example:", "https://a.example"),
            ("https://a.example.", "https://a.example."),
            ("http://127.0.0.1:5173", "http://127.0.0.1:5173"),
            ("http://[0:0:0:0:0:0:0:1]:3000/", "http://[::1]:3000"),
            ("http://[::FFFF:1.2.3.4]", "http://[::ffff:102:304]"),
            ("https://[2001:DB8::1]:443", "https://[2001:db8::1]"),
            ("http://my_host", "http://my_host"),
            ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        ] {
            assert_eq!(normal(written).as_deref(), Ok(origin), "{written}");
        }
    }

    #[test]
    fn what_no_browser_sends_is_refused() {
        for bad in [
            "",
            "*",
            "null",
            "none",
            "localhost",
            "ftp://a.b",
            "file://",
            "https://",
            "https:///",
            "https://a.b/c",
            "https://a.b//",
            "https://u@a.b",
            "https://a.b?q",
            "https://a.b#f",
            "https://*.a.b",
            "https://*",
            "https://a.b:*",
            "https://a.b:x",
            "https://a.b:0",
            "https://a.b:65536",
            "https://a.b:1:2",
            "https://a b",
            "https://a..b",
            "https://.a",
            "https://b\u{fc}cher.example",
            "https://127.1",
            "https://1.2.3.4.5",
            "https://0x7f.1",
            "https://01.2.3.4",
            "https://1.2.3.4.",
            "https://[::1",
            "https://[x]",
            "https://[::1]x",
            "https://a%2eb",
            "https://a\\b",
            "//a.b",
            "https:a.b",
        ] {
            assert!(normal(bad).is_err(), "{bad}");
        }
        assert!(normal(&format!("https://{}.a", "b".repeat(64))).is_err());
    }
}
