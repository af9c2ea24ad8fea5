//! How authorities are asked: many questions in one message, as a member where the answer is to be
//! remembered.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::time::Duration;

use futures_util::future::try_join_all;
use latchkey_bus::{Bus, Context, RequestId};
use latchkey_contract::authority::Authority;
use latchkey_contract::lease::{MemberId, MemberResult, ReadAt};
use latchkey_contract::{CallError, Principal, Refusal, Rpc, Verdict, Verdicts};
use latchkey_runtime::batch::{AskError, BatchClient, Work};

use crate::forms::OfForm;
use crate::intern::Interner;
use crate::remembered::Remembered;

/// Batches under way at most, of each kind: the second goes while the first is late, or when there is
/// enough for another.
const IN_FLIGHT: usize = 4;
/// Questions that wait or are under way at most, of each kind.
const MAX_WAITING: usize = 4_096;
/// What the log of a batch says in place of a request's id: a batch is many requests'.
const BATCH_ID: &str = "batch";

/// What an authority answers about one credential.
pub(crate) type Answer = MemberResult<(ReadAt, Verdict<Remembered>)>;

/// Asks an authority.
pub(crate) struct AskAuthority<A> {
    bus: Bus,
    /// What those were granted who were asked about.
    granted: Interner,
    authority: PhantomData<fn() -> A>,
}

impl<A: Authority> AskAuthority<A> {
    pub(crate) fn on(bus: Bus) -> Self {
        Self { bus, granted: Interner::default(), authority: PhantomData }
    }
}

impl<A: OfForm> Work for AskAuthority<A> {
    type Item = (A::Question, Option<MemberId>);
    type Answer = Result<Answer, CallError>;
    type Error = CallError;
    const MAX_WEIGHT: usize = A::MAX_WEIGHT;
    const IN_FLIGHT: usize = IN_FLIGHT;
    const MAX_WAITING: usize = MAX_WAITING;

    fn weight((question, _): &Self::Item) -> usize {
        A::weight(question)
    }

    async fn answer(&self, items: Vec<Self::Item>) -> Result<Vec<Self::Answer>, Self::Error> {
        self.apart(items).await
    }
}

/// Asks one question, together with whatever else waits.
///
/// # Errors
/// [`CallError`] where nobody could say.
pub(crate) async fn ask<W>(asker: &BatchClient<W>, item: W::Item) -> Result<Answer, CallError>
where
    W: Work<Answer = Result<Answer, CallError>, Error = CallError>,
{
    asker.ask(item).await.unwrap_or_else(|error| {
        Err(match error {
            AskError::Failed(error) => error,
            AskError::Overloaded => CallError::Overloaded,
            AskError::Gone => CallError::Fault,
        })
    })
}

impl<A: OfForm> AskAuthority<A> {
    /// Asks the questions of each asker in a message of its own: an answer that was given to nobody, or to
    /// another member, says nothing of this one's membership, and may not be remembered under it. Mostly
    /// there is one asker.
    async fn apart(
        &self,
        items: Vec<(A::Question, Option<MemberId>)>,
    ) -> Result<Vec<Result<Answer, CallError>>, CallError> {
        let mut askers: BTreeMap<_, (Vec<usize>, Vec<A::Question>)> = BTreeMap::new();
        for (place, (item, member)) in items.into_iter().enumerate() {
            let (places, items) = askers.entry(member).or_default();
            places.push(place);
            items.push(item);
        }
        let asking = askers.into_iter().map(|(member, (places, items))| async move {
            let answers = self.in_parts(items, member).await?;
            Ok::<_, CallError>(places.into_iter().zip(answers).collect::<Vec<_>>())
        });
        let mut answers = try_join_all(asking).await?.concat();
        answers.sort_unstable_by_key(|(place, _)| *place);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }

    /// Asks all of one asker's in one message, and in halves where the answer takes more than one: of a key with many
    /// scopes it is long. A single one always fits.
    async fn in_parts(
        &self,
        questions: Vec<A::Question>,
        member: Option<MemberId>,
    ) -> Result<Vec<Result<Answer, CallError>>, CallError> {
        let mut answers = Vec::with_capacity(questions.len());
        let mut parts = vec![questions];
        while let Some(part) = parts.pop() {
            let (count, asked) = (part.len(), A::verify(part, member));
            match self.bus.call(&batch(A::Verify::TIMEOUT), &asked).await {
                Err(CallError::Refused(Refusal::Invalid(_))) if count > 1 => {
                    let mut first = A::questions(asked);
                    parts.push(first.split_off(count / 2));
                    parts.push(first);
                }
                said => answers.extend(self.answers(said?, count)?),
            }
        }
        Ok(answers)
    }

    /// One answer for each of `count` questions, in their order. An authority that answers another number of
    /// questions than it was asked has answered none. What it could not judge is one asker's matter, and no other's.
    fn answers(
        &self,
        standing: MemberResult<Verdicts<A>>,
        count: usize,
    ) -> Result<Vec<Result<Answer, CallError>>, CallError> {
        let MemberResult::Member(Verdicts { read_at, verdicts, .. }) = standing else {
            return Ok(vec![Ok(MemberResult::NotMember); count]);
        };
        if verdicts.len() != count {
            return Err(CallError::Unreadable);
        }
        let answer = |verdict: Option<Verdict<Principal>>| {
            let verdict = verdict.ok_or(CallError::Unavailable)?;
            let known = |principal| Remembered::shared(principal, &self.granted);
            Ok(MemberResult::Member((read_at, verdict.map(known))))
        };
        Ok(verdicts.into_iter().map(answer).collect())
    }
}

fn batch(timeout: Duration) -> Context {
    Context::new(RequestId::new(BATCH_ID), timeout)
}

#[cfg(test)]
mod tests {
    use super::*;

    use latchkey_bus::Routes;
    use latchkey_contract::identity::IdentityAuthority;
    use latchkey_contract::keys::{KeysAuthority, VerifyKeys};
    use latchkey_contract::lease::{Epoch, Revision};
    use latchkey_contract::{CredentialHash, Secret};

    #[tokio::test]
    async fn nobody_is_answered_on_the_strength_of_another_s_question() {
        let (here, gone) = (Some(MemberId([1; 16])), Some(MemberId([2; 16])));
        let read_at = ReadAt { epoch: Epoch::default(), revision: Revision(7) };
        let bus = Bus::local();
        let routes = Routes::new("keys", "0.0.0", "").on::<VerifyKeys, _, _>(
            move |_, ask: VerifyKeys| async move {
                let verdict = |hash: &CredentialHash| match hash.0[0] {
                    0..4 => Some(Verdict::Unknown),
                    4 => None,
                    _ => Some(Verdict::Revoked),
                };
                let verdicts = ask.hashes.iter().map(verdict).collect();
                let is_known = ask.member != gone;
                let standing = MemberResult::Member(Verdicts::in_part(read_at, verdicts));
                Ok(if is_known { standing } else { MemberResult::NotMember })
            },
        );
        let _serving = bus.serve(routes).await.unwrap();
        let askers = [here, gone, None, here, None, gone, here];
        let items =
            askers.into_iter().zip(0..).map(|(asker, at)| (CredentialHash([at; 32]), asker));
        let answers = AskAuthority::<KeysAuthority>::on(bus).answer(items.collect()).await.unwrap();
        let code = |answer: &Result<Answer, CallError>| match answer {
            Ok(MemberResult::Member((_, verdict))) => verdict.code(),
            Ok(MemberResult::NotMember) => "no member",
            Err(CallError::Unavailable) => "not judged",
            Err(error) => panic!("{error}"),
        };
        let codes: Vec<_> = answers.iter().map(code).collect();
        let expected =
            ["unknown", "no member", "unknown", "unknown", "not judged", "no member", "revoked"];
        assert_eq!(codes, expected);
    }

    #[tokio::test]
    async fn an_authority_that_answers_another_number_of_questions_has_answered_none() {
        for (count, is_answered) in [(1, false), (2, true), (3, false)] {
            let read_at = ReadAt { epoch: Epoch::default(), revision: Revision(7) };
            let bus = Bus::local();
            let answer = move |_, _| async move {
                let verdicts = vec![Verdict::Unknown; count];
                Ok(MemberResult::Member(Verdicts::new(read_at, verdicts)))
            };
            let routes = Routes::new("keys", "0.0.0", "").on::<VerifyKeys, _, _>(answer);
            let _serving = bus.serve(routes).await.unwrap();
            let items = [1, 2].map(|at| (CredentialHash([at; 32]), None));
            let asked = AskAuthority::<KeysAuthority>::on(bus).answer(items.into()).await;
            assert_eq!(asked.is_ok(), is_answered, "{count}");
            assert!(is_answered || matches!(asked, Err(CallError::Unreadable)));
        }
    }

    #[tokio::test]
    async fn what_is_too_long_for_one_message_is_asked_in_parts_and_keeps_its_order() {
        use latchkey_contract::FieldError;

        for most in [1, 2, 3, 100] {
            let read_at = ReadAt { epoch: Epoch::default(), revision: Revision(7) };
            let bus = Bus::local();
            let answer = move |_, ask: VerifyKeys| async move {
                if ask.hashes.len() > most {
                    return Err(Refusal::Invalid(vec![FieldError::new("", "is too long")]).into());
                }
                let verdict = |hash: &CredentialHash| {
                    if hash.0[0].is_multiple_of(2) { Verdict::Unknown } else { Verdict::Revoked }
                };
                let verdicts = ask.hashes.iter().map(verdict).collect();
                Ok(MemberResult::Member(Verdicts::new(read_at, verdicts)))
            };
            let routes = Routes::new("keys", "0.0.0", "").on::<VerifyKeys, _, _>(answer);
            let _serving = bus.serve(routes).await.unwrap();
            let items = (0..7).map(|at| (CredentialHash([at; 32]), None)).collect();
            let asked = AskAuthority::<KeysAuthority>::on(bus).answer(items).await.unwrap();
            let codes: Vec<_> = asked
                .iter()
                .map(|answer| match answer {
                    Ok(MemberResult::Member((_, verdict))) => verdict.code(),
                    other => panic!("{other:?}"),
                })
                .collect();
            let expected: Vec<_> = ["unknown", "revoked"].into_iter().cycle().take(7).collect();
            assert_eq!(codes, expected, "{most}");
        }
    }

    #[test]
    fn a_question_weighs_what_its_authority_says() {
        let token = Secret::new("t".repeat(4_000));
        assert_eq!(AskAuthority::<IdentityAuthority>::weight(&(token, None)), 4_000);
    }
}
