//! How one kind of credential is decided: from memory where the lease allows it, and by asking its
//! authority where not. Concurrent questions about one credential are asked once.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::Shared;
use latchkey_bus::Context;
use latchkey_contract::lease::{MemberId, Position, ReadAt, Standing};
use latchkey_contract::{CallError, CredentialHash, Timestamp, UserId, Verdict};
use latchkey_revocation::{Found, Moment, Question, Reply, Ruling, Taken, Weigh, Why};
use latchkey_runtime::batch::{AskError, Asker, Work};
use latchkey_runtime::metrics::at_scrape;
use latchkey_runtime::{Address, Clock};
use metrics::{Counter, counter, gauge};
use tokio::time::timeout_at;

use crate::check::Check;
use crate::lease::{Memory, Message};

/// Questions about one credential in one request at most; then nobody can say, and the answer is 503.
const MAX_QUESTIONS: usize = 4;

/// Who a credential stands for, as far as the memory is concerned.
pub trait Principal: Clone + Weigh + Send + Sync + 'static {
    /// Whose credential it is.
    fn owner(&self) -> UserId;
    /// When it ends by itself.
    fn expires_at(&self) -> Timestamp;
    /// Whether invalidations name the credential as it was presented.
    fn may_be_remembered(&self) -> bool;
}

/// What an authority answers about one credential.
pub type Answer<P> = Standing<(ReadAt, Verdict<P>)>;

type Flight<P> = Shared<Pin<Box<dyn Future<Output = Result<Flown<P>, CallError>> + Send>>>;
type Flights<P> = Arc<Mutex<HashMap<CredentialHash, Flight<P>>>>;

/// A question with its answer. Whoever shares it judges it himself.
#[derive(Clone)]
struct Flown<P> {
    question: Question,
    answer: Answer<P>,
}

/// Decides one kind of credential.
pub struct Desk<P, W: Work> {
    memory: Arc<Memory<P>>,
    keeper: Address<Message>,
    asker: Asker<W>,
    flights: Flights<P>,
    clock: Clock,
    check: Arc<Check<P, W>>,
    hits: Counter,
    misses: Counter,
    refused: Counter,
}

impl<P, T, W> Desk<P, W>
where
    P: Principal,
    T: Clone + Send + 'static,
    W: Work<Item = (T, Option<MemberId>), Answer = Answer<P>, Error = CallError>,
{
    /// Decides by `memory`, and by `asker` where that does not know. `kind` is what metrics call it.
    pub fn new(
        kind: &'static str,
        memory: Arc<Memory<P>>,
        keeper: Address<Message>,
        asker: Asker<W>,
        clock: Clock,
    ) -> Self {
        let looked_up = |result: &'static str| counter!("latchkey_cache_lookups_total", "kind" => kind, "result" => result);
        let (hits, misses) = (looked_up("hit"), looked_up("miss"));
        let refused = counter!("latchkey_cache_fills_refused_total", "kind" => kind);
        for counter in [&hits, &misses, &refused] {
            counter.increment(0);
        }
        let seen = Arc::clone(&memory);
        at_scrape(kind, move || {
            let (entries, bytes) = seen.size();
            let float = |number: usize| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
            gauge!("latchkey_cache_entries", "kind" => kind).set(float(entries));
            gauge!("latchkey_cache_bytes", "kind" => kind).set(float(bytes));
        });
        let check =
            Check::new(kind, Arc::clone(&memory), keeper.clone(), asker.clone(), clock.clone());
        let (flights, check) = (Flights::default(), Arc::new(check));
        Self { memory, keeper, asker, flights, clock, check, hits, misses, refused }
    }

    /// The verdict on the credential with this hash; `item` makes what is asked. What is answered is not
    /// older than `least`.
    ///
    /// # Errors
    /// [`CallError`] where nobody could say; then the credential is not accepted.
    pub async fn decide(
        &self,
        context: &Context,
        hash: CredentialHash,
        least: Position,
        item: impl Fn() -> T + Send + Sync,
    ) -> Result<Verdict<P>, CallError> {
        let wall = Timestamp(self.clock.unix_millis());
        if let Some(verdict) = known(self.memory.look(&hash, self.now(), wall, least)) {
            self.hits.increment(1);
            self.check.answered(hash, &verdict, &item);
            return Ok(verdict);
        }
        self.misses.increment(1);
        for _ in 0..MAX_QUESTIONS {
            let Some(question) = self.memory.ask(self.now()) else {
                return self.ask_as_nobody(context, least, item()).await;
            };
            let flown = self.fly(context, hash, question, &item).await?;
            let (read_at, verdict) = match flown.answer {
                Standing::Member(answered) => answered,
                Standing::NotMember => {
                    // Where the keeper is gone, the memory is nobody's before long.
                    let _ = self.keeper.send(Message::Expelled(flown.question.member));
                    return self.ask_as_nobody(context, least, item()).await;
                }
            };
            if read_at.position < least {
                continue;
            }
            if matches!(&verdict, Verdict::Valid(principal) if !principal.may_be_remembered()) {
                return self.ask_as_nobody(context, least, item()).await;
            }
            let reply = Reply { read_at, ruling: ruling(&verdict) };
            let wall = Timestamp(self.clock.unix_millis());
            match self.memory.take(&flown.question, hash, reply, self.now(), wall) {
                Taken::Accept(_) | Taken::Refuse => return Ok(verdict),
                Taken::Again(Why::Expired) => return Ok(Verdict::Expired),
                Taken::Again(Why::OtherEpoch) => {
                    let _ = self.keeper.send(Message::OtherEpoch(read_at.epoch));
                }
                Taken::Again(_) => {}
            }
            self.refused.increment(1);
        }
        Err(CallError::Unavailable)
    }

    /// Who the credential with this hash stands for, where that is remembered as good at `wall`; `item`
    /// makes what is asked.
    #[must_use]
    pub fn remembered(
        &self,
        hash: CredentialHash,
        wall: Timestamp,
        item: impl Fn() -> T,
    ) -> Option<P> {
        match self.memory.look(&hash, self.now(), wall, Position::default()) {
            Found::Valid(principal) => {
                self.hits.increment(1);
                let verdict = Verdict::Valid(principal);
                self.check.answered(hash, &verdict, item);
                verdict.valid()
            }
            Found::Revoked | Found::Unknown | Found::Ask => None,
        }
    }

    fn now(&self) -> Moment {
        Moment(self.clock.lease_nanos())
    }

    /// A question of this request alone, whose answer nobody remembers: it was read after the request
    /// arrived.
    async fn ask_as_nobody(
        &self,
        context: &Context,
        least: Position,
        item: T,
    ) -> Result<Verdict<P>, CallError> {
        match within(context, ask(&self.asker, (item, None))).await? {
            Standing::Member((read_at, _)) if read_at.position < least => {
                Err(CallError::Unavailable)
            }
            Standing::Member((_, verdict)) => Ok(verdict),
            Standing::NotMember => Err(CallError::Unreadable),
        }
    }

    /// The answer to `question`, or to one about the same credential that is under way already.
    async fn fly(
        &self,
        context: &Context,
        hash: CredentialHash,
        question: Question,
        item: impl Fn() -> T + Send + Sync,
    ) -> Result<Flown<P>, CallError> {
        let begin = || {
            let asker = self.asker.clone();
            let item = (item(), Some(question.member));
            let asking = async move { Ok(Flown { question, answer: ask(&asker, item).await? }) };
            let boxed: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(asking);
            boxed.shared()
        };
        let flight = lock(&self.flights).entry(hash).or_insert_with(begin).clone();
        let seat = Seat { flight, hash, flights: Arc::clone(&self.flights) };
        within(context, seat.flight.clone()).await
    }
}

/// One request that waits for a flight. The flight is taken off the table when it has an answer, or
/// when nobody waits for it any more.
struct Seat<P: Principal> {
    flight: Flight<P>,
    hash: CredentialHash,
    flights: Flights<P>,
}

impl<P: Principal> Drop for Seat<P> {
    fn drop(&mut self) {
        /// The seat's own handle, and the table's.
        const LAST: usize = 2;
        let mut flights = lock(&self.flights);
        let is_over = self.flight.peek().is_some();
        let is_last = self.flight.strong_count().is_none_or(|count| count <= LAST);
        let is_mine = flights.get(&self.hash).is_some_and(|at| at.ptr_eq(&self.flight));
        if is_mine && (is_over || is_last) {
            flights.remove(&self.hash);
        }
    }
}

fn lock<P>(flights: &Flights<P>) -> MutexGuard<'_, HashMap<CredentialHash, Flight<P>>> {
    flights.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) async fn ask<W: Work<Error = CallError>>(
    asker: &Asker<W>,
    item: W::Item,
) -> Result<W::Answer, CallError> {
    asker.ask(item).await.map_err(|error| match error {
        AskError::Failed(error) => error,
        AskError::Overloaded => CallError::Overloaded,
        AskError::Gone => CallError::Fault,
    })
}

async fn within<T>(
    context: &Context,
    asking: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    timeout_at(context.deadline, asking).await.unwrap_or(Err(CallError::Timeout))
}

/// The verdict that memory gives, if any.
pub(crate) fn known<P>(found: Found<P>) -> Option<Verdict<P>> {
    match found {
        Found::Valid(principal) => Some(Verdict::Valid(principal)),
        Found::Revoked => Some(Verdict::Revoked),
        Found::Unknown => Some(Verdict::Unknown),
        Found::Ask => None,
    }
}

/// What of a verdict may be remembered.
fn ruling<P: Principal>(verdict: &Verdict<P>) -> Ruling<P> {
    match verdict {
        Verdict::Valid(principal) => Ruling::Valid {
            value: principal.clone(),
            owner: principal.owner(),
            expires_at: principal.expires_at(),
        },
        Verdict::Revoked => Ruling::Revoked,
        Verdict::Unknown => Ruling::Unknown,
        // These can change.
        Verdict::Malformed | Verdict::Expired | Verdict::Inactive => Ruling::NotNow,
    }
}
