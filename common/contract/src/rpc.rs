//! What a request on the bus is, and how a call or a handler can fail.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::refusal::Refusal;

/// A request that one service answers. The type is the contract: subject, time limit and reply.
pub trait Rpc: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Where the request is sent. The first token is the version of its encoding.
    const SUBJECT: &'static str;
    /// How long a caller waits for the reply at most, all told.
    const TIMEOUT: Duration;
    /// When a call is sent once more. Where nothing is said it is assumed to do harm.
    const RETRY: Retry = Retry::Unsent;
    /// What is answered where nothing stands against it.
    type Reply: Serialize + DeserializeOwned + Send + 'static;
}

/// When a request that had no answer may be sent once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Where it is certain that nobody got it.
    Unsent,
    /// Also where somebody may have got it: to be asked twice is the same as to be asked once. So long
    /// waits one attempt.
    Idempotent(Duration),
}

/// How long one attempt to verify waits: a replica that died costs this, not the deadline.
pub const VERIFY_ATTEMPT: Duration = Duration::from_millis(250);
/// How long one attempt of any other idempotent call waits.
pub const ATTEMPT: Duration = Duration::from_secs(1);

/// Why a caller has no [`Rpc::Reply`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The service declined, with its reason.
    #[error("refused: {}", .0.code())]
    Refused(Refusal),
    /// Nobody serves the subject.
    #[error("no service answers on this subject")]
    NoResponder,
    /// No answer came within the deadline.
    #[error("no answer within the deadline")]
    Timeout,
    /// The service has as much work as it takes and turned this down at once.
    #[error("the service is overloaded")]
    Overloaded,
    /// What the service needs in order to answer is not there just now.
    #[error("the service cannot answer just now")]
    Unavailable,
    /// The service failed; its log has the cause.
    #[error("the service failed")]
    Fault,
    /// The request or the reply was not what this version of the contract says, or too large.
    #[error("a message could not be read")]
    Unreadable,
    /// The bus itself is away.
    #[error("the bus is away")]
    Disconnected,
}

/// Why a handler has no [`Rpc::Reply`].
///
/// `?` turns a [`Refusal`] into the one and any error into the other.
#[derive(Debug)]
pub enum Failure {
    /// An expected answer: it goes to the caller as it is.
    Refused(Refusal),
    /// Too much work is queued: try later.
    Overloaded,
    /// What the answer needs is not there just now: logged with its cause where it is caught.
    Unavailable(Box<dyn std::error::Error + Send + Sync>),
    /// Our fault: logged once with its cause where it is caught; the caller learns only that it happened.
    Fault(Box<dyn std::error::Error + Send + Sync>),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Fault(Box::new(error))
    }
}
