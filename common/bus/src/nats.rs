//! The bus over NATS: services by the services API (ADR-32), queue groups, one inbox a process.
//!
//! The client's own `request` keeps an entry for every request that is never answered, and can wait
//! without end while disconnected; so replies come through an inbox of ours, and every wait has the
//! caller's deadline.

mod inbox;
mod serving;

use std::time::Duration;

use async_nats::header::{HeaderMap, HeaderValue};
use async_nats::service::{NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE};
use async_nats::{ConnectOptions, Event, StatusCode};
use bytes::Bytes;
use latchkey_contract::CallError;
use latchkey_contract::wire::Encoding;
use latchkey_runtime::metrics::at_scrape;
use latchkey_runtime::trace::Parent;
use metrics::{counter, gauge};
use tokio::time::timeout_at;

use crate::BusError;
use crate::envelope::{self, Context, RequestId, Response, Status};
use crate::routes::Routes;
use inbox::Inbox;
pub use serving::Serving;

/// The header that names the request a message is part of.
const REQUEST_ID: &str = "Latchkey-Request-Id";
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
/// A silent server is noticed after two of these.
const PING_INTERVAL: Duration = Duration::from_secs(2);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);
/// Waits between attempts to connect again: doubled each time, from the first to the last.
const RECONNECT_FIRST: Duration = Duration::from_millis(50);
const RECONNECT_LAST: Duration = Duration::from_secs(2);
/// Messages that wait for one subscription's reader before further ones are dropped.
const SUBSCRIPTION_CAPACITY: usize = 4_096;
/// Commands that wait for the connection before a sender has to.
const CLIENT_CAPACITY: usize = 1_024;

/// A connection to the NATS server.
#[derive(Clone)]
pub struct Nats {
    client: async_nats::Client,
    inbox: Inbox,
}

/// How to reach the NATS server.
pub struct NatsOptions {
    /// `nats://host:port`, or `tls://host:port`; several separated by commas.
    pub url: String,
    /// The name this process shows in the server's monitoring.
    pub name: String,
    /// A text that no other process has, for this process' inbox.
    pub unique: String,
}

impl Nats {
    /// Connects, and keeps connecting again whenever the connection is lost.
    ///
    /// # Errors
    /// [`BusError`] where the first connection fails.
    pub async fn connect(options: NatsOptions) -> Result<Self, BusError> {
        let client = ConnectOptions::new()
            .name(&options.name)
            .ping_interval(PING_INTERVAL)
            .connection_timeout(CONNECTION_TIMEOUT)
            .request_timeout(Some(MAX_TIMEOUT))
            .subscription_capacity(SUBSCRIPTION_CAPACITY)
            .client_capacity(CLIENT_CAPACITY)
            .reconnect_delay_callback(reconnect_delay)
            .event_callback(|event| async move { log(&event) })
            .connect(&options.url)
            .await
            .map_err(BusError::Connect)?;
        let prefix = format!("_INBOX_{}.{}", options.name, options.unique);
        let inbox = Inbox::open(&client, &prefix).await?;
        watch(&client);
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
    let request_id = header(message, REQUEST_ID).map_or("-", |value| value.as_str());
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

fn header<'a>(message: &'a async_nats::Message, name: &str) -> Option<&'a HeaderValue> {
    message.headers.as_ref()?.get(name)
}

/// Has the connection in the metrics from now on.
fn watch(client: &async_nats::Client) {
    counter!("latchkey_bus_disconnects_total").increment(0);
    counter!("latchkey_bus_slow_consumers_total").increment(0);
    let (connected, client) = (gauge!("latchkey_bus_connected"), client.clone());
    at_scrape("bus connection", move || {
        let is = client.connection_state() == async_nats::connection::State::Connected;
        connected.set(f64::from(u8::from(is)));
    });
}

fn reconnect_delay(attempts: usize) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    RECONNECT_FIRST.saturating_mul(1 << doublings).min(RECONNECT_LAST)
}

fn log(event: &Event) {
    match event {
        Event::Connected => tracing::info!("the bus is connected"),
        Event::Disconnected => {
            counter!("latchkey_bus_disconnects_total").increment(1);
            tracing::warn!("the bus is disconnected");
        }
        Event::SlowConsumer(_) => {
            counter!("latchkey_bus_slow_consumers_total").increment(1);
            tracing::warn!("messages of the bus were dropped: reader too slow");
        }
        other => tracing::info!(event = %other, "the bus reports"),
    }
}
