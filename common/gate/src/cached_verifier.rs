//! How one form of credential is decided: from memory where the lease allows it, and by asking its
//! authority where not. Concurrent questions about one credential are asked once.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::FutureExt;
use futures_util::future::Shared;
use latchkey_bus::Context;
use latchkey_contract::lease::{MemberResult, Revision};
use latchkey_contract::{CallError, CredentialHash, Timestamp, Verdict};
use latchkey_revocation::{Moment, Question, RejectReason, Reply};
use latchkey_runtime::batch::BatchClient;
use latchkey_runtime::lock::lock_or_begin_anew;
use latchkey_runtime::metrics::register_gauge;
use latchkey_runtime::{Address, Clock};
use metrics::{Counter, counter, gauge};
use tokio::time::timeout_at;

use crate::ask::{Answer, AskAuthority, ask};
use crate::check::Check;
use crate::forms::{CredentialText, OfForm};
use crate::lease::{Memory, Message};
use crate::remembered::{Judged, Remembered};
use crate::requirement::Unmet;
use crate::verification_metrics::VerificationMetrics;

/// Questions about one credential in one request at most; then nobody can say, and the answer is 503.
const MAX_QUESTIONS: usize = 4;

type InFlight = Shared<Pin<Box<dyn Future<Output = Result<Response, CallError>> + Send>>>;
type Questions = Arc<Mutex<HashMap<CredentialHash, InFlight>>>;

/// A question with its answer. Whoever shares it judges it himself.
#[derive(Clone)]
struct Response {
    question: Question,
    answer: Answer,
}

/// What a look at memory and at a text alone says of a credential.
#[derive(Debug)]
pub enum Looked {
    /// All that there is to say.
    Known(Verdict<Remembered>),
    /// Nothing: its authority has to be asked about what has this name.
    Unknown(Name),
}

/// What a text is called that nothing is remembered of: what [`Gate::ask`](crate::Gate::ask) takes with the same
/// text, so that it is hashed once.
#[derive(Clone, Copy, Debug)]
pub struct Name(pub(crate) CredentialHash);

/// Decides one form of credential, whose authority is `A`.
pub(crate) struct CachedVerifier<A: OfForm> {
    memory: Arc<Memory>,
    keeper: Address<Message>,
    asker: BatchClient<AskAuthority<A>>,
    questions: Questions,
    clock: Clock,
    check: Arc<Check<AskAuthority<A>>>,
    verifications: VerificationMetrics,
    hits: Counter,
    misses: Counter,
    refused: Counter,
}

impl<A: OfForm> CachedVerifier<A> {
    /// Decides by `memory`, and by `asker` where that does not know.
    pub(crate) fn new(
        memory: Arc<Memory>,
        keeper: Address<Message>,
        asker: BatchClient<AskAuthority<A>>,
        clock: Clock,
    ) -> Self {
        let kind = A::KIND;
        let looked_up = |result: &'static str| counter!("latchkey_cache_lookups_total", "kind" => kind, "result" => result);
        let (hits, misses) = (looked_up("hit"), looked_up("miss"));
        let refused = counter!("latchkey_cache_fills_refused_total", "kind" => kind);
        for counter in [&hits, &misses, &refused] {
            counter.increment(0);
        }
        let seen = Arc::clone(&memory);
        register_gauge(kind, move || {
            let (entries, bytes) = seen.size();
            let float = |number: usize| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
            gauge!("latchkey_cache_entries", "kind" => kind).set(float(entries));
            gauge!("latchkey_cache_bytes", "kind" => kind).set(float(bytes));
        });
        let check =
            Check::new(kind, Arc::clone(&memory), keeper.clone(), asker.clone(), clock.clone());
        let (questions, check) = (Questions::default(), Arc::new(check));
        let verifications = VerificationMetrics::of(kind);
        Self {
            memory,
            keeper,
            asker,
            questions,
            clock,
            check,
            verifications,
            hits,
            misses,
            refused,
        }
    }

    /// The verdict on a text. What is answered is not older than `min_revision`.
    ///
    /// # Errors
    /// [`CallError`] where nobody could say; then the credential is not accepted.
    pub(crate) async fn decide(
        &self,
        context: &Context,
        credential: CredentialText<'_>,
        min_revision: Revision,
    ) -> Result<Verdict<Remembered>, CallError> {
        let Some(name) = credential.name() else { return Ok(self.malformed()) };
        let wall = Timestamp(self.clock.unix_millis());
        match self.recall(credential, name, min_revision, wall) {
            Some(verdict) => Ok(verdict),
            None => self.ask(context, credential, name, min_revision).await,
        }
    }

    /// The verdict on a text that is remembered at `wall`, or seen from the text alone.
    pub(crate) fn look(&self, credential: CredentialText<'_>, wall: Timestamp) -> Looked {
        let Some(name) = credential.remembered_name() else {
            return Looked::Known(self.malformed());
        };
        match self.recall(credential, name, Revision::default(), wall) {
            Some(verdict) => Looked::Known(verdict),
            None if credential.has_form() => Looked::Unknown(Name(name)),
            None => Looked::Known(self.malformed()),
        }
    }

    /// The verdict on a text with this name, which is not remembered. What is answered is not older than
    /// `min_revision`.
    ///
    /// # Errors
    /// [`CallError`] where nobody could say; then the credential is not accepted.
    pub(crate) async fn ask(
        &self,
        context: &Context,
        credential: CredentialText<'_>,
        name: CredentialHash,
        min_revision: Revision,
    ) -> Result<Verdict<Remembered>, CallError> {
        debug_assert_eq!(credential.name(), Some(name), "a text is asked about by its own name");
        self.misses.increment(1);
        let verdict = self.judge(context, credential.text, name, min_revision).await;
        self.verifications.count(&verdict);
        verdict
    }

    /// Counts what a request of a good credential came to.
    pub(crate) fn judged(&self, judged: Result<(), Unmet>) {
        self.verifications.count_judged(judged);
    }

    fn malformed(&self) -> Verdict<Remembered> {
        self.verifications.count_refused(&Verdict::<Remembered>::Malformed);
        Verdict::Malformed
    }

    /// What is remembered under this name.
    fn recall(
        &self,
        credential: CredentialText<'_>,
        name: CredentialHash,
        min_revision: Revision,
        wall: Timestamp,
    ) -> Option<Verdict<Remembered>> {
        let Judged(verdict) = self.memory.look(&name, self.now(), wall, min_revision)?;
        self.hits.increment(1);
        self.check.answered(name, &verdict, || A::question(credential.text, name));
        self.verifications.count_refused(&verdict);
        Some(verdict)
    }

    async fn judge(
        &self,
        context: &Context,
        text: &str,
        hash: CredentialHash,
        min_revision: Revision,
    ) -> Result<Verdict<Remembered>, CallError> {
        let item = || A::question(text, hash);
        for _ in 0..MAX_QUESTIONS {
            let Some(question) = self.memory.ask(self.now()) else {
                return self.ask_as_nobody(context, min_revision, item()).await;
            };
            let response = self.share(context, hash, question, item).await?;
            let (read_at, verdict) = match response.answer {
                MemberResult::Member(answered) => answered,
                MemberResult::NotMember => {
                    // Where the keeper is gone, the memory is nobody's before long.
                    let _ = self.keeper.send(Message::Expelled(response.question.member));
                    return self.ask_as_nobody(context, min_revision, item()).await;
                }
            };
            if read_at.revision < min_revision {
                continue;
            }
            if matches!(&verdict, Verdict::Valid(principal) if !principal.is_named_by_its_text()) {
                return self.ask_as_nobody(context, min_revision, item()).await;
            }
            let reply = Reply { read_at, verdict: Judged(verdict.clone()) };
            let wall = Timestamp(self.clock.unix_millis());
            match self.memory.take(&response.question, hash, reply, self.now(), wall) {
                Ok(()) => return Ok(verdict),
                Err(RejectReason::Expired) => return Ok(Verdict::Expired(None)),
                Err(RejectReason::OtherEpoch) => {
                    let _ = self.keeper.send(Message::OtherEpoch(read_at.epoch));
                }
                Err(_) => {}
            }
            self.refused.increment(1);
        }
        Err(CallError::Unavailable)
    }

    /// The tests' own: leaves the memory as a panic in the middle of a change would.
    #[cfg(debug_assertions)]
    pub(crate) fn tear(&self) {
        self.memory.tear();
    }

    /// Whether there is a lease, under which answers come from memory.
    pub(crate) fn is_live(&self) -> bool {
        self.memory.is_live(self.now())
    }

    fn now(&self) -> Moment {
        Moment(self.clock.lease_nanos())
    }

    /// A question of this request alone, whose answer nobody remembers: it was read after the request
    /// arrived.
    async fn ask_as_nobody(
        &self,
        context: &Context,
        min_revision: Revision,
        item: A::Question,
    ) -> Result<Verdict<Remembered>, CallError> {
        match within(context, ask(&self.asker, (item, None))).await? {
            MemberResult::Member((read_at, _)) if read_at.revision < min_revision => {
                Err(CallError::Unavailable)
            }
            MemberResult::Member((_, verdict)) => Ok(verdict),
            MemberResult::NotMember => Err(CallError::Unreadable),
        }
    }

    /// The answer to `question`, or to one about the same credential that is under way already.
    async fn share(
        &self,
        context: &Context,
        hash: CredentialHash,
        question: Question,
        item: impl Fn() -> A::Question + Send + Sync,
    ) -> Result<Response, CallError> {
        let begin = || {
            let asker = self.asker.clone();
            let item = (item(), Some(question.member));
            let asking = async move { Ok(Response { question, answer: ask(&asker, item).await? }) };
            let boxed: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(asking);
            boxed.shared()
        };
        let in_flight = lock(&self.questions).entry(hash).or_insert_with(begin).clone();
        let waiter = WaiterGuard { in_flight, hash, questions: Arc::clone(&self.questions) };
        within(context, waiter.in_flight.clone()).await
    }
}

/// One request that waits for a question. The question is taken off the table when it has an answer, or
/// when nobody waits for it any more.
struct WaiterGuard {
    in_flight: InFlight,
    hash: CredentialHash,
    questions: Questions,
}

impl Drop for WaiterGuard {
    fn drop(&mut self) {
        /// The waiter's own handle, and the table's.
        const LAST: usize = 2;
        let mut questions = lock(&self.questions);
        let is_over = self.in_flight.peek().is_some();
        let is_last = self.in_flight.strong_count().is_none_or(|count| count <= LAST);
        let is_mine = questions.get(&self.hash).is_some_and(|at| at.ptr_eq(&self.in_flight));
        if is_mine && (is_over || is_last) {
            questions.remove(&self.hash);
        }
    }
}

fn lock(questions: &Questions) -> MutexGuard<'_, HashMap<CredentialHash, InFlight>> {
    // Who waits for a question holds it, and gets its answer.
    lock_or_begin_anew(questions, "questions under way", HashMap::clear)
}

async fn within<T>(
    context: &Context,
    asking: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    timeout_at(context.deadline, asking).await.unwrap_or(Err(CallError::Timeout))
}

#[cfg(test)]
mod tests;
