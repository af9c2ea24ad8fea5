//! The id that a request is known by in its answer, in logs and on the bus: the client's own, if it is sane, or a new
//! one.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use latchkey_runtime::Entropy;

/// The header with a request's id, both ways.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Characters of a request id that is taken from the client at most.
const MAX_REQUEST_ID: usize = 128;
/// In place of an id that cannot be.
const NO_ID: HeaderValue = HeaderValue::from_static("none");

/// Makes ids: a prefix that no other process has, and a number.
pub(crate) struct RequestIds {
    prefix: String,
    next: AtomicU64,
}

impl RequestIds {
    /// Ids with a prefix of this process.
    pub(crate) fn new(entropy: &Entropy) -> Self {
        let prefix = format!("{:016x}-", u64::from_be_bytes(entropy.bytes()));
        Self { prefix, next: AtomicU64::new(1) }
    }

    /// The prefix and the number in hexadecimal. By hand: each request has one.
    pub(crate) fn make(&self) -> HeaderValue {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut text = Vec::with_capacity(self.prefix.len() + size_of::<u64>() * 2);
        text.extend_from_slice(self.prefix.as_bytes());
        let nibbles = number.to_be_bytes().into_iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let digits = nibbles.skip_while(|nibble| *nibble == 0);
        text.extend(digits.map(|nibble| DIGITS[usize::from(nibble)]));
        // All of these are characters that a header takes.
        HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or(NO_ID)
    }

    /// The client's own id, if it is sane, or a new one.
    pub(crate) fn of(&self, headers: &HeaderMap) -> HeaderValue {
        let sane = |value: &&HeaderValue| {
            let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte);
            (1..=MAX_REQUEST_ID).contains(&value.len()) && value.as_bytes().iter().all(plain)
        };
        headers.get(REQUEST_ID).filter(sane).cloned().unwrap_or_else(|| self.make())
    }
}
