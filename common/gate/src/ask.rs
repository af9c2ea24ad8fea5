//! How authorities are asked: many questions in one message, as a member where the answer is to be
//! remembered.

use std::time::Duration;

use latchkey_bus::{Bus, Context, RequestId};
use latchkey_contract::identity::VerifyTokens;
use latchkey_contract::keys::VerifyKeys;
use latchkey_contract::lease::{MemberId, Standing};
use latchkey_contract::wire::MAX_BATCH;
use latchkey_contract::{
    CallError, CredentialHash, KeyPrincipal, Rpc, Secret, UserPrincipal, Verdict, Verdicts,
};
use latchkey_runtime::batch::Work;

use crate::desk::Answer;
use crate::remembered::Remembered;

/// Messages under way at most, of each kind: the second goes while the first is late, or when there is
/// enough for another.
const IN_FLIGHT: usize = 4;
/// Questions that wait or are under way at most, of each kind.
const MAX_WAITING: usize = 4_096;
/// Bytes of the tokens in one question at most; a message holds 64 KiB.
const MAX_TOKEN_BYTES: usize = 48 * 1_024;
/// What the log of a batch says in place of a request's id: a batch is many requests'.
const BATCH_ID: &str = "batch";

/// Asks the key service.
pub(crate) struct AskKeys {
    pub(crate) bus: Bus,
}

/// Asks the identity service.
pub(crate) struct AskTokens {
    pub(crate) bus: Bus,
}

impl Work for AskKeys {
    type Item = (CredentialHash, Option<MemberId>);
    type Answer = Answer<Remembered<KeyPrincipal>>;
    type Error = CallError;
    const MAX_WEIGHT: usize = MAX_BATCH;
    const IN_FLIGHT: usize = IN_FLIGHT;
    const MAX_WAITING: usize = MAX_WAITING;

    fn weight(_: &Self::Item) -> usize {
        1
    }

    async fn answer(&self, items: Vec<Self::Item>) -> Result<Vec<Self::Answer>, Self::Error> {
        let (hashes, members): (Vec<_>, Vec<_>) = items.into_iter().unzip();
        let member = asker(&members);
        let ask = VerifyKeys { hashes, member };
        let standing = self.bus.call(&batch(VerifyKeys::TIMEOUT), &ask).await?;
        answers(standing, &members)
    }
}

impl Work for AskTokens {
    type Item = (Secret, Option<MemberId>);
    type Answer = Answer<Remembered<UserPrincipal>>;
    type Error = CallError;
    const MAX_WEIGHT: usize = MAX_TOKEN_BYTES;
    const IN_FLIGHT: usize = IN_FLIGHT;
    const MAX_WAITING: usize = MAX_WAITING;

    /// So that neither the bytes nor the number of tokens in a batch pass their bounds.
    fn weight((token, _): &Self::Item) -> usize {
        token.expose().len().max(MAX_TOKEN_BYTES.div_ceil(MAX_BATCH))
    }

    async fn answer(&self, items: Vec<Self::Item>) -> Result<Vec<Self::Answer>, Self::Error> {
        let (tokens, members): (Vec<_>, Vec<_>) = items.into_iter().unzip();
        let member = asker(&members);
        let ask = VerifyTokens { tokens, member };
        let standing = self.bus.call(&batch(VerifyTokens::TIMEOUT), &ask).await?;
        answers(standing, &members)
    }
}

/// As whom a batch is asked: as nobody where any of its questions is, for such an answer is right for all
/// but not remembered; else as the member that asked last.
fn asker(members: &[Option<MemberId>]) -> Option<MemberId> {
    if members.contains(&None) { None } else { members.last().copied().flatten() }
}

/// One answer for each question, in the order of the questions. An authority that answers another
/// number of questions than it was asked has answered none.
fn answers<P>(
    standing: Standing<Verdicts<P>>,
    members: &[Option<MemberId>],
) -> Result<Vec<Answer<Remembered<P>>>, CallError> {
    let Standing::Member(Verdicts { read_at, verdicts }) = standing else {
        return Ok(members.iter().map(|_| Standing::NotMember).collect());
    };
    if verdicts.len() != members.len() {
        return Err(CallError::Unreadable);
    }
    let answer = |verdict: Verdict<P>| {
        Standing::Member((read_at, verdict.map(|principal| Remembered::new(principal))))
    };
    Ok(verdicts.into_iter().map(answer).collect())
}

fn batch(timeout: Duration) -> Context {
    Context::new(RequestId::new(BATCH_ID), timeout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_of_tokens_stays_below_both_bounds() {
        let shortest = AskTokens::weight(&(Secret::new("a.b.c".to_owned()), None));
        assert!(AskTokens::MAX_WEIGHT / shortest <= MAX_BATCH);
    }
}
