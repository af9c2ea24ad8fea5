//! What travels beside a message's bytes: who asked, until when, and how it went.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use latchkey_contract::caller::Malformed;
use latchkey_contract::refusal::Document;
use latchkey_contract::wire::{self, CONTRACT, Contracts, Encoding, WireError};
use latchkey_contract::{Caller, FieldError, Forbidden, RequestId};
use latchkey_runtime::trace::Parent;
use tokio::time::Instant;

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
    /// The contract number in which a handler was asked: what its asker reads.
    pub contract: u16,
    /// The user of the bus that asks, where a handler can tell. The server vouches for it where the request is
    /// [`SIGNED`](latchkey_contract::Rpc::SIGNED). Else it is the one whose inbox the answer goes to: an asker
    /// can name another's, and then does not hear the answer.
    pub asker: Option<Arc<str>>,
    /// Who acts, where the request has a [`SENDER`](latchkey_contract::Rpc::SENDER). A handler is given what the bus
    /// believes of what was said; it goes along with no request of another kind.
    pub caller: Option<Arc<Caller>>,
}

/// A request as it arrives.
pub(crate) struct Incoming {
    /// How it is written.
    pub(crate) encoding: Encoding,
    /// The contract numbers that are read here.
    pub(crate) reads: Contracts,
    /// Who acts, as whoever sent it says.
    pub(crate) caller: Option<Result<Arc<Caller>, Malformed>>,
    pub(crate) payload: Bytes,
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
    /// Where the status is [`Status::Unreadable`]: the contract numbers that the answerer reads.
    pub reads: Option<Contracts>,
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
    /// The request's bytes were not such a request, or of a contract that is not read: nothing was done.
    Unreadable,
    /// It comes from somebody who may not ask it, or does not say who acts, or whoever acts may not do it.
    Forbidden,
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
        let trace = Parent::default();
        let (asker, caller) = (None, None);
        Self { request_id, deadline, trace, system: LOCAL, contract: CONTRACT, asker, caller }
    }

    /// The same context for what `caller` does by their request.
    #[must_use]
    pub fn acting(&self, caller: Caller) -> Self {
        let request_id = caller.request_id.clone();
        Self { request_id, caller: Some(Arc::new(caller)), ..self.clone() }
    }

    /// Who acts.
    ///
    /// # Errors
    /// [`Forbidden`] where nobody does: the request has no [`SENDER`](latchkey_contract::Rpc::SENDER).
    pub fn caller(&self) -> Result<&Caller, Forbidden> {
        self.caller.as_deref().ok_or(Forbidden("nobody acts"))
    }

    /// The kind of whoever acts, for logs.
    #[must_use]
    pub fn actor(&self) -> Option<&'static str> {
        self.caller.as_deref().map(|caller| caller.actor.kind())
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
        Self::of(status, Encoding::Bincode, Bytes::new())
    }

    /// A response with this payload.
    #[must_use]
    pub(crate) fn of(status: Status, encoding: Encoding, payload: Bytes) -> Self {
        Self { status, encoding, payload, reads: None }
    }

    /// A response in JSON that says why there is no answer.
    pub(crate) fn document(status: Status, document: &Document<'_>) -> Self {
        match wire::to_json(document) {
            Ok(bytes) => Self::of(status, Encoding::Json, bytes.into()),
            // More faulty fields than a message holds: the headers alone say it.
            Err(_) => Self::empty(status),
        }
    }

    /// The response to a request that cannot be read.
    pub(crate) fn unreadable(encoding: Encoding, reads: Contracts, error: &WireError) -> Self {
        match encoding {
            Encoding::Bincode => Self { reads: Some(reads), ..Self::empty(Status::Unreadable) },
            Encoding::Json => {
                let errors = &[FieldError::new(error.field(), error.to_string())];
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
            .field("reads", &self.reads)
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
            Self::Forbidden => Some(403),
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
            "403" => Self::Forbidden,
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
            Self::Forbidden => "this may not be asked by whoever asks it",
            Self::Expired => "the deadline had passed before the work began",
            Self::Unavailable => "the service cannot answer just now",
            Self::Fault => "the service failed",
            Self::Overloaded => "the service is overloaded",
        }
    }
}
