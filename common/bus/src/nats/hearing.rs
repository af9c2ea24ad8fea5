//! Whether this process is reached. A server that drops a subscription without a word, or lets nothing through any
//! more, is noticed by a message to oneself every few seconds. What the server forbids it says ([`forbidden`]).
//!
//! [`forbidden`]: super::forbidden

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State;
use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::inbox::Inbox;

/// Messages to oneself at the start: what the server has said before the first one arrives is heard by another task,
/// which has done so when the next one does.
const FIRST: usize = 2;
/// How long each of them may take.
const FIRST_TIMEOUT: Duration = Duration::from_secs(1);
/// How often one is sent, how long it may take, and how many may be missed one after the other. Together they
/// are above what a busy machine takes.
const ASK_EVERY: Duration = Duration::from_secs(2);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_MISSED: u32 = 3;

/// What is known of it. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Hearing {
    is_deaf: Arc<AtomicBool>,
}

impl Hearing {
    /// Whether messages have arrived lately, as far as anybody has looked.
    pub(super) fn is_good(&self) -> bool {
        !self.is_deaf.load(Ordering::Relaxed)
    }
}

/// Waits for the first messages to oneself. What the server has to say of earlier subscriptions comes before their
/// end.
pub(super) async fn await_first_look(client: &Client, inbox: &Inbox) {
    for _ in 0..FIRST {
        // Without an answer there is nothing to know yet.
        reaches_itself(client, inbox, FIRST_TIMEOUT).await;
    }
}

/// Sends to oneself again and again, without end, and notes what comes of it.
pub(super) async fn ask(client: &Client, inbox: &Inbox, hearing: &Hearing) {
    let is_deaf = &hearing.is_deaf;
    let (mut missed, mut heard) = (0, inbox.heard());
    loop {
        sleep(ASK_EVERY).await;
        let is_reached = reaches_itself(client, inbox, ANSWER_TIMEOUT).await;
        // Whatever else has arrived since the last one shows the same.
        let before = std::mem::replace(&mut heard, inbox.heard());
        if is_reached || heard != before {
            missed = 0;
            if is_deaf.swap(false, Ordering::Relaxed) {
                tracing::info!("messages from the bus reach this process again");
            }
            continue;
        }
        // A connection that is lost is noticed and told elsewhere.
        missed = if is_connected(client) { missed + 1 } else { 0 };
        if missed >= MAX_MISSED && !is_deaf.swap(true, Ordering::Relaxed) {
            tracing::error!(
                "the bus is connected and brings no message to this process: it is not ready. Its user has to be allowed \
                 to hear its inbox, _INBOX_USER.>, and to send to itself there, to _INBOX_USER.*.self"
            );
        }
    }
}

/// Whether a message to oneself arrives.
async fn reaches_itself(client: &Client, inbox: &Inbox, within: Duration) -> bool {
    if !is_connected(client) {
        return false;
    }
    let trip = async {
        let mut echoes = inbox.echoes();
        let is_sent = client.publish(inbox.own(), Bytes::new()).await.is_ok();
        is_sent && echoes.changed().await.is_ok()
    };
    timeout(within, trip).await.unwrap_or(false)
}

fn is_connected(client: &Client) -> bool {
    client.connection_state() == State::Connected
}
