//! What is no request: why, what its sender is told, a count and a line. hyper says that it could not parse
//! something and hardly what; the bytes that it did not take say the rest.

use axum::response::Response;
use latchkey_contract::problem::{
    BAD_HEADER, HEAD_TOO_LARGE, INCOMPLETE_HEAD, NO_REQUEST_LINE, NO_TLS, SLOW_HEAD,
    TARGET_TOO_LONG, VERSION_NOT_SUPPORTED,
};
use latchkey_runtime::Clock;
use metrics::{Counter, counter};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::problem::Problem;

/// The first byte of a TLS handshake (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// Why something is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Its first line is not that of a request.
    RequestLine,
    /// It is of a version of HTTP that is not spoken here.
    Version,
    /// One of its header lines cannot be read, or two of them contradict each other.
    Header,
    /// Its target alone is longer than a head may be.
    LongTarget,
    /// Its head is longer than it may be.
    LongHead,
    /// It ends before its head does.
    Incomplete,
    /// It is TLS.
    Tls,
    /// Its head did not arrive in time. Nobody is told: the connection is closed.
    SlowHead,
}

/// The labels of the counter.
const REASONS: [&str; 7] =
    ["request_line", "version", "header", "too_large", "incomplete", "tls", "slow_head"];

/// Counts what is no request, and logs it.
pub(crate) struct Malformed {
    clock: Clock,
    counters: [Counter; REASONS.len()],
}

/// Why hyper gave up on a connection whose bytes `unread` it had not taken; nothing where that is nobody's
/// fault or nobody can be told. `was_refused`: hyper had an answer to it.
pub(crate) fn fault(error: &hyper::Error, unread: &[u8], was_refused: bool) -> Option<Fault> {
    if error.is_parse_version_h2() {
        return Some(Fault::Version);
    }
    if error.is_incomplete_message() {
        return (!unread.is_empty()).then_some(Fault::Incomplete);
    }
    if !(error.is_parse() && was_refused) {
        return None;
    }
    let is_too_large = error.is_parse_too_large();
    Some(if is_too_large { too_large(unread) } else { unreadable(unread) })
}

fn too_large(unread: &[u8]) -> Fault {
    if unread.contains(&b'\n') { Fault::LongHead } else { Fault::LongTarget }
}

fn unreadable(unread: &[u8]) -> Fault {
    // A head whose lines contradict each other was taken.
    let Some(first) = unread.first() else { return Fault::Header };
    if *first == TLS_HANDSHAKE {
        return Fault::Tls;
    }
    let start = unread.trim_ascii_start();
    let line = start.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii_end();
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    let (Some(method), Some(_), Some(version), None) = (method, target, version, words.next())
    else {
        return Fault::RequestLine;
    };
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    if method.is_empty() || !method.iter().all(is_token) {
        return Fault::RequestLine;
    }
    match version {
        b"HTTP/1.0" | b"HTTP/1.1" => Fault::Header,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Fault::Version
        }
        _ => Fault::RequestLine,
    }
}

impl Fault {
    /// What its sender is told.
    pub(crate) fn problem(self) -> Problem {
        match self {
            Self::RequestLine => Problem::of(&NO_REQUEST_LINE),
            Self::Header => Problem::of(&BAD_HEADER),
            Self::Incomplete => Problem::of(&INCOMPLETE_HEAD),
            Self::Tls => Problem::of(&NO_TLS),
            Self::Version => Problem::of(&VERSION_NOT_SUPPORTED),
            Self::LongTarget => Problem::of(&TARGET_TOO_LONG),
            Self::LongHead => Problem::of(&HEAD_TOO_LARGE),
            Self::SlowHead => Problem::of(&SLOW_HEAD),
        }
    }

    fn reason(self) -> usize {
        match self {
            Self::RequestLine => 0,
            Self::Version => 1,
            Self::Header => 2,
            Self::LongTarget | Self::LongHead => 3,
            Self::Incomplete => 4,
            Self::Tls => 5,
            Self::SlowHead => 6,
        }
    }
}

impl Malformed {
    /// Nothing counted yet.
    pub(crate) fn new(clock: Clock) -> Self {
        let counters = REASONS.map(|reason| {
            let counter = counter!("latchkey_http_malformed_total", "reason" => reason);
            // So that the first one is seen as a rise.
            counter.increment(0);
            counter
        });
        Self { clock, counters }
    }

    /// Counts `count` of them, and logs that. Of many lines a few are written, whatever their reasons are: the counters
    /// know those.
    pub(crate) fn note(&self, fault: Fault, count: u64) {
        let place = fault.reason();
        self.counters[place].increment(count);
        tracing::info!(fault = REASONS[place], count, "a client sent what is no HTTP request");
    }

    /// The line that says when an answer was given (RFC 9110 §6.6.1).
    pub(crate) fn date_line(&self) -> String {
        let now = OffsetDateTime::from_unix_timestamp(self.clock.unix_millis() / 1_000).ok();
        let date = now.and_then(|now| now.format(&Rfc2822).ok()).unwrap_or_default();
        format!("date: {}\r\n", date.replace("+0000", "GMT"))
    }
}

/// The bytes of `response` on a connection that ends with it, at `date`.
pub(crate) fn bytes_of(response: &Response, body: &str, date: &str) -> Vec<u8> {
    let status = response.status();
    let reason = status.canonical_reason().unwrap_or_default();
    let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).into_bytes();
    for (name, value) in response.headers() {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    let rest = format!("connection: close\r\ncontent-length: {}\r\n{date}\r\n", body.len());
    bytes.extend_from_slice(rest.as_bytes());
    bytes.extend_from_slice(body.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_say_what_is_wrong() {
        for (bytes, fault) in [
            (&b"\x16\x03\x01\x02\x00"[..], Fault::Tls),
            (b"GET\r\n\r\n", Fault::RequestLine),
            (b"GET /\r\n\r\n", Fault::RequestLine),
            (b"GET  / HTTP/1.1\r\n\r\n", Fault::RequestLine),
            (b"GET / HTTP/1.1 x\r\n\r\n", Fault::RequestLine),
            (b"GET / http/1.1\r\n\r\n", Fault::RequestLine),
            (b"G\xffT / HTTP/1.1\r\n\r\n", Fault::RequestLine),
            (b"SSH-2.0-OpenSSH\r\n", Fault::RequestLine),
            (b"\0\0", Fault::RequestLine),
            (b"GET / HTTP/2.0\r\n\r\n", Fault::Version),
            (b"\r\nGET / HTTP/0.9\r\n\r\n", Fault::Version),
            (b"GET / HTTP/1.1\r\nA\r\n\r\n", Fault::Header),
            (b"", Fault::Header),
        ] {
            assert_eq!(unreadable(bytes), fault, "{}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(too_large(b"GET /aaaaaa"), Fault::LongTarget);
        assert_eq!(too_large(b"GET / HTTP/1.1\r\nA: aaaa"), Fault::LongHead);
    }

    #[test]
    fn a_date_is_written_as_http_has_it() {
        let malformed = Malformed::new(Clock::manual(784_111_777_000));
        assert_eq!(malformed.date_line(), "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
    }
}
