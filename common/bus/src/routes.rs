//! A service's subjects and what answers each: `Routes::new("keys", …).on::<IssueKey>(…)`.

use std::error::Error;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt;
use latchkey_contract::caller::{Kept, Malformed};
use latchkey_contract::wire::{Encoding, MAX_MESSAGE, WireError};
use latchkey_contract::{Caller, Failure, FieldError, Forbidden, Refusal, RequestId, Rpc, Sender};

use crate::envelope::{Context, Incoming, Response, Status};
use crate::observe;

/// Requests that one service works on at the same time at most, unless it says otherwise.
pub const MAX_IN_FLIGHT: u32 = 1_024;

/// What a service answers.
#[derive(Clone)]
pub struct Routes {
    pub(crate) service: &'static str,
    pub(crate) version: &'static str,
    pub(crate) description: &'static str,
    pub(crate) max_in_flight: u32,
    kept: Kept,
    pub(crate) entries: Vec<Route>,
}

/// One subject and its handler.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) subject: &'static str,
    /// Whether the asker's name stands behind the subject, where a server vouches for it.
    pub(crate) is_signed: bool,
    pub(crate) handler: Handler,
}

pub(crate) type Answering = Pin<Box<dyn Future<Output = Response> + Send>>;
pub(crate) type Handler = Arc<dyn Fn(Context, Incoming) -> Answering + Send + Sync>;

impl Routes {
    /// No routes yet, of `service` in `version` (semantic versioning).
    #[must_use]
    pub fn new(service: &'static str, version: &'static str, description: &'static str) -> Self {
        let (max_in_flight, kept) = (MAX_IN_FLIGHT, Kept::Full);
        Self { service, version, description, max_in_flight, kept, entries: Vec::new() }
    }

    /// Has handlers that come behind this write down so much of a client's address, and no more.
    #[must_use]
    pub fn keeping(mut self, kept: Kept) -> Self {
        self.kept = kept;
        self
    }

    /// Works on at most `max` requests at the same time and answers "overloaded" beyond.
    #[must_use]
    pub fn max_in_flight(mut self, max: u32) -> Self {
        self.max_in_flight = max;
        self
    }

    /// Has `handler` answer requests of type `R`.
    #[must_use]
    pub fn on<R, F, Fut>(mut self, handler: F) -> Self
    where
        R: Rpc,
        F: Fn(Context, R) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<R::Reply, Failure>> + Send + 'static,
    {
        let kept = self.kept;
        let entry = Route {
            subject: R::SUBJECT,
            is_signed: R::SIGNED,
            handler: Arc::new(move |context, incoming| {
                Box::pin(answer(handler.clone(), kept, context, incoming))
            }),
        };
        self.entries.push(entry);
        self
    }
}

/// A handler that is given `state`, which the handlers of a service share.
pub fn with<S, R, F, Fut>(
    state: &Arc<S>,
    handler: F,
) -> impl Fn(Context, R) -> Fut + Clone + Send + Sync + 'static
where
    S: Send + Sync + 'static,
    R: Rpc,
    F: Fn(Arc<S>, Context, R) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<R::Reply, Failure>>,
{
    let state = Arc::clone(state);
    move |context, request| handler(Arc::clone(&state), context, request)
}

/// Answers in a span of its own, where the caller has one.
async fn answer<R, F, Fut>(handler: F, kept: Kept, context: Context, incoming: Incoming) -> Response
where
    R: Rpc,
    F: Fn(Context, R) -> Fut + Send + Sync,
    Fut: Future<Output = Result<R::Reply, Failure>> + Send,
{
    let span = observe::answering(&context, R::SUBJECT);
    let response = span.run(work(handler, kept, context, incoming)).await;
    observe::note_answer(&span, R::SUBJECT, &response);
    response
}

/// Decodes, works, encodes. Whatever goes wrong is caught and logged here, once.
async fn work<R, F, Fut>(
    handler: F,
    kept: Kept,
    mut context: Context,
    incoming: Incoming,
) -> Response
where
    R: Rpc,
    F: Fn(Context, R) -> Fut + Send + Sync,
    Fut: Future<Output = Result<R::Reply, Failure>> + Send,
{
    if context.is_expired() {
        return Response::empty(Status::Expired);
    }
    let request_id = context.request_id.clone();
    let Incoming { encoding, reads, caller, payload } = incoming;
    let (contract, request) = match encoding.decode::<R>(&payload, reads) {
        Ok(read) => read,
        // The asker is told which numbers are read, and asks again.
        Err(error @ WireError::Contract { .. }) => {
            tracing::debug!(subject = R::SUBJECT, %request_id, %error, "a request of another release");
            return Response::unreadable(encoding, reads, &error);
        }
        Err(error) => {
            tracing::warn!(subject = R::SUBJECT, %request_id, %error, "a request cannot be read");
            return Response::unreadable(encoding, reads, &error);
        }
    };
    context.contract = contract;
    context.caller = match believed(R::SENDER, &context, caller) {
        Ok(caller) => caller.map(|caller| keeping(caller, kept)),
        Err(Forbidden(why)) => {
            let asker = context.asker.as_deref();
            tracing::warn!(subject = R::SUBJECT, %request_id, asker, why, "a request is refused because its sender may not send it");
            return Response::empty(Status::Forbidden);
        }
    };
    let actor = context.actor();
    let worked = AssertUnwindSafe(async { handler(context, request).await }).catch_unwind().await;
    let outcome: Result<R::Reply, Refusal> = match worked {
        Ok(Ok(reply)) => Ok(reply),
        Ok(Err(Failure::Refused(refusal))) => Err(refusal),
        Ok(Err(failure)) => return failed(R::SUBJECT, &request_id, actor, failure),
        Err(_panic) => {
            // The panic hook has logged the cause; this line says whose request it was.
            tracing::error!(subject = R::SUBJECT, %request_id, actor, "a handler panicked");
            return Response::empty(Status::Fault);
        }
    };
    write::<R>(&outcome, encoding, contract, &request_id)
}

/// The same, of whose address so much is written down.
fn keeping(caller: Arc<Caller>, kept: Kept) -> Arc<Caller> {
    if caller.kept == kept { caller } else { Arc::new(Caller { kept, ..Caller::clone(&caller) }) }
}

/// Who acts, of what was said about it: what the sender of such a request may say. What others say, or what is said where
/// nobody acts, is not believed.
fn believed(
    sender: Option<Sender>,
    context: &Context,
    said: Option<Result<Arc<Caller>, Malformed>>,
) -> Result<Option<Arc<Caller>>, Forbidden> {
    let Some(sender) = sender else { return Ok(None) };
    let asker = context.asker.as_deref().filter(|asker| sender.is(asker));
    let asker = asker.ok_or(Forbidden("its asker is not a user of the bus who may ask it"))?;
    match said {
        Some(Ok(caller)) if sender.may_name(asker, &caller.actor) => Ok(Some(caller)),
        Some(Ok(_)) => Err(Forbidden("its asker may not say that this one acts")),
        Some(Err(_malformed)) => Err(Forbidden("what it says of who acts cannot be read")),
        None => Err(Forbidden("it does not say who acts")),
    }
}

/// Tells the log why there is no answer; what the asker is told of it.
fn failed(
    subject: &'static str,
    request_id: &RequestId,
    actor: Option<&'static str>,
    failure: Failure,
) -> Response {
    let status = match failure {
        Failure::Refused(refusal) => {
            Status::Refused { code: refusal.status(), message: refusal.message() }
        }
        Failure::Overloaded => Status::Overloaded,
        Failure::Forbidden(Forbidden(why)) => {
            tracing::warn!(subject, %request_id, actor, why, "a request is refused because whoever acts may not do this");
            Status::Forbidden
        }
        Failure::Unavailable(error) => {
            let cause = causes(error.as_ref());
            tracing::warn!(subject, %request_id, actor, cause, "a request has no answer because something that it needs is unavailable");
            Status::Unavailable
        }
        Failure::Fault(error) => {
            let cause = causes(error.as_ref());
            tracing::error!(subject, %request_id, actor, cause, "a request failed");
            Status::Fault
        }
    };
    Response::empty(status)
}

/// Writes an outcome as it was asked for.
fn write<R: Rpc>(
    outcome: &Result<R::Reply, Refusal>,
    encoding: Encoding,
    contract: u16,
    request_id: &RequestId,
) -> Response {
    let written = match (encoding, outcome) {
        (Encoding::Bincode, outcome) => encoding.encode(outcome, contract),
        (Encoding::Json, Ok(reply)) => encoding.encode(reply, contract),
        (Encoding::Json, Err(refusal)) => {
            let status = Status::Refused { code: refusal.status(), message: refusal.message() };
            return Response::document(status, &refusal.document());
        }
    };
    match written {
        Ok(bytes) => Response::of(Status::Answered, encoding, bytes.into()),
        Err(error @ WireError::Untranslatable(_)) => {
            tracing::warn!(subject = R::SUBJECT, %request_id, contract, %error, "a reply cannot be translated for a sender of the previous release");
            Response::empty(Status::Unavailable)
        }
        Err(WireError::TooLarge(bytes)) if outcome.is_ok() => {
            tracing::warn!(subject = R::SUBJECT, %request_id, bytes, "an answer is too large for a message: it is refused");
            let message = format!(
                "has an answer of {bytes} bytes, where a message holds {MAX_MESSAGE}: ask for fewer at once"
            );
            let refusal = Refusal::Invalid(vec![FieldError::new("", message)]);
            write::<R>(&Err(refusal), encoding, contract, request_id)
        }
        Err(error) => {
            tracing::error!(subject = R::SUBJECT, %request_id, %error, "a reply cannot be encoded");
            Response::empty(Status::Fault)
        }
    }
}

/// An error with everything that caused it, on one line.
fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
