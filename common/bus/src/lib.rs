//! Carries a request to whoever serves its subject.
//!
//! Services and the edge hold a [`Bus`] and do not know which kind: both kinds carry the same
//! encoded bytes under the same limits with the same headers.
//!
//! ```text
//! caller -> Bus::call -> retry -> negotiation -> envelope -> local | nats -> Limit -> Routes (who asks, who acts) -> handler
//! ```

pub mod config;
pub mod endpoint;
pub mod envelope;
pub mod faults;
pub mod limit;
pub mod local;
pub mod nats;
pub mod routes;
pub mod topic;

mod felling;
mod negotiation;
mod observe;
mod resource;
mod retry;
mod subscriber;

use std::time::Duration;

use bytes::Bytes;
use latchkey_contract::wire::{self, Contracts, MAX_MESSAGE, WireError};
use latchkey_contract::{CallError, FieldError, Refusal, Retry, Rpc};
use latchkey_runtime::Child;
use tokio::time::Instant;

use negotiation::Negotiation;
use retry::Attempts;

pub use config::Connecting;
pub use endpoint::endpoint;
pub use envelope::{Context, Response, Status};
pub use latchkey_contract::RequestId;
pub use limit::Limit;
pub use local::Local;
pub use nats::{Nats, NatsOptions};
pub use routes::{Routes, with};
pub use topic::{Ended, MessageHandler, Subscription, listener};

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
    SubjectTaken(&'static str),
}

/// What came of a call.
#[derive(Debug)]
pub struct Called<T> {
    /// What the last attempt came to.
    pub outcome: Result<T, CallError>,
    /// Whether certainly none of the attempts has done anything, or will.
    pub is_undone: bool,
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

    /// Whether the way is open, everything that was subscribed to may be heard, and messages arrive.
    #[must_use]
    pub fn hears(&self) -> bool {
        match self {
            Self::Local(_) => true,
            Self::Nats(nats) => nats.hears(),
        }
    }

    /// Waits, at most two seconds, until what the server has to say of subscriptions so far has been said. From then on
    /// the way is tried every few seconds: [`Self::hears`] says whether messages arrive.
    pub async fn await_first_look(&self) {
        if let Self::Nats(nats) = self {
            nats.await_first_look().await;
        }
    }

    /// What the bus keeps up while a service runs, for its supervisor: first of all children.
    #[must_use]
    pub fn upkeep(&self) -> Vec<Child> {
        match self {
            Self::Local(_) => Vec::new(),
            Self::Nats(nats) => nats.upkeep(),
        }
    }

    /// The tests' own: ends the task that serves a subject, hears a pattern, or is called `inbox` or `hearing`, as a
    /// fault in it would.
    #[cfg(debug_assertions)]
    pub fn fell(&self, task: &str) {
        if let Self::Nats(nats) = self {
            nats.felling.fell(task);
        }
    }

    /// Who this process is on the bus.
    #[must_use]
    pub fn user(&self) -> &str {
        match self {
            Self::Local(local) => local.user(),
            Self::Nats(nats) => nats.user(),
        }
    }

    /// The same bus as `user` has it, where parts of one process are users of their own. Over NATS each process is the
    /// user that it has connected as.
    #[must_use]
    pub fn as_user(&self, user: &str) -> Self {
        match self {
            Self::Local(local) => Self::Local(Local { user: user.into(), ..local.clone() }),
            Self::Nats(nats) => Self::Nats(nats.clone()),
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
        self.call_by(R::RETRY, context, request).await.outcome
    }

    /// The same, for whoever has to know whether something may have been done all the same: one of the attempts before
    /// the last may have been carried out, now or later, whatever the last one was told.
    pub async fn call_telling<R: Rpc>(&self, context: &Context, request: &R) -> Called<R::Reply> {
        self.call_by(R::RETRY, context, request).await
    }

    /// The same, where one attempt of a request that may be repeated waits for `attempt`: for those
    /// whose answer is known to take as long as the settings say.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn call_waiting<R: Rpc>(
        &self,
        attempt: Duration,
        context: &Context,
        request: &R,
    ) -> Result<R::Reply, CallError> {
        self.call_waiting_telling(attempt, context, request).await.outcome
    }

    /// Both: one attempt waits for `attempt`, and whoever asks learns whether something may have been done all the same.
    pub async fn call_waiting_telling<R: Rpc>(
        &self,
        attempt: Duration,
        context: &Context,
        request: &R,
    ) -> Called<R::Reply> {
        let rule = match R::RETRY {
            Retry::Idempotent(_) => Retry::Idempotent(attempt),
            Retry::Unsent => Retry::Unsent,
        };
        self.call_by(rule, context, request).await
    }

    async fn call_by<R: Rpc>(
        &self,
        rule: Retry,
        context: &Context,
        request: &R,
    ) -> Called<R::Reply> {
        let asking = observe::Asking::begin(self.system(), R::SUBJECT);
        let mut context = context.within(R::TIMEOUT);
        if R::SENDER.is_none() {
            context.caller = None;
        }
        context.trace = asking.parent();
        let mut attempts = Attempts::new(rule);
        loop {
            let attempt = attempts.next(&context);
            match self.ask(&attempt, request).await {
                Err(error) if attempts.again(&context, &error).await => {
                    metrics::counter!(RETRIES).increment(1);
                }
                outcome => {
                    asking.end(&outcome);
                    let is_undone = outcome.as_ref().is_err_and(|error| attempts.is_undone(error));
                    return Called { outcome, is_undone };
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

    /// The contracts that this process reads; it writes the newest of them wherever it is understood.
    #[must_use]
    pub fn contracts(&self) -> Contracts {
        self.negotiation().own()
    }

    fn negotiation(&self) -> &Negotiation {
        match self {
            Self::Local(local) => &local.negotiation,
            Self::Nats(nats) => &nats.negotiation,
        }
    }

    /// One attempt. Where the answerer is of another release it is asked once more, in the greatest number
    /// that both read: it has done nothing yet.
    async fn ask<R: Rpc>(&self, context: &Context, request: &R) -> Result<R::Reply, CallError> {
        let negotiation = self.negotiation();
        let contract = negotiation.begin(R::SUBJECT, Instant::now());
        let response = self.exchange::<R>(context, write(request, contract)?).await?;
        let Some(theirs) = response.reads.filter(|_| response.status == Status::Unreadable) else {
            return self.read::<R>(&response);
        };
        match negotiation.again(R::SUBJECT, contract, theirs, Instant::now()) {
            Some(common) => {
                let response = self.exchange::<R>(context, write(request, common)?).await?;
                self.read::<R>(&response)
            }
            None if theirs.reads(contract) => Err(CallError::Unreadable),
            None => Err(CallError::Incompatible),
        }
    }

    async fn exchange<R: Rpc>(
        &self,
        context: &Context,
        payload: Bytes,
    ) -> Result<Response, CallError> {
        match self {
            Self::Local(local) => local.request(R::SUBJECT, context, payload).await,
            Self::Nats(nats) => nats.request(R::SUBJECT, R::SIGNED, context, payload).await,
        }
    }

    fn read<R: Rpc>(&self, response: &Response) -> Result<R::Reply, CallError> {
        match response.status {
            Status::Answered => self.read_reply::<R>(&response.payload),
            Status::Overloaded => Err(CallError::Overloaded),
            Status::Expired => Err(CallError::Timeout),
            // A refusal outside the payload is for those who asked in JSON.
            Status::Unreadable | Status::Refused { .. } => Err(CallError::Unreadable),
            Status::Unavailable => Err(CallError::Unavailable),
            Status::Forbidden => Err(CallError::Forbidden),
            Status::Fault => Err(CallError::Fault),
        }
    }

    fn read_reply<R: Rpc>(&self, payload: &[u8]) -> Result<R::Reply, CallError> {
        let (subject, negotiation) = (R::SUBJECT, self.negotiation());
        match wire::decode::<Result<R::Reply, Refusal>>(payload, negotiation.own()) {
            Ok((_, Ok(reply))) => Ok(reply),
            Ok((_, Err(refusal))) => Err(CallError::Refused(refusal)),
            Err(WireError::Contract { found, .. }) => {
                negotiation.foreign_reply(subject, found, Instant::now());
                Err(CallError::Incompatible)
            }
            Err(error @ WireError::Untranslatable(_)) => {
                tracing::warn!(subject, %error, "a reply of the previous release cannot be translated");
                Err(CallError::Incompatible)
            }
            Err(error) => {
                tracing::error!(subject, %error, "a reply cannot be read");
                Err(CallError::Unreadable)
            }
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
    /// Returns where a subject is not served any more though nobody has stopped it, and which one.
    pub async fn ended(&mut self) -> &'static str {
        match self {
            Self::Local(_) => std::future::pending().await,
            Self::Nats(serving) => serving.ended().await,
        }
    }

    /// Takes no further requests and returns when those in hand are answered.
    pub async fn drain(self) {
        match self {
            Self::Local(serving) => serving.drain().await,
            Self::Nats(serving) => serving.drain().await,
        }
    }
}

fn write<R: Rpc>(request: &R, contract: u16) -> Result<Bytes, CallError> {
    wire::encode(request, contract).map(Bytes::from).map_err(|error| {
        let subject = R::SUBJECT;
        if let WireError::Untranslatable(_) = error {
            tracing::warn!(subject, %error, "a request cannot be translated for the previous release");
            return CallError::Incompatible;
        }
        if let WireError::TooLarge(bytes) = error {
            let message = format!("is of {bytes} bytes, where a message holds {MAX_MESSAGE}");
            return CallError::Refused(Refusal::Invalid(vec![FieldError::new("", message)]));
        }
        tracing::error!(subject, %error, "a request cannot be encoded");
        CallError::Unreadable
    })
}

#[cfg(test)]
mod tests;
