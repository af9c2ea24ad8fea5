//! What a request on the bus is, and how a call or a handler can fail.

use std::iter;
use std::time::Duration;

use crate::caller::{Forbidden, Sender};
use crate::message::Message;
use crate::refusal::Refusal;

/// A request that one service answers. The type is the contract: subject, time limit and reply.
pub trait Rpc: Message {
    /// Where the request is sent. The first token is the version of its JSON; bincode has a contract number.
    const SUBJECT: &'static str;
    /// How long a caller waits for the reply at most, all told.
    const TIMEOUT: Duration;
    /// When a call is sent once more. Where nothing is said it is assumed to do harm.
    const RETRY: Retry = Retry::Unsent;
    /// Whether it is sent in the asker's name: its subject then ends with the user that the asker is on the
    /// bus, and the server's permissions let nobody use another's.
    const SIGNED: bool = false;
    /// Who sends it, and says in its envelope who acts ([`Caller`](crate::Caller)): whatever comes from anybody else,
    /// or does not say it, is refused. The server's permissions have to let nobody else publish on its subject.
    /// `None`: nobody acts, and what an envelope says of that is not believed.
    const SENDER: Option<Sender> = None;
    /// What is answered where nothing stands against it.
    type Reply: Message;
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
    /// The asker, or whoever it says acts, may not ask this. Nothing was done.
    #[error("this may not be asked by whoever asks it")]
    Forbidden,
    /// The request or the reply was not what the contract says, or too large.
    #[error("a message could not be read")]
    Unreadable,
    /// The other side is of a release that is more than one away, or cannot be told what this one means.
    #[error("the other side is of another release")]
    Incompatible,
    /// The bus itself is away.
    #[error("the bus is away")]
    Disconnected,
}

impl CallError {
    /// Whether nobody is there to answer, as far as the caller can tell: whatever else it wants of the same service
    /// would wait as long in vain.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(self, Self::NoResponder | Self::Timeout | Self::Disconnected)
    }

    /// Whether the attempt that ended so has certainly done nothing. After any other error it may have been done, and
    /// only the way back failed.
    #[must_use]
    pub fn is_undone(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::NoResponder | Self::Overloaded | Self::Forbidden)
    }
}

/// The last cause of an error that passes by itself: what the answer needs is not there just now, and
/// the same again may be answered later. Whoever makes such errors (a store, of a database that is
/// away) gives them this cause, and every handler's `?` turns them into [`Failure::Unavailable`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("the same again may be answered later")]
pub struct Unavailable;

/// Why a handler has no [`Rpc::Reply`].
///
/// `?` turns a [`Refusal`] and a [`Forbidden`] into what they are, an error that passes ([`Unavailable`]) into
/// [`Failure::Unavailable`], and any other error into the last.
#[derive(Debug)]
pub enum Failure {
    /// An expected answer: it goes to the caller as it is.
    Refused(Refusal),
    /// Whoever acts may not do this: logged where it is caught.
    Forbidden(Forbidden),
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

impl From<Forbidden> for Failure {
    fn from(forbidden: Forbidden) -> Self {
        Self::Forbidden(forbidden)
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        if passes(&error) {
            Self::Unavailable(Box::new(error))
        } else {
            Self::Fault(Box::new(error))
        }
    }
}

/// Whether the error, or a cause of it, is one that passes by itself.
fn passes(error: &(dyn std::error::Error + 'static)) -> bool {
    iter::successors(Some(error), |cause| cause.source())
        .any(<dyn std::error::Error>::is::<Unavailable>)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_who_was_there_and_whether_anything_can_have_been_done() {
        for (error, is_away, is_undone) in [
            (CallError::Refused(Refusal::Stale), false, true),
            (CallError::NoResponder, true, true),
            (CallError::Timeout, true, false),
            (CallError::Overloaded, false, true),
            (CallError::Unavailable, false, false),
            (CallError::Fault, false, false),
            (CallError::Forbidden, false, true),
            (CallError::Unreadable, false, false),
            (CallError::Incompatible, false, false),
            (CallError::Disconnected, true, false),
        ] {
            assert_eq!((error.is_away(), error.is_undone()), (is_away, is_undone), "{error}");
        }
    }
}
