//! What was acknowledged while there was traffic, and whether it is there.

use std::time::Duration;

use crate::account::PASSWORD;
use crate::{Answer, Api, poll};

/// How long passing failures are borne with when everything should work again.
const PATIENCE: Duration = Duration::from_mins(1);

/// What was acknowledged.
#[derive(Debug, Default)]
pub(super) struct Journal {
    pub(super) users: Vec<String>,
    pub(super) keys: Vec<Given>,
    pub(super) tokens: Vec<Given>,
}

/// A key or a token. From the moment its end is asked for until that is acknowledged, either is right.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) text: String,
    pub(super) asked: bool,
    pub(super) ended: bool,
}

impl Given {
    pub(super) fn new(id: i64, name: &str, text: &str) -> Self {
        Self { id, name: name.to_owned(), text: text.to_owned(), asked: false, ended: false }
    }
}

impl Journal {
    pub(super) fn count(&self) -> usize {
        let ended = self.keys.iter().chain(&self.tokens).filter(|given| given.ended).count();
        self.users.len() + self.keys.len() + self.tokens.len() + ended
    }

    /// What is not as it was acknowledged.
    pub(super) async fn lost(&self, api: &Api) -> Vec<String> {
        let mut lost = Vec::new();
        for name in &self.users {
            let answer = settled(|| api.log_in(name, PASSWORD)).await;
            if answer.status != 200 {
                lost.push(format!("user {name}: {} {}", answer.status, answer.text()));
            }
        }
        for key in &self.keys {
            let answer = settled(|| api.as_service(&key.text)).await;
            key.compare("key", &answer, &mut lost);
        }
        for token in &self.tokens {
            let answer = settled(|| api.as_user(&token.text)).await;
            token.compare("session", &answer, &mut lost);
        }
        lost
    }
}

impl Given {
    fn compare(&self, what: &str, answer: &Answer, lost: &mut Vec<String>) {
        let right = match (self.ended, self.asked) {
            (true, _) => answer.status == 401,
            (false, true) => [200, 401].contains(&answer.status),
            (false, false) => answer.status == 200,
        };
        if !right {
            let (id, ended) = (self.id, self.ended);
            lost.push(format!("{what} {id}, ended {ended}: {} {}", answer.status, answer.text()));
        }
    }
}

/// An answer that is no passing failure.
async fn settled<F>(ask: impl Fn() -> F + Send + Sync) -> Answer
where
    F: Future<Output = Answer> + Send,
{
    let once = async || {
        let answer = ask().await;
        (![429, 503].contains(&answer.status)).then_some(answer)
    };
    poll::until_async("an answer after full service", PATIENCE, once).await
}
