//! How authorities are asked: many questions in one message, as a member where the answer is to be
//! remembered. The desks' askers do it.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use futures_util::future::try_join_all;
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

/// Batches under way at most, of each kind: the second goes while the first is late, or when there is
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
        apart(items, |hashes, member| async move {
            let ask = VerifyKeys { hashes, member };
            self.bus.call(&batch(VerifyKeys::TIMEOUT), &ask).await
        })
        .await
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
        apart(items, |tokens, member| async move {
            let ask = VerifyTokens { tokens, member };
            self.bus.call(&batch(VerifyTokens::TIMEOUT), &ask).await
        })
        .await
    }
}

/// Asks the questions of each asker in a message of its own: an answer that was given to nobody, or to
/// another member, says nothing of this one's membership, and may not be remembered under it. Mostly
/// there is one asker.
async fn apart<T, P, F>(
    items: Vec<(T, Option<MemberId>)>,
    ask: impl Fn(Vec<T>, Option<MemberId>) -> F + Send,
) -> Result<Vec<Answer<Remembered<P>>>, CallError>
where
    T: Send,
    P: Send + Sync,
    F: Future<Output = Result<Standing<Verdicts<P>>, CallError>> + Send,
{
    let mut askers: BTreeMap<_, (Vec<usize>, Vec<T>)> = BTreeMap::new();
    for (place, (item, member)) in items.into_iter().enumerate() {
        let (places, items) = askers.entry(member).or_default();
        places.push(place);
        items.push(item);
    }
    let asking = askers.into_iter().map(|(member, (places, items))| {
        let asked = ask(items, member);
        async move {
            let standing = asked.await?;
            Ok(places.iter().copied().zip(answers(standing, places.len())?).collect::<Vec<_>>())
        }
    });
    let mut answers = try_join_all(asking).await?.concat();
    answers.sort_unstable_by_key(|(place, _)| *place);
    Ok(answers.into_iter().map(|(_, answer)| answer).collect())
}

/// One answer for each of `count` questions, in their order. An authority that answers another number of
/// questions than it was asked has answered none.
fn answers<P>(
    standing: Standing<Verdicts<P>>,
    count: usize,
) -> Result<Vec<Answer<Remembered<P>>>, CallError> {
    let Standing::Member(Verdicts { read_at, verdicts }) = standing else {
        return Ok(vec![Standing::NotMember; count]);
    };
    if verdicts.len() != count {
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

    use latchkey_bus::Routes;
    use latchkey_contract::lease::{Epoch, Position, ReadAt};

    #[tokio::test]
    async fn nobody_is_answered_on_the_strength_of_another_s_question() {
        let (here, gone) = (Some(MemberId([1; 16])), Some(MemberId([2; 16])));
        let read_at = ReadAt { epoch: Epoch::default(), position: Position(7) };
        let bus = Bus::local();
        let routes = Routes::new("keys", "0.0.0", "").on::<VerifyKeys, _, _>(
            move |_, ask: VerifyKeys| async move {
                let verdict = |hash: &CredentialHash| match hash.0[0] {
                    0..4 => Verdict::Unknown,
                    _ => Verdict::Revoked,
                };
                let verdicts = ask.hashes.iter().map(verdict).collect();
                let is_known = ask.member != gone;
                let standing = Standing::Member(Verdicts { read_at, verdicts });
                Ok(if is_known { standing } else { Standing::NotMember })
            },
        );
        let _serving = bus.serve(routes).await.unwrap();
        let askers = [here, gone, None, here, None, gone, here];
        let items =
            askers.into_iter().zip(0..).map(|(asker, at)| (CredentialHash([at; 32]), asker));
        let answers = AskKeys { bus }.answer(items.collect()).await.unwrap();
        let code = |answer: &Answer<_>| match answer {
            Standing::Member((_, verdict)) => verdict.code(),
            Standing::NotMember => "no member",
        };
        let codes: Vec<_> = answers.iter().map(code).collect();
        let expected =
            ["unknown", "no member", "unknown", "unknown", "revoked", "no member", "revoked"];
        assert_eq!(codes, expected);
    }

    #[test]
    fn a_batch_of_tokens_stays_below_both_bounds() {
        let shortest = AskTokens::weight(&(Secret::new("a.b.c".to_owned()), None));
        assert!(AskTokens::MAX_WEIGHT / shortest <= MAX_BATCH);
    }
}
