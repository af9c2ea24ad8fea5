//! Tells the key service of accounts that were deactivated or reactivated, and of the scopes of users, until it has
//! confirmed each; and of all anew, where it may not know of them (`telling`).
//!
//! A row of the outbox is written in the transaction that decides. Whoever decided delivers it at once; what is left,
//! after a crash or while the key service is away, is delivered by the [`Carrier`] of one replica at a time. It may be
//! delivered twice, by whoever decided and the carrier or by two carriers of whom one stood still: the key service goes
//! by its revision, a page that is told of is the one that comes next or none, and a row is deleted only as it was told.

use std::collections::HashSet;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use latchkey_bus::{Bus, Context, RequestId};
use latchkey_contract::authority::Receipt;
use latchkey_contract::keys::{SetOwner, Telling};
use latchkey_contract::{CallError, Refusal, Rpc};
use latchkey_runtime::periodic::PeriodicTask;
use latchkey_store::{Db, StoreError};
use metrics::{Gauge, gauge};

use crate::store::outbox::{self as rows, Letter};
use crate::store::owners;
use crate::{NAME, telling};

/// Rows that one run reads at most.
const BATCH: i64 = 100;
/// After so many runs in which the key service does not say how far it was told, the log says so.
const SILENT: u32 = 10;
/// How long it may take to tell of all accounts, before the next run goes on.
const TELLING: Duration = Duration::from_secs(20);

/// Tells the key service one thing, by attempts that wait for `attempt` each, and forgets it once that is confirmed: no edge acts on the old state.
///
/// # Errors
/// [`CallError`] where it is not confirmed: the row stays. [`Refusal::Stale`] says that something newer was told.
pub(crate) async fn deliver(
    db: &Db,
    (bus, attempt): (&Bus, Duration),
    context: &Context,
    letter: &Letter,
) -> Result<Receipt, CallError> {
    let mut told = say(bus, attempt, context, letter).await;
    // It may have to be told of everything first.
    if matches!(told, Err(CallError::Unavailable)) && telling::tell(db, bus, context).await.is_ok()
    {
        told = say(bus, attempt, context, letter).await;
    }
    let receipt = told?;
    if let Err(error) = rows::delivered(db, letter).await {
        tracing::warn!(service = NAME, %error, "a confirmation of the key service cannot be recorded: the key service is told again");
    }
    Ok(receipt)
}

async fn say(
    bus: &Bus,
    attempt: Duration,
    context: &Context,
    letter: &Letter,
) -> Result<Receipt, CallError> {
    match letter {
        Letter::Owner(told) => bus.call_waiting(attempt, context, told).await,
        Letter::DefaultCeiling(told) => bus.call_waiting(attempt, context, told).await,
    }
}

/// Delivers what is left.
pub struct Carrier {
    db: Db,
    bus: Bus,
    /// How long one attempt waits.
    attempt: Duration,
    waiting: Gauge,
    state: Mutex<State>,
}

/// What the run before left.
#[derive(Default)]
struct State {
    /// What waited: whoever decided it has had time to deliver it.
    seen: HashSet<Letter>,
    /// What the key service refused as older than what it knows: told once in the log.
    refused: HashSet<Letter>,
    is_away: bool,
    /// Runs in a row in which the key service did not say how far it was told.
    silent: u32,
}

/// What one run did.
#[derive(Default)]
struct Run {
    delivered: usize,
    failed: Option<CallError>,
}

impl Carrier {
    /// A carrier that has seen nothing.
    #[must_use]
    pub fn new(db: Db, bus: Bus, attempt: Duration) -> Self {
        let waiting = gauge!("latchkey_outbox_waiting", "service" => NAME);
        waiting.set(0.0);
        Self { db, bus, attempt, waiting, state: Mutex::default() }
    }

    async fn carry(&self) -> Result<Run, StoreError> {
        let telling = self.tell_all().await;
        let mut letters = rows::waiting(&self.db, BATCH).await?;
        if let Some(telling) = telling {
            letters = self.forget_told(&telling, letters).await?;
        }
        self.gauge(&letters);
        let before = {
            let mut state = self.state();
            state.refused.retain(|letter| letters.contains(letter));
            mem::replace(&mut state.seen, letters.iter().cloned().collect())
        };
        let mut run = Run::default();
        for letter in letters.iter().filter(|letter| before.contains(letter)) {
            let context = Context::new(RequestId::new("outbox"), SetOwner::TIMEOUT);
            match deliver(&self.db, (&self.bus, self.attempt), &context, letter).await {
                Ok(_) => run.delivered += 1,
                Err(CallError::Refused(Refusal::Stale)) => self.stale(letter),
                Err(error) => {
                    let is_away = error.is_away();
                    run.failed = Some(error);
                    // Each of the others would wait as long in vain. Any other fault is one row's.
                    if is_away {
                        break;
                    }
                }
            }
        }
        Ok(run)
    }

    fn gauge(&self, letters: &[Letter]) {
        self.waiting.set(f64::from(u32::try_from(letters.len()).unwrap_or(u32::MAX)));
    }

    /// Has the key service know of all accounts; how far it does, where that is certain.
    async fn tell_all(&self) -> Option<Telling> {
        let context = Context::new(RequestId::new("telling"), TELLING);
        let told = telling::tell(&self.db, &self.bus, &context).await;
        let mut state = self.state();
        match &told {
            Ok(_) => {
                if mem::take(&mut state.silent) >= SILENT {
                    tracing::info!(
                        service = NAME,
                        "the key service says again which accounts it knows"
                    );
                }
            }
            Err(error) => {
                state.silent = state.silent.saturating_add(1);
                if state.silent == if error.is_expected() { SILENT } else { 1 } {
                    tracing::warn!(service = NAME, %error, "the key service does not say which accounts it knows: after a restore no key is accepted until it does");
                }
            }
        }
        told.ok()
    }

    /// Forgets what is a part of what was told as a whole; the others.
    async fn forget_told(
        &self,
        telling: &Telling,
        letters: Vec<Letter>,
    ) -> Result<Vec<Letter>, StoreError> {
        if letters.is_empty() {
            return Ok(letters);
        }
        // Read after the rows: those of another history are of one that was left.
        let here = owners::revision(&self.db).await?.epoch();
        if !telling.is_complete(here) {
            return Ok(letters);
        }
        let is_told = |letter: &Letter| {
            let (epoch, revision) = letter.at();
            let at = (epoch.timeline, revision);
            epoch.made != here.made || at <= (here.timeline, telling.revision)
        };
        let (told, waiting): (Vec<_>, _) = letters.into_iter().partition(is_told);
        for letter in &told {
            rows::delivered(&self.db, letter).await?;
        }
        Ok(waiting)
    }

    /// Something newer was told. Where its own row is not there, this database is older than it was.
    fn stale(&self, letter: &Letter) {
        if self.state().refused.insert(letter.clone()) {
            let (subject, revision) = (letter.subject(), letter.at().1.0);
            tracing::error!(
                subject,
                revision,
                "the key service knows of something newer than what it is told: was identity's database restored?"
            );
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "each change is one step of one field; what a panic leaves out is told once more"
    )]
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PeriodicTask for Carrier {
    /// A release that lengthens it is robbed of the row by replicas of the release before: to them a hold that is
    /// longer than theirs was stamped before the clock was set back.
    const PAUSE: Duration = Duration::from_secs(1);
    const AT_THE_END: bool = false;

    /// Whoever is cut off from the bus reaches no key service: another replica may.
    fn is_able(&self) -> bool {
        self.bus.hears()
    }

    /// What waits then has been seen by nobody here when this process carries again.
    fn stand_by(&self) {
        self.state().seen.clear();
    }

    /// Every replica says how much waits, whether anybody carries it or not.
    async fn look_on(&self) {
        match rows::waiting(&self.db, BATCH).await {
            Ok(letters) => self.gauge(&letters),
            Err(error) => {
                tracing::debug!(service = NAME, %error, "the number of waiting decisions cannot be read");
            }
        }
    }

    async fn run(&self) {
        let outcome = self.carry().await.map_err(|error| error.to_string());
        let failed = match &outcome {
            Ok(Run { failed: Some(error), .. }) => Some(error.to_string()),
            Ok(_) => None,
            Err(error) => Some(error.clone()),
        };
        let delivered = outcome.map_or(0, |run| run.delivered);
        let mut state = self.state();
        match failed {
            Some(error) if !mem::replace(&mut state.is_away, true) => {
                tracing::warn!(service = NAME, %error, "the key service cannot be told of changed accounts: it is told later");
            }
            None if state.is_away && (delivered > 0 || state.seen.is_empty()) => {
                state.is_away = false;
                tracing::info!(service = NAME, "the key service was told of every account");
            }
            _ => {}
        }
    }
}
