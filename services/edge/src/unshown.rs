//! Keys on their way to a client who has not been shown them yet. A key that nobody will be shown is revoked, whoever
//! waits for that: its text is no use to anybody, and it does not stand in the list as a good one.
//! `api/keys/create.rs` makes keys by it, and `api/keys/rotate.rs` such that replace another.

use std::mem;
use std::slice;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use latchkey_bus::{Bus, Context};
use latchkey_contract::keys::{
    Grace, IssueKey, IssueKeys, IssuedKey, KeyTarget, RevokeKey, RotateKey, RotatedKey,
};
use latchkey_contract::{CallError, KeyId, Refusal, Rpc, UserId};
use latchkey_runtime::periodic::PeriodicTask;
use tokio::time::Instant;

use crate::acting;
use crate::name::NAME;
use crate::problem::Problem;

/// Keys that wait to be revoked at most; further ones stay.
const MAX_WAITING: usize = 1_024;
/// Keys that are revoked at the same time at most.
const AT_ONCE: usize = 16;
/// How long it is tried to revoke one, and the pause behind the first try; it is doubled behind each further one, so
/// that a key service which stands still is not given more to do.
const PATIENCE: Duration = Duration::from_mins(1);
const FIRST_PAUSE: Duration = Duration::from_secs(2);

/// Revokes the keys that nobody was shown.
pub(crate) struct UnshownKeys {
    bus: Bus,
    /// How long one attempt at a revoke waits.
    attempt: Duration,
    waiting: Mutex<Vec<Waiting>>,
}

/// A key that is made for a client. Dropped before [`shown`](Self::shown), it is revoked: the client has gone, or
/// the request took too long. Where the client may ask again, it stays: the next request gets it.
pub(crate) struct Making {
    keys: Arc<UnshownKeys>,
    unshown: Option<Unshown>,
    /// Whether nothing was asked for yet, or nothing has come of it, and nothing will.
    is_idle: bool,
    /// Whether something may have come of an earlier try.
    may_be_done: bool,
    /// Whether its client may ask for it again.
    is_kept: bool,
}

/// What makes a key.
#[derive(Clone)]
pub(crate) enum Ask {
    /// A new one.
    Issue(IssueKey),
    /// Several new ones.
    IssueMany(IssueKeys),
    /// One in another's place.
    Rotate(RotateKey),
}

/// A key that somebody asked for and nobody was shown.
struct Unshown {
    /// The request that asks for it, by whoever does.
    context: Context,
    ask: Ask,
    /// Which are left to be revoked; `None` where it is not known whether they were made.
    made: Option<Vec<KeyId>>,
}

/// One that waits to be revoked.
struct Waiting {
    unshown: Unshown,
    /// When it is tried next, and how long after that once more.
    due: Instant,
    pause: Duration,
    /// When it is given up.
    until: Instant,
}

impl UnshownKeys {
    /// None so far. One attempt at a revoke waits for `attempt`.
    pub(crate) fn new(bus: Bus, attempt: Duration) -> Self {
        Self { bus, attempt, waiting: Mutex::default() }
    }

    /// Begins to make a key for whoever acts. What asks for it has a seed.
    pub(crate) fn making(self: &Arc<Self>, context: &Context, ask: impl Into<Ask>) -> Making {
        let unshown = Unshown { context: context.clone(), ask: ask.into(), made: None };
        let (keys, is_kept) = (Arc::clone(self), unshown.ask.is_repeatable());
        Making { keys, unshown: Some(unshown), is_idle: true, may_be_done: false, is_kept }
    }

    fn push(&self, one: Waiting) {
        let mut waiting = self.waiting();
        if waiting.len() < MAX_WAITING {
            waiting.push(one);
        } else {
            drop(waiting);
            one.unshown.stays();
        }
    }

    /// Those that are due.
    fn take(&self, now: Instant) -> Vec<Waiting> {
        let mut waiting = self.waiting();
        let (due, later) = mem::take(&mut *waiting).into_iter().partition(|one| one.due <= now);
        *waiting = later;
        due
    }

    /// Revokes keys. Where it is not known whether they were made, they are made, by the same seed, so that a message that
    /// is late finds them revoked; but another key is not replaced for that: then none is made any more. Those that are
    /// not revoked yet are left.
    async fn revoke(&self, unshown: &mut Unshown) -> Result<(), CallError> {
        let Unshown { context, ask, made } = unshown;
        let keys = match made.take() {
            Some(keys) => keys,
            None => self.again(context, ask).await?,
        };
        let (owner, context) = (ask.owner(), &*context);
        let revoke = |key: KeyId| async move {
            let revoke = RevokeKey::of(owner, key, false);
            // This one nobody has asked for.
            let context = anew(context, RevokeKey::TIMEOUT);
            let context = context.acting(acting::itself(context.request_id.clone()));
            let revoked = self.bus.call_waiting(self.attempt, &context, &revoke).await;
            revoked.err().map(|error| (key, error))
        };
        let failed: Vec<(KeyId, CallError)> = stream::iter(keys)
            .map(revoke)
            .buffer_unordered(AT_ONCE)
            .filter_map(std::future::ready)
            .collect()
            .await;
        let error = failed.first().map(|(_, error)| error.clone());
        *made = Some(failed.into_iter().map(|(key, _)| key).collect());
        error.map_or(Ok(()), Err)
    }

    /// The same command once more, of whoever gave it: which keys it makes, or has made. One that is refused may still be
    /// carried out, by an attempt that is not over.
    async fn again(&self, context: &Context, ask: &Ask) -> Result<Vec<KeyId>, CallError> {
        match ask {
            Ask::Issue(request) => {
                let context = anew(context, IssueKey::TIMEOUT);
                Ok(ids(slice::from_ref(&self.bus.call(&context, request).await?)))
            }
            Ask::IssueMany(request) => {
                let context = anew(context, IssueKeys::TIMEOUT);
                Ok(ids(&self.bus.call(&context, request).await?))
            }
            Ask::Rotate(request) => {
                Ok(self.withdraw(context, request).await?.into_iter().collect())
            }
        }
    }

    /// Sees to it that a rotation is done or never will be; the key that it has made.
    async fn withdraw(
        &self,
        context: &Context,
        request: &RotateKey,
    ) -> Result<Option<KeyId>, CallError> {
        let target = KeyTarget { version: KeyTarget::NEVER, ..request.target.clone() };
        let request =
            RotateKey { target, grace: Grace::Seconds(0), wait: false, ..request.clone() };
        let context = anew(context, RotateKey::TIMEOUT);
        let context = context.acting(acting::itself(context.request_id.clone()));
        match self.bus.call_waiting(self.attempt, &context, &request).await {
            Ok(rotated) => Ok(ids(slice::from_ref(&rotated.issued)).first().copied()),
            Err(CallError::Refused(Refusal::Stale | Refusal::KeyNotFound)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "nothing panics while a list of times is taken apart"
    )]
    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PeriodicTask for UnshownKeys {
    const PAUSE: Duration = Duration::from_secs(1);
    const AT_THE_END: bool = true;

    async fn run(&self) {
        let revoke = async |mut one: Waiting| {
            if self.revoke(&mut one.unshown).await.is_ok() {
                tracing::info!(service = NAME, request_id = %one.unshown.context.request_id, "a new key is revoked because its answer did not reach the client");
                return;
            }
            let (due, pause) = (Instant::now() + one.pause, one.pause * 2);
            if due < one.until {
                self.push(Waiting { due, pause, ..one });
            } else {
                one.unshown.stays();
            }
        };
        let due = self.take(Instant::now());
        stream::iter(due).for_each_concurrent(AT_ONCE, revoke).await;
    }
}

impl Making {
    /// Makes the key.
    ///
    /// # Errors
    /// [`CallError`] where there is none, or nobody knows: then it is revoked if there is one.
    pub(crate) async fn make(&mut self) -> Result<IssuedKey, CallError> {
        let Some(Unshown { context, ask: Ask::Issue(request), made }) = &mut self.unshown else {
            return Err(CallError::Fault);
        };
        self.is_idle = false;
        let answer = if self.is_kept {
            // A repeat waits for what was done to the key since.
            self.keys.bus.call_waiting_telling(self.keys.attempt, context, request).await
        } else {
            self.keys.bus.call_telling(context, request).await
        };
        *made = answer.outcome.as_ref().ok().map(|issued| ids(slice::from_ref(issued)));
        self.asked(answer.is_undone);
        answer.outcome
    }

    /// Makes several keys.
    ///
    /// # Errors
    /// As for [`make`](Self::make).
    pub(crate) async fn make_many(&mut self) -> Result<Vec<IssuedKey>, CallError> {
        let Some(Unshown { context, ask: Ask::IssueMany(request), made }) = &mut self.unshown
        else {
            return Err(CallError::Fault);
        };
        self.is_idle = false;
        let answer = if self.is_kept {
            self.keys.bus.call_waiting_telling(self.keys.attempt, context, request).await
        } else {
            self.keys.bus.call_telling(context, request).await
        };
        *made = answer.outcome.as_ref().ok().map(|issued| ids(issued));
        self.asked(answer.is_undone);
        answer.outcome
    }

    /// Replaces a key of which whoever decides has read this version. Once more where something newer came: of all tries
    /// one is carried out at most.
    ///
    /// # Errors
    /// As for [`make`](Self::make).
    pub(crate) async fn replace(&mut self, version: i64) -> Result<RotatedKey, CallError> {
        let Some(Unshown { context, ask: Ask::Rotate(request), made }) = &mut self.unshown else {
            return Err(CallError::Fault);
        };
        self.is_idle = false;
        request.target.version = version;
        let keys = &self.keys;
        let answer = keys.bus.call_waiting_telling(keys.attempt, context, request).await;
        let of = |rotated: &RotatedKey| ids(slice::from_ref(&rotated.issued));
        *made = answer.outcome.as_ref().ok().map(of);
        self.asked(answer.is_undone);
        answer.outcome
    }

    /// An answer came. If nothing was done, the key may be there all the same, or come yet, by an earlier try of which only
    /// the answer was lost on the way.
    fn asked(&mut self, is_undone: bool) {
        self.may_be_done |= !is_undone;
        self.is_idle = !self.may_be_done;
    }

    /// The key goes to its client.
    pub(crate) fn shown(mut self) {
        self.unshown = None;
    }

    /// Nobody is shown the key now. Where it is only that nobody could say whether whoever acts is still good, and its
    /// client may ask again, it waits for that: then they are judged anew, and another try may have been shown it meanwhile.
    /// Else it is revoked.
    pub(crate) async fn withheld(self, problem: &Problem) {
        if !(self.is_kept && problem.is_unavailable()) {
            self.revoke().await;
        }
    }

    /// Nobody will be shown the key: it is revoked now or, where that cannot be, as soon as it can.
    pub(crate) async fn revoke(mut self) {
        self.is_kept = false;
        let Some(unshown) = self.unshown.as_mut().filter(|_| !self.is_idle) else { return };
        if self.keys.revoke(unshown).await.is_ok() {
            self.unshown = None;
        }
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        if let Some(unshown) = self.unshown.take().filter(|_| !self.is_idle && !self.is_kept) {
            let due = Instant::now();
            let until = due + PATIENCE;
            self.keys.push(Waiting { unshown, due, pause: FIRST_PAUSE, until });
        }
    }
}

/// Those that were made for this request: others may have been shown before.
fn ids(made: &[IssuedKey]) -> Vec<KeyId> {
    made.iter().filter(|issued| !issued.is_replayed).map(|issued| issued.object.id).collect()
}

/// The same request with time of its own: its client does not wait any more.
fn anew(context: &Context, timeout: Duration) -> Context {
    let caller = context.caller.clone();
    Context { caller, ..Context::new(context.request_id.clone(), timeout) }
}

impl Ask {
    fn is_repeatable(&self) -> bool {
        match self {
            Self::Issue(request) => request.idempotency.is_some(),
            Self::IssueMany(request) => request.idempotency.is_some(),
            Self::Rotate(request) => request.idempotency.is_some(),
        }
    }

    fn owner(&self) -> UserId {
        match self {
            Self::Issue(request) => request.owner,
            Self::IssueMany(request) => request.owner,
            Self::Rotate(request) => request.target.owner,
        }
    }
}

impl From<IssueKey> for Ask {
    fn from(request: IssueKey) -> Self {
        Self::Issue(request)
    }
}

impl From<IssueKeys> for Ask {
    fn from(request: IssueKeys) -> Self {
        Self::IssueMany(request)
    }
}

impl From<RotateKey> for Ask {
    fn from(request: RotateKey) -> Self {
        Self::Rotate(request)
    }
}

impl Unshown {
    fn stays(&self) {
        tracing::warn!(service = NAME, request_id = %self.context.request_id, "a new key whose answer did not reach the client cannot be revoked: it may stay in its owner's list");
    }
}

#[cfg(test)]
mod tests;
