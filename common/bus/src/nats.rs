//! The bus over NATS: services by the services API (ADR-32), queue groups, one inbox a process.
//!
//! The client's own `request` keeps an entry for every request that is never answered, and can wait
//! without end while disconnected; so replies come through an inbox of ours, and every wait has the
//! caller's deadline.

mod connect;
mod inbox;
mod serving;
mod topic;

use std::time::Duration;

use async_nats::StatusCode;
use async_nats::header::{HeaderMap, HeaderValue};
use async_nats::service::{NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE};
use bytes::Bytes;
use latchkey_contract::CallError;
use latchkey_contract::wire::Encoding;
use latchkey_runtime::trace::Parent;
use tokio::time::timeout_at;

use crate::BusError;
use crate::envelope::{self, Context, RequestId, Response, Status};
use crate::routes::Routes;
pub use connect::{NatsOptions, User};
use inbox::Inbox;
pub use serving::Serving;

/// The header that names the request a message is part of.
const REQUEST_ID: &str = "Latchkey-Request-Id";
/// Bytes of a request's id at most.
const MAX_ID: usize = 128;
/// What a log shows where there is no id.
const NO_ID: &str = "-";
/// The header that says for how many milliseconds the caller still waits. A duration, not an
/// instant: two machines need not agree on the time.
const TIMEOUT_MS: &str = "Latchkey-Timeout-Ms";
/// The headers of a traced request (W3C Trace Context).
const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
/// The header that says how a message is written.
const CONTENT_TYPE: &str = "Content-Type";
/// What the caller waits for where a foreign client does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest wait that a header can ask for.
const MAX_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to the NATS server.
#[derive(Clone)]
pub struct Nats {
    client: async_nats::Client,
    inbox: Inbox,
}

impl Nats {
    /// Connects, and keeps connecting again whenever the connection is lost. A server that is away is
    /// waited for.
    ///
    /// # Errors
    /// [`BusError`] where the server is there and refuses.
    pub async fn connect(options: NatsOptions) -> Result<Self, BusError> {
        let client = connect::first(&options).await?;
        let inbox = Inbox::open(&client, &options.inbox()).await?;
        connect::watch(&client);
        Ok(Self { client, inbox })
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }

    pub(crate) async fn serve(&self, routes: Routes) -> Result<Serving, BusError> {
        Serving::start(&self.client, routes).await
    }

    pub(crate) async fn request(
        &self,
        subject: &'static str,
        context: &Context,
        payload: Bytes,
    ) -> Result<Response, CallError> {
        // What is sent while the server is away would be queued, and worked on when nobody waits for it.
        if !self.is_connected() {
            return Err(CallError::Disconnected);
        }
        let waiting = self.inbox.expect();
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, context.request_id.as_str());
        headers.insert(TIMEOUT_MS, context.remaining().as_millis().to_string());
        write_trace(&mut headers, &context.trace);
        let reply_to = waiting.subject();
        let exchange = async {
            self.client
                .publish_with_reply_and_headers(subject, reply_to, headers, payload)
                .await
                .map_err(|error| {
                tracing::warn!(subject, %error, "a request cannot be sent");
                CallError::Disconnected
            })?;
            waiting.answer().await.ok_or(CallError::Disconnected)
        };
        match timeout_at(context.deadline, exchange).await {
            Ok(message) => read(message?),
            Err(_late) => Err(CallError::Timeout),
        }
    }
}

/// What a reply says, by its headers.
fn read(message: async_nats::Message) -> Result<Response, CallError> {
    if message.status == Some(StatusCode::NO_RESPONDERS) {
        return Err(CallError::NoResponder);
    }
    let code = header(&message, NATS_SERVICE_ERROR_CODE);
    let sentence = header(&message, NATS_SERVICE_ERROR).map_or("", HeaderValue::as_str);
    Ok(match code {
        Some(code) => Response::empty(Status::from_headers(code.as_str(), sentence)),
        None => Response {
            status: Status::Answered,
            encoding: Encoding::Bincode,
            payload: message.payload,
        },
    })
}

/// What a request says of its caller, by its headers.
fn context_of(message: &async_nats::Message) -> Context {
    let timeout = header(message, TIMEOUT_MS)
        .and_then(|value| value.as_str().parse().ok())
        .map_or(DEFAULT_TIMEOUT, Duration::from_millis);
    let request_id = header(message, REQUEST_ID).map_or(NO_ID, |value| loggable(value.as_str()));
    let context = Context::new(RequestId::new(request_id), timeout.min(MAX_TIMEOUT));
    Context { trace: read_trace(message), system: envelope::NATS, ..context }
}

fn write_trace(headers: &mut HeaderMap, trace: &Parent) {
    let Some(traceparent) = trace.traceparent() else { return };
    headers.insert(TRACEPARENT, traceparent);
    if let Some(tracestate) = trace.tracestate() {
        headers.insert(TRACESTATE, tracestate);
    }
}

fn read_trace(message: &async_nats::Message) -> Parent {
    if !Parent::is_asked_for() {
        return Parent::default();
    }
    let text = |name| header(message, name).map(HeaderValue::as_str);
    text(TRACEPARENT).map_or_else(Parent::default, |it| Parent::read(it, text(TRACESTATE)))
}

/// How a request is written, by its headers.
fn encoding_of(message: &async_nats::Message) -> Encoding {
    Encoding::of(header(message, CONTENT_TYPE).map(HeaderValue::as_str))
}

/// An id that a log can show; whoever sends another has none.
fn loggable(id: &str) -> &str {
    let fits = !id.is_empty() && id.len() <= MAX_ID && id.bytes().all(|b| b.is_ascii_graphic());
    if fits { id } else { NO_ID }
}

fn header<'a>(message: &'a async_nats::Message, name: &str) -> Option<&'a HeaderValue> {
    message.headers.as_ref()?.get(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_from_outside_is_short_and_visible_or_none() {
        let longest = "x".repeat(MAX_ID);
        for id in ["a", "ee37b393bfc36458-9", &longest] {
            assert_eq!(loggable(id), id);
        }
        for id in ["", "a b", "a\tb", "\u{e9}", &format!("{longest}x")] {
            assert_eq!(loggable(id), NO_ID, "{id:?}");
        }
    }
}
