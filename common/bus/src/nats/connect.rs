//! The connection itself: who connects, how the first connection is waited for, and what is said when
//! a later one is lost.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::rustls;
use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, ServerError};
use latchkey_contract::Secret;
use latchkey_contract::wire::Contracts;
use latchkey_runtime::metrics::register_gauge;
use metrics::{counter, gauge};
use tokio::time::sleep;

use super::MAX_TIMEOUT;
use super::forbidden::Forbidden;
use crate::BusError;

/// A silent server is noticed after two of these.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// How long one attempt to connect may take.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);
/// Waits between attempts to connect: doubled each time, from the first to the last. There is no last
/// attempt: a process does not end because its bus is away.
const RECONNECT_FIRST: Duration = Duration::from_millis(50);
const RECONNECT_LAST: Duration = Duration::from_secs(2);
/// What the subjects begin with on which replies to a user arrive; the user's name follows.
pub(super) const INBOX: &str = "_INBOX_";
/// Messages that wait for one subscription's reader before further ones are dropped.
const SUBSCRIPTION_CAPACITY: usize = 4_096;
/// Commands that wait for the connection before a sender has to.
const CLIENT_CAPACITY: usize = 1_024;

/// Counts times at which messages were dropped because their reader was too slow.
const SLOW_CONSUMERS: &str = "latchkey_bus_slow_consumers_total";
/// Counts connections that were lost.
const DISCONNECTS: &str = "latchkey_bus_disconnects_total";

/// How to reach the NATS server.
pub struct NatsOptions {
    /// `nats://host:port`, or `tls://host:port`; several separated by commas.
    pub url: String,
    /// The name this process shows in the server's monitoring.
    pub name: String,
    /// A text that no other process has, for this process' inbox.
    pub unique: String,
    /// Who this process is, where the server asks.
    pub user: Option<User>,
    /// A PEM file with the certificate authorities that may vouch for the server; the system's if none.
    pub ca_file: Option<PathBuf>,
    /// What this process reads and writes: [`Contracts::OWN`].
    pub contracts: Contracts,
}

/// A user of the NATS server.
pub struct User {
    /// Its name.
    pub name: String,
    /// Its password.
    pub password: Secret,
}

impl NatsOptions {
    /// Below which subject replies to this process arrive. The server's permissions tell users' inboxes
    /// apart by the first token.
    #[must_use]
    pub fn inbox(&self) -> String {
        format!("{INBOX}{}.{}", self.user(), self.unique)
    }

    /// The user that this process is on the bus, or its name where the server asks for none.
    #[must_use]
    pub fn user(&self) -> &str {
        self.user.as_ref().map_or(&self.name, |user| &user.name)
    }

    fn prepared(&self, outage: Outage) -> ConnectOptions {
        let outage = Outage { user: self.user().into(), inbox: self.inbox().into(), ..outage };
        let mut options = ConnectOptions::new()
            .name(&self.name)
            .custom_inbox_prefix(self.inbox())
            .require_tls(self.url.split(',').any(|part| part.starts_with("tls://")))
            .ping_interval(PING_INTERVAL)
            .connection_timeout(CONNECTION_TIMEOUT)
            .request_timeout(Some(MAX_TIMEOUT))
            .subscription_capacity(SUBSCRIPTION_CAPACITY)
            .client_capacity(CLIENT_CAPACITY)
            .reconnect_delay_callback(reconnect_delay)
            .event_callback(move |event| {
                let outage = outage.clone();
                async move { outage.note(&event) }
            });
        if let Some(path) = &self.ca_file {
            options = options.add_root_certificates(path.clone());
        }
        match &self.user {
            Some(user) => {
                options.user_and_password(user.name.clone(), user.password.expose().to_owned())
            }
            None => options,
        }
    }
}

/// The user whose inbox a subject is in.
pub(super) fn inbox_of(subject: &str) -> Option<&str> {
    subject.strip_prefix(INBOX)?.split_once('.').map(|(user, _)| user)
}

/// Whether a user of this name can be part of a subject, and is told apart by it.
pub(crate) fn is_user_name(text: &str) -> bool {
    let is_fit = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    !text.is_empty() && text.bytes().all(is_fit)
}

/// Connects for the first time, however long the server is away.
pub(super) async fn first(
    options: &NatsOptions,
    forbidden: &Forbidden,
) -> Result<Client, BusError> {
    let servers: Vec<&str> = options.url.split(',').collect();
    let outage = Outage { forbidden: forbidden.clone(), ..Outage::default() };
    for attempt in 1.. {
        let error = match options.prepared(outage.clone()).connect(&servers).await {
            Ok(client) => return Ok(client),
            Err(error) => error,
        };
        match error.kind() {
            ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                return Err(BusError::Refused);
            }
            ConnectErrorKind::ServerParse | ConnectErrorKind::Tls => {
                return Err(BusError::Connect(error));
            }
            ConnectErrorKind::Dns
            | ConnectErrorKind::TimedOut
            | ConnectErrorKind::Io
            | ConnectErrorKind::MaxReconnects => {}
        }
        if let Some(cause) = distrust(&error) {
            return Err(BusError::Untrusted(cause));
        }
        outage.begin(&options.url, &error);
        sleep(reconnect_delay(attempt)).await;
    }
    Err(BusError::Refused)
}

/// Has the connection in the metrics from now on.
pub(super) fn watch(client: &Client) {
    counter!(DISCONNECTS).increment(0);
    counter!(SLOW_CONSUMERS).increment(0);
    counter!(crate::RETRIES).increment(0);
    let (connected, client) = (gauge!("latchkey_bus_connected"), client.clone());
    register_gauge("bus connection", move || {
        let is = client.connection_state() == State::Connected;
        connected.set(f64::from(u8::from(is)));
    });
}

/// Why the server's certificate was not accepted, if that is what went wrong.
fn distrust(error: &ConnectError) -> Option<String> {
    let mut source: Option<&(dyn Error + 'static)> = error.source();
    while let Some(cause) = source {
        let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let tls = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if let Some(rustls::Error::InvalidCertificate(reason)) = tls {
            return Some(format!("{reason:?}"));
        }
        source = cause.source();
    }
    None
}

fn reconnect_delay(attempts: usize) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    RECONNECT_FIRST.saturating_mul(1 << doublings).min(RECONNECT_LAST)
}

/// Whether the server is away. One line in the log says so, and one that it is back.
#[derive(Clone, Default)]
struct Outage {
    lasts: Arc<AtomicBool>,
    forbidden: Forbidden,
    user: Arc<str>,
    inbox: Arc<str>,
}

impl Outage {
    fn begin(&self, address: &str, error: &ConnectError) {
        if !self.lasts.swap(true, Ordering::Relaxed) {
            tracing::warn!(address, %error, "the bus at NATS_URL cannot be reached: waiting for it");
        }
    }

    fn note(&self, event: &Event) {
        if let Event::Connected = event {
            self.forbidden.clear();
        }
        if let Event::ServerError(ServerError::Other(error)) = event
            && let Some(subject) = self.forbidden.note(error)
        {
            let user = &*self.user;
            tracing::error!(
                user,
                subject,
                "the bus forbids this user a subscription: this process is not ready"
            );
            return;
        }
        if let Event::ServerError(ServerError::Other(error)) = event
            && let Some(is_news) = self.forbidden.note_mute(error, &self.inbox)
        {
            if is_news {
                let (user, inbox) = (&*self.user, &*self.inbox);
                tracing::error!(
                    user,
                    inbox,
                    "the bus forbids this user to send to its own inbox: this process cannot check whether messages reach it"
                );
            }
            return;
        }
        match event {
            Event::Connected if self.lasts.swap(false, Ordering::Relaxed) => {
                tracing::info!("the bus is connected again");
            }
            Event::Connected => tracing::info!("the bus is connected"),
            Event::Disconnected => {
                counter!(DISCONNECTS).increment(1);
                if !self.lasts.swap(true, Ordering::Relaxed) {
                    tracing::warn!("the connection to the bus is lost: connecting again");
                }
            }
            Event::SlowConsumer(_) => {
                counter!(SLOW_CONSUMERS).increment(1);
                tracing::warn!(
                    "messages from the bus are dropped because this process reads them too slowly"
                );
            }
            // Each attempt that failed.
            Event::ClientError(error) if self.lasts.load(Ordering::Relaxed) => {
                tracing::debug!(%error, "the bus still cannot be reached");
            }
            other => tracing::warn!(event = %other, "the bus client reports an event"),
        }
    }
}
