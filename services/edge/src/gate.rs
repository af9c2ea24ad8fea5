//! Who a credential stands for: the edge's one way to know.
//!
//! A malformed credential is refused here without asking anyone. Everything else is asked of its
//! authority, together with whatever else queued up while the last question was under way.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use latchkey_bus::{Bus, Context, RequestId};
use latchkey_contract::identity::{MAX_TOKEN, VerifyTokens};
use latchkey_contract::keys::VerifyKeys;
use latchkey_contract::wire::MAX_BATCH;
use latchkey_contract::{
    ApiKey, CallError, CredentialHash, KeyPrincipal, Rpc, Secret, Timestamp, UserPrincipal, Verdict,
};
use latchkey_runtime::batch::{AskError, Asker, Work};
use latchkey_runtime::{Child, Clock};
use metrics::{Counter, counter};
use tokio::time::timeout_at;

use crate::Deps;
use crate::usage::UsageReporter;

/// Messages under way at most, of each kind: as cheap as one, and a slow one holds nobody up.
const IN_FLIGHT: usize = 4;
/// Questions that wait or are under way at most, of each kind.
const MAX_WAITING: usize = 4_096;
/// Bytes of the tokens in one question at most; a message holds 64 KiB.
const MAX_TOKEN_BYTES: usize = 48 * 1_024;
/// What the log of a batch says in place of a request's id: a batch is many requests'.
const BATCH_ID: &str = "batch";

/// The gate.
pub struct Gate {
    keys: Asker<AskKeys>,
    tokens: Asker<AskTokens>,
    usage: Arc<UsageReporter>,
    clock: Clock,
    judged: [Judged; 2],
}

/// Counts verdicts on one kind of credential, by outcome; the handles are made when they are needed.
struct Judged {
    kind: &'static str,
    counters: [OnceLock<Counter>; OUTCOMES.len()],
}

/// Every [`Verdict::code`], and what stands for having none.
const OUTCOMES: [&str; 7] =
    ["valid", "malformed", "unknown", "revoked", "expired", "inactive", NO_VERDICT];
/// What metrics call a credential that nobody could judge.
const NO_VERDICT: &str = "no_verdict";

impl Gate {
    /// The gate, and the actors that ask for it.
    pub(crate) fn new(deps: &Deps, usage: Arc<UsageReporter>) -> (Self, [Child; 2]) {
        let (keys, keys_child) = Asker::new("ask keys", AskKeys { bus: deps.bus.clone() });
        let (tokens, tokens_child) = Asker::new("ask tokens", AskTokens { bus: deps.bus.clone() });
        let judged = [Judged::of("key"), Judged::of("token")];
        let gate = Self { keys, tokens, usage, clock: deps.clock.clone(), judged };
        (gate, [keys_child, tokens_child])
    }

    /// Who an API key stands for.
    ///
    /// # Errors
    /// [`CallError`] where nobody could say; then the key is not accepted.
    pub async fn key(
        &self,
        context: &Context,
        text: &str,
    ) -> Result<Verdict<KeyPrincipal>, CallError> {
        let judged = self.judge_key(context, text).await;
        self.judged[0].count(&judged);
        judged
    }

    async fn judge_key(
        &self,
        context: &Context,
        text: &str,
    ) -> Result<Verdict<KeyPrincipal>, CallError> {
        let Ok(key) = ApiKey::parse(text) else { return Ok(Verdict::Malformed) };
        let verdict = ask(&self.keys, context, key.hash()).await?;
        if let Verdict::Valid(principal) = &verdict {
            self.usage.note(principal.key, Timestamp(self.clock.unix_millis()));
        }
        Ok(verdict)
    }

    /// Who an access token stands for.
    ///
    /// # Errors
    /// [`CallError`] where nobody could say; then the token is not accepted.
    pub async fn token(
        &self,
        context: &Context,
        text: &str,
    ) -> Result<Verdict<UserPrincipal>, CallError> {
        let judged = if is_compact_jws(text) {
            ask(&self.tokens, context, Secret::new(text.to_owned())).await
        } else {
            Ok(Verdict::Malformed)
        };
        self.judged[1].count(&judged);
        judged
    }
}

impl Judged {
    fn of(kind: &'static str) -> Self {
        Self { kind, counters: Default::default() }
    }

    fn count<P>(&self, judged: &Result<Verdict<P>, CallError>) {
        let outcome = judged.as_ref().map_or(NO_VERDICT, Verdict::code);
        let place = OUTCOMES.iter().position(|known| *known == outcome);
        if let Some(counter) = place.and_then(|place| self.counters.get(place)) {
            let labels = [("kind", self.kind), ("outcome", outcome)];
            counter.get_or_init(|| counter!("latchkey_verifications_total", &labels)).increment(1);
        }
    }
}

/// Three parts of base64url without padding (RFC 7515 §7.1), and not too long to look at.
fn is_compact_jws(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    text.len() <= MAX_TOKEN && text.split('.').count() == 3 && text.split('.').all(is_part)
}

async fn ask<W: Work<Error = CallError>>(
    asker: &Asker<W>,
    context: &Context,
    item: W::Item,
) -> Result<W::Answer, CallError> {
    match timeout_at(context.deadline, asker.ask(item)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(AskError::Failed(error))) => Err(error),
        Ok(Err(AskError::Overloaded)) => Err(CallError::Overloaded),
        Ok(Err(AskError::Gone)) => Err(CallError::Fault),
        Err(_late) => Err(CallError::Timeout),
    }
}

/// Asks the key service.
struct AskKeys {
    bus: Bus,
}

/// Asks the identity service.
struct AskTokens {
    bus: Bus,
}

impl Work for AskKeys {
    type Item = CredentialHash;
    type Answer = Verdict<KeyPrincipal>;
    type Error = CallError;
    const MAX_WEIGHT: usize = MAX_BATCH;
    const IN_FLIGHT: usize = IN_FLIGHT;
    const MAX_WAITING: usize = MAX_WAITING;

    fn weight(_: &Self::Item) -> usize {
        1
    }

    async fn answer(&self, hashes: Vec<Self::Item>) -> Result<Vec<Self::Answer>, Self::Error> {
        let expected = hashes.len();
        let verdicts = self.bus.call(&batch(VerifyKeys::TIMEOUT), &VerifyKeys { hashes }).await?;
        complete(verdicts, expected)
    }
}

impl Work for AskTokens {
    type Item = Secret;
    type Answer = Verdict<UserPrincipal>;
    type Error = CallError;
    const MAX_WEIGHT: usize = MAX_TOKEN_BYTES;
    const IN_FLIGHT: usize = IN_FLIGHT;
    const MAX_WAITING: usize = MAX_WAITING;

    /// So that neither the bytes nor the number of tokens in a batch pass their bounds.
    fn weight(token: &Self::Item) -> usize {
        token.expose().len().max(MAX_TOKEN_BYTES.div_ceil(MAX_BATCH))
    }

    async fn answer(&self, tokens: Vec<Self::Item>) -> Result<Vec<Self::Answer>, Self::Error> {
        let expected = tokens.len();
        let ask = VerifyTokens { tokens };
        let verdicts = self.bus.call(&batch(VerifyTokens::TIMEOUT), &ask).await?;
        complete(verdicts, expected)
    }
}

fn batch(timeout: Duration) -> Context {
    Context::new(RequestId::new(BATCH_ID), timeout)
}

/// An authority that answers another number of questions than it was asked has answered none.
fn complete<T>(answers: Vec<T>, expected: usize) -> Result<Vec<T>, CallError> {
    if answers.len() == expected { Ok(answers) } else { Err(CallError::Unreadable) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_token_is_seen_without_asking() {
        assert!(is_compact_jws("eyJh.eyJz.c2ln"));
        let long = format!("a.b.{}", "c".repeat(MAX_TOKEN));
        for text in ["", "a.b", "a.b.c.d", "a..c", "a.b.", "a.b=.c", "a.b.c ", "a.b.ç", &long] {
            assert!(!is_compact_jws(text), "{text}");
        }
    }

    #[test]
    fn a_batch_of_tokens_stays_below_both_bounds() {
        let shortest = AskTokens::weight(&Secret::new("a.b.c".to_owned()));
        assert!(AskTokens::MAX_WEIGHT / shortest <= MAX_BATCH);
    }
}
