//! The bus over NATS: services by the services API (ADR-32), queue groups, one inbox a process.
//!
//! The client's own `request` keeps an entry for every request that is never answered, and can wait
//! without end while disconnected; so replies come through an inbox of ours, and every wait has the
//! caller's deadline.

mod connect;
mod forbidden;
mod hearing;
mod inbox;
mod serving;
pub(crate) mod topic;
mod upkeep;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_nats::header::{HeaderMap, HeaderValue};
use async_nats::service::{NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE};
use async_nats::{StatusCode, Subject};
use bytes::Bytes;
use latchkey_contract::caller::Malformed;
use latchkey_contract::wire::{Contracts, Encoding};
use latchkey_contract::{Actor, CallError, Caller, RequestId};
use latchkey_runtime::trace::Parent;
use tokio::sync::SetOnce;
use tokio::time::timeout_at;

use crate::BusError;
use crate::envelope::{self, Context, Incoming, Response, Status};
use crate::felling::Felling;
use crate::negotiation::Negotiation;
use crate::routes::Routes;
pub(crate) use connect::is_user_name;
pub use connect::{NatsOptions, User};
use forbidden::Forbidden;
use hearing::Hearing;
use inbox::Inbox;
pub use serving::Serving;

/// The header that names the request a message is part of.
const REQUEST_ID: &str = "Latchkey-Request-Id";
/// The headers of a request that says who acts ([`Caller`]). A server's permissions do not look at headers: who may send
/// these is known by who may publish on the request's subject.
const ACTOR: &str = "Latchkey-Actor";
const ADDRESS: &str = "Latchkey-Address";
const USER_AGENT: &str = "Latchkey-User-Agent";
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
/// The header of a reply to a request that was not read: the contract numbers that the answerer reads.
const CONTRACTS: &str = "Latchkey-Contracts";
/// The header that says how a message is written.
const CONTENT_TYPE: &str = "Content-Type";
/// What the caller waits for where a foreign client does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest wait that a header can ask for.
const MAX_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to the NATS server.
#[derive(Clone)]
pub struct Nats {
    /// There when it has been connected for the first time.
    client: Arc<SetOnce<async_nats::Client>>,
    inbox: Inbox,
    pub(crate) negotiation: Negotiation,
    forbidden: Forbidden,
    hearing: Hearing,
    user: Arc<str>,
    pub(crate) felling: Felling,
}

impl Nats {
    /// Connects, and keeps connecting again whenever the connection is lost. A server that is away is
    /// waited for.
    ///
    /// # Errors
    /// [`BusError`] where the server is there and refuses.
    pub async fn connect(options: NatsOptions) -> Result<Self, BusError> {
        let (nats, connecting) = Self::begin(options);
        connecting.await?;
        Ok(nats)
    }

    /// The bus at once, and what connects it.
    pub(crate) fn begin(
        options: NatsOptions,
    ) -> (Self, impl Future<Output = Result<(), BusError>> + Send + use<>) {
        let nats = Self {
            client: Arc::default(),
            inbox: Inbox::new(&options.inbox()),
            negotiation: Negotiation::new(options.contracts),
            forbidden: Forbidden::default(),
            hearing: Hearing::default(),
            user: options.user().into(),
            felling: Felling::default(),
        };
        let connected = nats.clone();
        let connecting = async move {
            let Self { client, inbox, forbidden, felling, .. } = connected;
            let first = connect::first(&options, &forbidden).await?;
            inbox.read(&first, &felling).await?;
            connect::watch(&first);
            // It is connected once.
            let _ = client.set(first);
            Ok(())
        };
        (nats, connecting)
    }

    /// The connection, when it has been made for the first time.
    async fn client(&self) -> &async_nats::Client {
        self.client.wait().await
    }

    /// The connection while it stands.
    fn connected(&self) -> Option<&async_nats::Client> {
        let is_connected = |client: &&async_nats::Client| {
            client.connection_state() == async_nats::connection::State::Connected
        };
        self.client.get().filter(is_connected)
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connected().is_some()
    }

    pub(crate) fn hears(&self) -> bool {
        self.is_connected() && self.forbidden.is_empty() && self.hearing.is_good()
    }

    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    /// Waits for round trips: what the server has to say of earlier subscriptions comes before their end.
    pub(crate) async fn await_first_look(&self) {
        if let Some(client) = self.client.get() {
            hearing::await_first_look(client, &self.inbox).await;
        }
    }

    pub(crate) async fn serve(&self, routes: Routes) -> Result<Serving, BusError> {
        Serving::start(self, routes).await
    }

    pub(crate) async fn request(
        &self,
        subject: &'static str,
        is_signed: bool,
        context: &Context,
        payload: Bytes,
    ) -> Result<Response, CallError> {
        // What is sent while the server is away would be queued, and worked on when nobody waits for it.
        let client = self.connected().ok_or(CallError::Disconnected)?;
        let waiting = self.inbox.expect();
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, context.request_id.as_str());
        headers.insert(TIMEOUT_MS, context.remaining().as_millis().to_string());
        write_trace(&mut headers, &context.trace);
        if let Some(caller) = &context.caller {
            write_caller(&mut headers, caller);
        }
        let reply_to = waiting.subject();
        let to = if is_signed {
            Subject::from(format!("{subject}.{}", self.user))
        } else {
            Subject::from_static(subject)
        };
        let exchange = async {
            client.publish_with_reply_and_headers(to, reply_to, headers, payload).await.map_err(
                |error| {
                    tracing::warn!(subject, %error, "a request cannot be sent");
                    CallError::Disconnected
                },
            )?;
            // It was sent: somebody may have got it, and done it.
            waiting.answer().await.ok_or(CallError::Timeout)
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
        Some(code) => {
            let reads = header(&message, CONTRACTS).and_then(|value| value.as_str().parse().ok());
            Response { reads, ..Response::empty(Status::from_headers(code.as_str(), sentence)) }
        }
        None => Response::of(Status::Answered, Encoding::Bincode, message.payload),
    })
}

/// What a request says of its caller, by its headers.
fn context_of(message: &async_nats::Message, is_signed: bool) -> Context {
    let timeout = header(message, TIMEOUT_MS)
        .and_then(|value| value.as_str().parse().ok())
        .map_or(DEFAULT_TIMEOUT, Duration::from_millis);
    let request_id = header(message, REQUEST_ID).map_or(NO_ID, |value| loggable(value.as_str()));
    let context = Context::new(RequestId::new(request_id), timeout.min(MAX_TIMEOUT));
    let asker = asker(message, is_signed).map(Arc::from);
    Context { trace: read_trace(message), system: envelope::NATS, asker, ..context }
}

/// The user that has sent a request: by the end of its subject where it is signed, else by whose inbox the
/// answer goes to.
fn asker(message: &async_nats::Message, is_signed: bool) -> Option<&str> {
    let user = if is_signed {
        message.subject.rsplit('.').next()
    } else {
        message.reply.as_deref().and_then(connect::inbox_of)
    };
    user.filter(|user| is_user_name(user))
}

fn write_caller(headers: &mut HeaderMap, caller: &Caller) {
    headers.insert(ACTOR, caller.actor.to_string());
    if let Some(address) = caller.address {
        headers.insert(ADDRESS, address.to_string());
    }
    if let Some(user_agent) = &caller.user_agent {
        headers.insert(USER_AGENT, user_agent.as_str());
    }
}

/// Who acts, as a request says; `None` where it does not. What a client says of itself decides nothing: where it cannot
/// be read, it is left out.
fn read_caller(
    message: &async_nats::Message,
    request_id: &RequestId,
) -> Option<Result<Arc<Caller>, Malformed>> {
    let actor = header(message, ACTOR)?.as_str().parse::<Actor>();
    let address = header(message, ADDRESS).map(|value| value.as_str().parse::<IpAddr>());
    let user_agent = header(message, USER_AGENT).and_then(|value| value.as_str().parse().ok());
    let read = || {
        let actor = actor?;
        let address = address.transpose().map_err(|_none| Malformed)?;
        let request_id = request_id.clone();
        Ok(Arc::new(Caller { address, user_agent, ..Caller::of(actor, request_id) }))
    };
    Some(read())
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

/// A request as it arrived where these contracts are read.
fn incoming(message: &async_nats::Message, reads: Contracts, request_id: &RequestId) -> Incoming {
    let encoding = Encoding::of(header(message, CONTENT_TYPE).map(HeaderValue::as_str));
    let (caller, payload) = (read_caller(message, request_id), message.payload.clone());
    Incoming { encoding, reads, caller, payload }
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
    fn an_answer_goes_to_the_inbox_of_one_user_or_of_nobody_known() {
        assert_eq!(connect::inbox_of("_INBOX_edge.3f.7"), Some("edge"));
        assert_eq!(connect::inbox_of("_INBOX_edge-1.x"), Some("edge-1"));
        for nobody in ["_INBOX.3f.7", "_INBOX_edge", "v1._INBOX_edge.x", ""] {
            assert_eq!(connect::inbox_of(nobody), None, "{nobody:?}");
        }
        for name in ["", "e\0ge", "*", "e dge", "\u{e9}"] {
            assert!(!is_user_name(name), "{name:?}");
        }
    }

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
