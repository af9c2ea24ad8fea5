//! Listens to the bus of a cluster as nobody of ours does, and sends again what it has heard: messages that
//! are doubled, or come late.

use std::time::Duration;

use async_nats::{Client, HeaderMap, Message, Subscriber};
use futures_util::StreamExt;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use crate::nemesis::Dice;
use crate::unique;

/// Bound on whatever is waited for.
const SOON: Duration = Duration::from_mins(1);
/// Every request to our services.
const REQUESTS: [&str; 2] = ["v1.identity.>", "v1.keys.>"];
/// Marks what an [`Echo`] has sent.
const MARK: &str = "Latchkey-Test-Echo";
/// One in so many commands is sent again, and one in so many of what is asked all the time.
const COMMANDS: usize = 5;
const QUESTIONS: usize = 200;
const OFTEN: [&str; 7] = ["verify", "join", "renew", "leave", "uses", "ready", "telling"];
/// How much later, at least and at most, in milliseconds.
const LATER: (usize, usize) = (100, 4_000);
/// Messages that wait to be sent again at most.
const MAX_WAITING: usize = 200;

/// Hears requests to some subjects.
pub struct Tap {
    client: Client,
    heard: Subscriber,
}

/// Sends commands again, some time later, until it is dropped.
pub struct Echo(AbortHandle);

impl Tap {
    /// Hears everything of `pattern`.
    pub async fn on(url: &str, pattern: &str) -> Self {
        let client = async_nats::connect(url).await.expect("connect to NATS");
        let heard = client.subscribe(pattern.to_owned()).await.expect("subscribe");
        client.flush().await.expect("the server knows");
        Self { client, heard }
    }

    /// The next request.
    pub async fn next(&mut self) -> Message {
        let next = timeout(SOON, self.heard.next()).await;
        next.expect("a request in time").expect("a subscription")
    }

    /// Every request to these subjects that the server has had so far. `marker` is a subject of the pattern
    /// that nobody serves.
    pub async fn so_far(&mut self, marker: &str) -> Vec<Message> {
        self.client.publish(marker.to_owned(), "".into()).await.expect("publish");
        let mut all = Vec::new();
        loop {
            let message = self.next().await;
            if message.subject.as_str() == marker {
                return all;
            }
            all.push(message);
        }
    }

    /// Sends a request again as the user who has sent it, and waits until it is answered.
    pub async fn again(&self, message: &Message) {
        let headers = message.headers.clone().unwrap_or_default();
        let (subject, payload) = (message.subject.clone(), message.payload.clone());
        let user = message.reply.as_deref().and_then(|reply| reply.split('.').next());
        let inbox = format!("{}.{}", user.expect("a request"), unique("again"));
        let mut answer = self.client.subscribe(inbox.clone()).await.expect("subscribe");
        let sent = self.client.publish_with_reply_and_headers(subject, inbox, headers, payload);
        sent.await.expect("publish");
        timeout(SOON, answer.next()).await.expect("an answer in time").expect("an answer");
    }

    /// Hears the answer to a request.
    pub async fn answer(&self, message: &Message) -> Tap {
        let reply = message.reply.clone().expect("a request");
        let heard = self.client.subscribe(reply).await.expect("subscribe");
        self.client.flush().await.expect("the server knows");
        Tap { client: self.client.clone(), heard }
    }
}

impl Echo {
    /// Hears everything on this bus from now on.
    pub async fn start(url: &str, dice: Dice) -> Self {
        let client = async_nats::connect(url).await.expect("connect to NATS");
        let mut heard = Vec::new();
        for pattern in REQUESTS {
            heard.push(client.subscribe(pattern).await.expect("subscribe"));
        }
        let heard = futures_util::stream::select_all(heard);
        Self(tokio::spawn(echo(client, heard, dice)).abort_handle())
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn echo(
    client: Client,
    mut heard: impl futures_util::Stream<Item = Message> + Unpin,
    mut dice: Dice,
) {
    let mut waiting = JoinSet::new();
    while let Some(message) = heard.next().await {
        while waiting.try_join_next().is_some() {}
        let mut headers = message.headers.clone().unwrap_or_default();
        let is_often = message.subject.split('.').any(|token| OFTEN.contains(&token));
        let one_in = if is_often { QUESTIONS } else { COMMANDS };
        let again = headers.get(MARK).is_none() && dice.below(one_in) == 0;
        let (Some(reply), true) = (message.reply.clone(), again && waiting.len() < MAX_WAITING)
        else {
            continue;
        };
        headers.insert(MARK, unique("echo"));
        let later = LATER.0 + dice.below(LATER.1 - LATER.0);
        let later = Duration::from_millis(later as u64);
        let client = client.clone();
        waiting.spawn(async move {
            tokio::time::sleep(later).await;
            send(&client, message, reply, headers).await;
        });
    }
}

/// A bus that is away loses it.
async fn send(client: &Client, message: Message, reply: async_nats::Subject, headers: HeaderMap) {
    let Message { subject, payload, .. } = message;
    drop(client.publish_with_reply_and_headers(subject, reply, headers, payload).await);
}
