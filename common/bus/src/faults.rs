//! What a test does to messages inside one process: services then stand in several replicas side by side,
//! each behind links that delay, lose, double and reorder. A bus without faults pays one comparison.
//!
//! What holds of a message here holds over NATS: it may come late and twice, its deadline counts from
//! its receipt, and an answer may come when nobody waits for it any more.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use latchkey_contract::{CallError, RequestId};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};

use crate::envelope::{Context, Response};
use crate::local::endpoint::Endpoint;
use crate::subscriber::MessageHandler;

/// Says what becomes of each message.
pub trait Faults: Send + Sync {
    /// How a request is delivered: once, late, twice, or not at all. The asker takes the first answer.
    fn request(&self, sent: &Sent<'_>) -> Vec<Delivery>;

    /// How late each copy of a message that is published comes to one of its listeners: one copy that is
    /// not late is how it should be, and none is a message that is lost.
    fn publication(&self, subject: &str, from: u32, to: u32) -> Vec<Duration>;
}

/// A request on its way.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    /// Where it is sent.
    pub subject: &'static str,
    /// The HTTP request that it is part of.
    pub request_id: &'a RequestId,
    /// The process that sends it.
    pub from: u32,
    /// The processes that serve the subject, at least one.
    pub to: &'a [u32],
}

/// One copy of a request.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    /// Which of [`Sent::to`] gets it.
    pub to: usize,
    /// How late.
    pub late: Duration,
    /// How late its answer is; `None` where that is lost.
    pub answer: Option<Duration>,
}

/// Sends a request of the process `from` on its way to those who serve its subject, and waits for the first answer.
pub(crate) async fn carry(
    faults: &dyn Faults,
    from: u32,
    replicas: Vec<Endpoint>,
    subject: &'static str,
    context: &Context,
    payload: Bytes,
) -> Result<Response, CallError> {
    if replicas.is_empty() {
        return Err(CallError::NoResponder);
    }
    let to: Vec<u32> = replicas.iter().map(|replica| replica.process).collect();
    let request_id = &context.request_id;
    let deliveries = faults.request(&Sent { subject, request_id, from, to: &to });
    // The sender stays here: where every answer is lost, the asker waits for its deadline.
    let (answers, mut answered) = mpsc::channel(deliveries.len().max(1));
    for delivery in deliveries {
        let Some(replica) = replicas.get(delivery.to).cloned() else { continue };
        let (context, payload, answers) = (context.clone(), payload.clone(), answers.clone());
        replica.tasks.clone().spawn(async move {
            if let Some(response) = deliver(replica, delivery, context, payload).await {
                // An asker that gave up has dropped its end: this answer is nobody's.
                drop(answers.send(response).await);
            }
        });
    }
    match timeout_at(context.deadline, answered.recv()).await {
        Ok(Some(response)) => Ok(response),
        Ok(None) | Err(_) => Err(CallError::Timeout),
    }
}

/// Has a replica work on one copy; gives what comes back of it.
async fn deliver(
    replica: Endpoint,
    delivery: Delivery,
    mut context: Context,
    payload: Bytes,
) -> Option<Response> {
    let sent = Instant::now();
    sleep(delivery.late).await;
    context.deadline += sent.elapsed();
    let response = match replica.begin(context, payload) {
        Ok(work) => work.await,
        Err(overloaded) => overloaded,
    };
    sleep(delivery.answer?).await;
    Some(response)
}

/// Tells one listener, each time as late as `copies` says.
pub(crate) fn tell(hear: &MessageHandler, subject: &str, payload: &Bytes, copies: Vec<Duration>) {
    for late in copies {
        if late.is_zero() {
            hear(subject, payload.clone());
            continue;
        }
        let (hear, subject, payload) = (Arc::clone(hear), subject.to_owned(), payload.clone());
        #[expect(clippy::disallowed_methods, reason = "a message on its way, in tests alone")]
        tokio::spawn(async move {
            sleep(late).await;
            hear(&subject, payload);
        });
    }
}

#[cfg(test)]
mod tests;
