//! What the identity and the key service share as authorities on their credentials: they count changes,
//! know their members, answer leases, and see every revoke to its end.
//!
//! The rules are cores without I/O in `latchkey-revocation`; here they meet the database and the bus.
//!
//! ```text
//! handler -> record! in its transaction -> Authority::confirm -> members, publications, acknowledgements
//! edge    -> Authority::{join, renew, leave}
//! ```

pub mod janitor;
pub mod statements;
pub mod store;

mod acknowledgements;
mod confirm;

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use latchkey_bus::{Bus, Context, Hear, Limit, Listener};
use latchkey_contract::authority::{Authority as Named, Join, Leave, Renew, WaiterId};
use latchkey_contract::lease::{Epoch, Joined, MemberId, Renewed, Standing};
use latchkey_contract::{CredentialHash, Failure, FieldError, Refusal, Timestamp};
use latchkey_revocation::config::Settings;
use latchkey_revocation::revoker::EpochWatch;
use latchkey_revocation::{Bounds, Moment, authority};
use latchkey_runtime::{Address, Child, Clock, Entropy};
use latchkey_store::Db;
use metrics::counter;
use tokio_util::task::TaskTracker;

use acknowledgements::Acknowledgements;
pub use confirm::Change;
use statements::Sql;
pub use store::{PositionRow, Read, SnapshotRow, Store};

/// Changes that are seen to their end at the same time at most, after their senders were answered.
const MAX_UNWATCHED: u32 = 4_096;
/// A member's life is noted about so often, in milliseconds: most renewals write nothing.
const NOTE_EVERY: i64 = 5_000;
/// Members whose last note this replica knows of at most; beyond, it asks the database each time.
const MAX_NOTED: usize = 100_000;

/// One authority. `A` says which.
pub struct Authority<A: Named> {
    store: Store,
    bus: Bus,
    clock: Clock,
    settings: Settings,
    waiter: WaiterId,
    watch: Mutex<EpochWatch>,
    /// When this replica last noted that a member lives.
    noted: Mutex<HashMap<MemberId, Timestamp>>,
    acknowledgements: Arc<Acknowledgements>,
    tasks: TaskTracker,
    unwatched: Limit,
    which: PhantomData<fn() -> A>,
}

impl<A: Named> Authority<A> {
    /// Makes the position row where there is none, and the authority over its tables. The child
    /// receives acknowledgements.
    ///
    /// # Errors
    /// What the database said instead.
    pub async fn start(
        settings: Settings,
        db: Db,
        sql: &'static Sql,
        bus: Bus,
        clock: Clock,
        entropy: &Entropy,
    ) -> Result<(Arc<Self>, Child), sqlx::Error> {
        let store = Store { db, sql };
        store.begin(i64::from_ne_bytes(entropy.bytes())).await?;
        if matches!(store.db, Db::Sqlite(_)) {
            // One process has the file at a time, and its members are in it: all of these are gone.
            store.clear_members().await?;
            // For the same reason nobody relies on answers from another history.
            store.watched(store.position().await?.epoch().timeline).await?;
        }
        let authority = Arc::new(Self {
            store,
            bus,
            clock,
            settings,
            waiter: WaiterId(entropy.bytes()),
            watch: Mutex::default(),
            noted: Mutex::default(),
            acknowledgements: Arc::default(),
            tasks: TaskTracker::new(),
            unwatched: Limit::new(MAX_UNWATCHED),
            which: PhantomData,
        });
        authority.observe().await?;
        counter!("latchkey_members_retired_total", "authority" => A::NAME).increment(0);
        let (bus, subject) = (authority.bus.clone(), authority.waiter.subject::<A>('*'));
        let heard = Arc::clone(&authority.acknowledgements);
        let listener = Child::new("acknowledgements", Address::new(), move || {
            let heard = Arc::clone(&heard);
            let hear: Hear = Arc::new(move |message| heard.hear(&message));
            (Listener::new(bus.clone(), subject.clone(), hear), ())
        });
        Ok((authority, listener))
    }

    /// The authority's tables.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Takes an edge as a member.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] where the edge would rely on answers for longer than revokes wait.
    pub async fn join(&self, request: Join<A>) -> Result<Joined, Failure> {
        let bounds = &self.settings.bounds;
        if request.lease_ms.saturating_mul(Moment::MILLISECOND) > bounds.lease() {
            let most = bounds.lease() / Moment::MILLISECOND;
            let fault = format!("must be at most {most}, as this authority is configured");
            return Err(Refusal::Invalid(vec![FieldError::new("lease_ms", fault)]).into());
        }
        let row = self.store.join(request.member, self.now()).await?;
        self.early_from(&row);
        Ok(Joined { epoch: row.epoch(), position: row.position() })
    }

    /// Answers a renewal.
    ///
    /// # Errors
    /// What the database said instead.
    pub async fn renew(
        &self,
        request: Renew<A>,
    ) -> Result<Standing<Renewed<CredentialHash>>, Failure> {
        let (snapshot, changes) = self.store.renew(request.member, request.since).await?;
        let answer = authority::renew(&snapshot, request.since, changes);
        if matches!(answer, Standing::Member(_)) {
            let now = self.now();
            self.note(request.member, now).await;
        }
        Ok(answer)
    }

    /// Lets a member go that has forgotten everything.
    ///
    /// # Errors
    /// What the database said instead.
    pub async fn leave(&self, request: Leave<A>) -> Result<(), Failure> {
        Ok(self.store.leave(request.member).await?)
    }

    /// Notes, now and then, that a member lives. It is no part of the proof: who is retired in error
    /// joins anew.
    async fn note(&self, member: MemberId, now: Timestamp) {
        if self.was_noted(member, now) {
            return;
        }
        // Another replica may just have noted it.
        if let Err(error) = self.store.touch(member, now, now.plus(-NOTE_EVERY / 2)).await {
            tracing::debug!(authority = A::NAME, %error, "a member's life was not noted");
        }
    }

    /// Whether this replica has lately noted that the member lives; from now on it has.
    fn was_noted(&self, member: MemberId, now: Timestamp) -> bool {
        let lately = |at: Timestamp| (now.plus(-NOTE_EVERY).0..=now.0).contains(&at.0);
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.get(&member).is_some_and(|at| lately(*at)) {
            return true;
        }
        if noted.len() >= MAX_NOTED {
            noted.retain(|_, at| lately(*at));
        }
        if noted.len() < MAX_NOTED {
            noted.insert(member, now);
        }
        false
    }

    /// Reads the position once, so that its history is known from now on.
    async fn observe(&self) -> Result<(PositionRow, Moment), sqlx::Error> {
        let row = self.store.position().await?;
        Ok((row, self.early_from(&row)))
    }

    /// From when on a revoke in this history may return before the whole wait.
    fn early_from(&self, row: &PositionRow) -> Moment {
        self.early_from_epoch(row.epoch(), row.is_watched())
    }

    fn early_from_epoch(&self, epoch: Epoch, watched: bool) -> Moment {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        watch.early_from(self.moment(), epoch, watched, &self.settings.bounds)
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.clock.unix_millis())
    }

    fn moment(&self) -> Moment {
        Moment(self.clock.lease_nanos())
    }

    fn bounds(&self) -> &Bounds {
        &self.settings.bounds
    }

    /// Waits for changes that are still seen to their end.
    pub async fn drain(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Handlers take the context, and most have no use for it.
impl<A: Named> Authority<A> {
    /// The route of [`Join`].
    ///
    /// # Errors
    /// As [`Self::join`].
    pub async fn on_join(self: Arc<Self>, _: Context, request: Join<A>) -> Result<Joined, Failure> {
        self.join(request).await
    }

    /// The route of [`Renew`].
    ///
    /// # Errors
    /// As [`Self::renew`].
    pub async fn on_renew(
        self: Arc<Self>,
        _: Context,
        request: Renew<A>,
    ) -> Result<Standing<Renewed<CredentialHash>>, Failure> {
        self.renew(request).await
    }

    /// The route of [`Leave`].
    ///
    /// # Errors
    /// As [`Self::leave`].
    pub async fn on_leave(self: Arc<Self>, _: Context, request: Leave<A>) -> Result<(), Failure> {
        self.leave(request).await
    }
}
