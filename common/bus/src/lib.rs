//! Carries a request to whoever serves its subject.
//!
//! Services and the edge hold a [`Bus`] and do not know which kind: both kinds carry the same
//! encoded bytes under the same limits with the same headers.
//!
//! ```text
//! caller -> Bus::call -> retry -> envelope -> local | nats -> Routes -> Limit -> handler
//! ```

pub mod config;
pub mod endpoint;
pub mod envelope;
pub mod limit;
pub mod local;
pub mod nats;
pub mod routes;
pub mod topic;

mod observe;
mod retry;

use bytes::Bytes;
use latchkey_contract::{CallError, Refusal, Rpc, wire};

use retry::Attempts;

pub use endpoint::Endpoint;
pub use envelope::{Context, RequestId, Response, Status};
pub use limit::Limit;
pub use local::Local;
pub use nats::{Nats, NatsOptions};
pub use routes::Routes;
pub use topic::{Hear, Listener, Subscription};

/// Counts attempts after the first.
const RETRIES: &str = "latchkey_bus_retries_total";

/// The way to every service.
#[derive(Clone)]
pub enum Bus {
    /// Inside this process.
    Local(Local),
    /// Over a NATS server.
    Nats(Nats),
}

/// A service's routes while they are served. Dropping it stops serving at once;
/// [`drain`](Self::drain) lets requests in hand finish.
#[must_use = "dropping it stops serving"]
pub enum Serving {
    /// Served to callers in this process.
    Local(local::Serving),
    /// Served to callers over NATS.
    Nats(Box<nats::Serving>),
}

/// Why the bus cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// No connection to the server.
    #[error("cannot connect to NATS")]
    Connect(#[source] async_nats::ConnectError),
    /// The server is there, and does not take this user and password.
    #[error("the NATS server refuses the user or the password")]
    Refused,
    /// The server is there, and nobody we trust vouches for it.
    #[error("the NATS server's certificate is not trusted: {0}")]
    Untrusted(String),
    /// The server did not take a subscription.
    #[error("cannot subscribe on NATS")]
    Subscribe(#[source] async_nats::SubscribeError),
    /// The server did not take a service.
    #[error("cannot serve on NATS")]
    Serve(#[source] async_nats::Error),
    /// A message could not be handed to the connection.
    #[error("cannot publish on NATS")]
    Publish(#[source] async_nats::PublishError),
    /// The server is away just now.
    #[error("NATS is away")]
    Disconnected,
    /// Two routes want the same subject.
    #[error("{0} is served already")]
    Taken(&'static str),
}

impl Bus {
    /// A bus inside this process.
    #[must_use]
    pub fn local() -> Self {
        Self::Local(Local::default())
    }

    /// Whether the way is open at this moment.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        match self {
            Self::Local(_) => true,
            Self::Nats(nats) => nats.is_connected(),
        }
    }

    /// Sends `request` to whoever serves it and waits for the reply, at most until the deadline in
    /// `context` or for [`Rpc::TIMEOUT`], whichever is sooner. [`Rpc::RETRY`] says when it is sent again.
    ///
    /// # Errors
    /// [`CallError`] tells refusals, absence, lateness, overload and faults apart.
    pub async fn call<R: Rpc>(
        &self,
        context: &Context,
        request: &R,
    ) -> Result<R::Reply, CallError> {
        let payload: Bytes = wire::encode(request)
            .map_err(|error| {
                tracing::error!(subject = R::SUBJECT, %error, "a request cannot be encoded");
                CallError::Unreadable
            })?
            .into();
        let asking = observe::Asking::begin(self.system(), R::SUBJECT);
        let mut context = context.within(R::TIMEOUT);
        context.trace = asking.parent();
        let mut attempts = Attempts::new(R::RETRY);
        loop {
            let attempt = attempts.next(&context);
            let response = self.exchange(R::SUBJECT, &attempt, payload.clone()).await;
            let outcome = response.and_then(|response| read_reply::<R>(&response));
            match outcome {
                Err(error) if attempts.again(&context, &error).await => {
                    metrics::counter!(RETRIES).increment(1);
                }
                outcome => {
                    asking.end(&outcome);
                    return outcome;
                }
            }
        }
    }

    fn system(&self) -> &'static str {
        match self {
            Self::Local(_) => envelope::LOCAL,
            Self::Nats(_) => envelope::NATS,
        }
    }

    async fn exchange(
        &self,
        subject: &'static str,
        context: &Context,
        payload: Bytes,
    ) -> Result<Response, CallError> {
        match self {
            Self::Local(local) => local.request(subject, context, payload).await,
            Self::Nats(nats) => nats.request(subject, context, payload).await,
        }
    }

    /// Serves `routes` until the returned value is dropped or drained.
    ///
    /// # Errors
    /// [`BusError`] where a subject is taken or the server refuses.
    pub async fn serve(&self, routes: Routes) -> Result<Serving, BusError> {
        match self {
            Self::Local(local) => local.serve(routes).map(Serving::Local),
            Self::Nats(nats) => nats.serve(routes).await.map(Box::new).map(Serving::Nats),
        }
    }
}

impl Serving {
    /// Takes no further requests and returns when those in hand are answered.
    pub async fn drain(self) {
        match self {
            Self::Local(serving) => serving.drain().await,
            Self::Nats(serving) => serving.drain().await,
        }
    }
}

fn read_reply<R: Rpc>(response: &Response) -> Result<R::Reply, CallError> {
    match response.status {
        Status::Answered => match wire::decode::<Result<R::Reply, Refusal>>(&response.payload) {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(refusal)) => Err(CallError::Refused(refusal)),
            Err(error) => {
                tracing::error!(subject = R::SUBJECT, %error, "a reply cannot be read");
                Err(CallError::Unreadable)
            }
        },
        Status::Overloaded => Err(CallError::Overloaded),
        Status::Expired => Err(CallError::Timeout),
        // A refusal outside the payload is for those who asked in JSON.
        Status::Unreadable | Status::Refused { .. } => Err(CallError::Unreadable),
        Status::Unavailable => Err(CallError::Unavailable),
        Status::Fault => Err(CallError::Fault),
    }
}
