//! What travels beside a message's bytes: who asked, until when, and how it went.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use latchkey_contract::FieldError;
use latchkey_contract::refusal::Document;
use latchkey_contract::wire::{Encoding, WireError};
use latchkey_runtime::trace::Parent;
use tokio::time::Instant;

/// Names one HTTP request in every log line and every message it causes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

/// What a request carries besides its own fields.
#[derive(Clone, Debug)]
pub struct Context {
    /// The HTTP request that this call is part of, or the id of a background task's run.
    pub request_id: RequestId,
    /// After this instant nobody waits for the answer any more.
    pub deadline: Instant,
    /// The caller's span, where the request is traced.
    pub trace: Parent,
    /// What carries the request, as a trace calls it: `local` or `nats`.
    pub system: &'static str,
}

/// What carries a request inside a process, as a trace calls it.
pub(crate) const LOCAL: &str = "local";
/// What carries a request between processes, as a trace calls it.
pub(crate) const NATS: &str = "nats";

/// How a request went, on the way back.
#[derive(Clone)]
pub struct Response {
    /// Whether the payload holds an answer.
    pub status: Status,
    /// How the payload is written.
    pub encoding: Encoding,
    /// Where the status is [`Status::Answered`]: in bincode a `Result<Reply, Refusal>`, in JSON a `Reply`.
    /// Else in JSON a [`Document`] where the sender can do something about it, and otherwise nothing.
    pub payload: Bytes,
}

/// The outcomes that the bus itself knows; each but the first is told in headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The handler answered.
    Answered,
    /// The handler declined. Between our own services a refusal is an answer; in JSON it is this.
    Refused {
        /// Its status in the vocabulary of HTTP.
        code: u16,
        /// One sentence.
        message: &'static str,
    },
    /// More work was in flight than the service takes.
    Overloaded,
    /// The deadline had passed before the work began.
    Expired,
    /// The request's bytes were not such a request.
    Unreadable,
    /// What the handler needs is not there just now.
    Unavailable,
    /// The handler failed.
    Fault,
}

impl Context {
    /// A context whose deadline is `timeout` from now.
    #[must_use]
    pub fn new(request_id: RequestId, timeout: Duration) -> Self {
        Self::until(request_id, Instant::now() + timeout)
    }

    /// A context with this deadline.
    #[must_use]
    pub fn until(request_id: RequestId, deadline: Instant) -> Self {
        Self { request_id, deadline, trace: Parent::default(), system: LOCAL }
    }

    /// The same context with a deadline at most `timeout` from now.
    #[must_use]
    pub fn within(&self, timeout: Duration) -> Self {
        let deadline = self.deadline.min(Instant::now() + timeout);
        Self { deadline, ..self.clone() }
    }

    /// Whether the caller has given up.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        self.remaining().is_zero()
    }

    /// How long the caller still waits; zero where it has given up.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

impl Response {
    /// A response without an answer.
    #[must_use]
    pub fn empty(status: Status) -> Self {
        Self { status, encoding: Encoding::Bincode, payload: Bytes::new() }
    }

    /// A response in JSON that says why there is no answer.
    pub(crate) fn document(status: Status, document: &Document<'_>) -> Self {
        let encoding = Encoding::Json;
        match encoding.encode(document) {
            Ok(bytes) => Self { status, encoding, payload: bytes.into() },
            // More faulty fields than a message holds: the headers alone say it.
            Err(_) => Self::empty(status),
        }
    }

    /// The response to a request that cannot be read.
    pub(crate) fn unreadable(encoding: Encoding, error: &WireError) -> Self {
        match encoding {
            Encoding::Bincode => Self::empty(Status::Unreadable),
            Encoding::Json => {
                let errors = &[FieldError::new("", error.to_string())];
                let document = Document { code: "unreadable", errors, retry_after_ms: None };
                Self::document(Status::Unreadable, &document)
            }
        }
    }
}

/// Shows no payload: it may hold a secret.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("encoding", &self.encoding)
            .field("bytes", &self.payload.len())
            .finish()
    }
}

impl Status {
    /// The status' code in the `Nats-Service-Error-Code` header (ADR-32), in the vocabulary of HTTP;
    /// `None` where the request was answered.
    #[must_use]
    pub fn code(self) -> Option<u16> {
        match self {
            Self::Answered => None,
            Self::Refused { code, .. } => Some(code),
            Self::Unreadable => Some(400),
            Self::Expired => Some(408),
            Self::Fault => Some(500),
            Self::Overloaded | Self::Unavailable => Some(503),
        }
    }

    /// The status for a code of [`Self::code`] and a sentence of [`Self::message`]; a code that is not
    /// known is a fault.
    #[must_use]
    pub fn from_headers(code: &str, message: &str) -> Self {
        match code {
            "400" => Self::Unreadable,
            "408" => Self::Expired,
            "503" if message == Self::Unavailable.message() => Self::Unavailable,
            "503" => Self::Overloaded,
            _ => Self::Fault,
        }
    }

    /// One sentence for the `Nats-Service-Error` header.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused { message, .. } => message,
            Self::Unreadable => "the request cannot be read",
            Self::Expired => "the deadline had passed before the work began",
            Self::Unavailable => "the service cannot answer just now",
            Self::Fault => "the service failed",
            Self::Overloaded => "the service is overloaded",
        }
    }
}

impl RequestId {
    /// Takes `text` as an id.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Arc::from(text))
    }

    /// The id's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
