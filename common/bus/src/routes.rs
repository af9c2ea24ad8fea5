//! A service's subjects and what answers each: `Routes::new("keys", …).on::<IssueKey>(…)`.

use std::error::Error;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use latchkey_contract::wire::Encoding;
use latchkey_contract::{Failure, Refusal, Rpc};

use crate::envelope::{Context, Response, Status};
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
    pub(crate) entries: Vec<Route>,
}

/// One subject and its handler.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) subject: &'static str,
    pub(crate) handler: Handler,
}

pub(crate) type Answering = Pin<Box<dyn Future<Output = Response> + Send>>;
pub(crate) type Handler = Arc<dyn Fn(Context, Encoding, Bytes) -> Answering + Send + Sync>;

impl Routes {
    /// No routes yet, of `service` in `version` (semantic versioning).
    #[must_use]
    pub fn new(service: &'static str, version: &'static str, description: &'static str) -> Self {
        Self { service, version, description, max_in_flight: MAX_IN_FLIGHT, entries: Vec::new() }
    }

    /// Works on at most `most` requests at the same time and answers "overloaded" beyond.
    #[must_use]
    pub fn max_in_flight(mut self, most: u32) -> Self {
        self.max_in_flight = most;
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
        let entry = Route {
            subject: R::SUBJECT,
            handler: Arc::new(move |context, encoding, payload| {
                Box::pin(answer(handler.clone(), context, encoding, payload))
            }),
        };
        self.entries.push(entry);
        self
    }
}

/// Answers in a span of its own, where the caller has one.
async fn answer<R, F, Fut>(
    handler: F,
    context: Context,
    encoding: Encoding,
    payload: Bytes,
) -> Response
where
    R: Rpc,
    F: Fn(Context, R) -> Fut + Send + Sync,
    Fut: Future<Output = Result<R::Reply, Failure>> + Send,
{
    let span = observe::answering(&context, R::SUBJECT);
    let response = span.run(work(handler, context, encoding, payload)).await;
    observe::note_answer(&span, R::SUBJECT, &response);
    response
}

/// Decodes, works, encodes. Whatever goes wrong is caught and logged here, once.
async fn work<R, F, Fut>(
    handler: F,
    context: Context,
    encoding: Encoding,
    payload: Bytes,
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
    let request = match encoding.decode::<R>(&payload) {
        Ok(request) => request,
        Err(error) => {
            tracing::warn!(subject = R::SUBJECT, %request_id, %error, "a request cannot be read");
            return Response::unreadable(encoding, &error);
        }
    };
    let worked = AssertUnwindSafe(async { handler(context, request).await }).catch_unwind().await;
    let outcome: Result<R::Reply, Refusal> = match worked {
        Ok(Ok(reply)) => Ok(reply),
        Ok(Err(Failure::Refused(refusal))) => Err(refusal),
        Ok(Err(Failure::Overloaded)) => return Response::empty(Status::Overloaded),
        Ok(Err(Failure::Unavailable(error))) => {
            let cause = causes(error.as_ref());
            tracing::warn!(subject = R::SUBJECT, %request_id, cause, "a request has no answer");
            return Response::empty(Status::Unavailable);
        }
        Ok(Err(Failure::Fault(error))) => {
            let cause = causes(error.as_ref());
            tracing::error!(subject = R::SUBJECT, %request_id, cause, "a request failed");
            return Response::empty(Status::Fault);
        }
        Err(_panic) => {
            // The panic hook has logged the cause; this line says whose request it was.
            tracing::error!(subject = R::SUBJECT, %request_id, "a handler panicked");
            return Response::empty(Status::Fault);
        }
    };
    let written = match (encoding, &outcome) {
        (Encoding::Bincode, outcome) => encoding.encode(outcome),
        (Encoding::Json, Ok(reply)) => encoding.encode(reply),
        (Encoding::Json, Err(refusal)) => {
            let status = Status::Refused { code: refusal.status(), message: refusal.message() };
            return Response::document(status, &refusal.document());
        }
    };
    match written {
        Ok(bytes) => Response { status: Status::Answered, encoding, payload: bytes.into() },
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
