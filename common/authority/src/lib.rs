//! What the identity and the key service share as authorities on their credentials: they count changes,
//! know their members, answer leases, and see every revoke to its end.
//!
//! The rules are cores without I/O in `latchkey-revocation`; here they meet the database and the bus.
//!
//! ```text
//! handler -> append_invalidation in its transaction -> Authority::confirm -> members, publications, acknowledgements
//! edge    -> Authority::{join, renew, leave}
//! ```

pub mod changes;
pub mod janitor;
pub mod lookup;
pub mod operator;
pub mod replica;
pub mod statements;
pub mod store;

mod acknowledgements;
mod awaited;
#[cfg(test)]
mod bench;
mod confirm;
mod record;

use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use latchkey_bus::{Bus, Context, Limit, MessageHandler, listener};
use latchkey_contract::authority::{Authority as Named, Join, Leave, Renew, WaiterId};
use latchkey_contract::lease::{Epoch, Joined, MemberId, MemberResult, Renewed};
use latchkey_contract::{CredentialHash, Failure, FieldError, Refusal, Timestamp};
use latchkey_revocation::config::Settings;
use latchkey_revocation::revoker::EpochWatch;
use latchkey_revocation::{Bounds, Moment, authority};
use latchkey_runtime::{Bounded, Child, Clock, Entropy, Exit, StartError};
use latchkey_store::{Db, StoreError, wait_while_away};
use metrics::counter;
use tokio_util::task::TaskTracker;

use acknowledgements::Acknowledgements;
pub use changes::{
    Change, Ended, RevisionRow, append_invalidation, end_once, invalidate_everything,
};
use statements::Sql;
pub use store::{MemberKey, Read, SnapshotRow, Store};

/// Changes that are seen to their end at the same time at most, after their senders were answered.
const MAX_UNWATCHED: u32 = 4_096;
/// A member's life is noted about so often, in milliseconds: most renewals write nothing.
const NOTE_EVERY: i64 = 5_000;
/// Members whose last note this replica knows of at most; beyond, it asks the database each time.
const MAX_NOTED: usize = 100_000;

/// Counts the edges that were retired because revokes waited for them in vain.
const RETIRED: &str = "latchkey_members_retired_total";
/// Counts the edges that were retired because they had not renewed for long.
const GONE: &str = "latchkey_members_gone_total";

/// One authority. `A` says which.
pub struct Authority<A: Named> {
    store: Store,
    bus: Bus,
    clock: Clock,
    settings: Settings,
    waiter: WaiterId,
    watch: Mutex<EpochWatch>,
    /// When this replica last noted that a member lives.
    noted: Mutex<Bounded<MemberId, Timestamp>>,
    acknowledgements: Arc<Acknowledgements>,
    /// What goes on after a sender was answered. The end of the process cuts it off: then a change is not marked as
    /// seen to its end, and a repeat of it waits as the first try did.
    tasks: TaskTracker,
    unwatched: Limit,
    which: PhantomData<fn() -> A>,
}

impl<A: Named> Authority<A> {
    /// Makes the revision row where there is none, and the authority over its tables. The child
    /// receives acknowledgements.
    ///
    /// # Errors
    /// [`StartError`] where the tables cannot be used.
    pub async fn start(
        settings: Settings,
        db: Db,
        sql: &'static Sql,
        bus: Bus,
        clock: Clock,
        entropy: &Entropy,
    ) -> Result<(Arc<Self>, Child), StartError> {
        let unusable = |error: StoreError| {
            let message = format!("the {} tables cannot be used: {error}", A::NAME);
            StartError::new(Exit::Data, message)
        };
        let store = Store { db, sql };
        let epoch = i64::from_ne_bytes(entropy.bytes());
        // It may have gone away since its tables were prepared.
        let prepare = || store.prepare(epoch);
        wait_while_away(A::NAME, None, StoreError::is_away, prepare).await.map_err(unusable)?;
        let authority = Arc::new(Self {
            store,
            bus,
            clock,
            settings,
            waiter: WaiterId(entropy.bytes()),
            watch: Mutex::default(),
            noted: Mutex::new(Bounded::new(MAX_NOTED)),
            acknowledgements: Arc::default(),
            tasks: TaskTracker::new(),
            unwatched: Limit::new(MAX_UNWATCHED),
            which: PhantomData,
        });
        let observe = || authority.observe();
        wait_while_away(A::NAME, None, StoreError::is_away, observe).await.map_err(unusable)?;
        for retired in [RETIRED, GONE] {
            counter!(retired, "authority" => A::NAME).increment(0);
        }
        let (bus, subject) = (authority.bus.clone(), authority.waiter.subject::<A>('*'));
        let (heard, reads) = (Arc::clone(&authority.acknowledgements), bus.contracts());
        let hear: MessageHandler = Arc::new(move |subject, message| {
            heard.hear(subject, &message, reads);
        });
        Ok((authority, listener("acknowledgements", bus, subject, hear)))
    }

    /// The authority's tables.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Takes an edge as a member: as the user of the bus that it is, and in the contract number that it speaks.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] where the edge would rely on answers for longer than revokes wait, where nothing
    /// says which user of the bus it is, and where its id is taken.
    pub async fn join(
        self: Arc<Self>,
        context: Context,
        request: Join<A>,
    ) -> Result<Joined, Failure> {
        let bounds = &self.settings.bounds;
        if request.lease_ms.saturating_mul(Moment::MILLISECOND) > bounds.lease() {
            let max = bounds.lease() / Moment::MILLISECOND;
            let fault = format!("must be at most {max}, as this authority is configured");
            return Err(Refusal::Invalid(vec![FieldError::new("lease_ms", fault)]).into());
        }
        let key = MemberKey::of(&context, request.member);
        if key.user.is_empty() {
            let fault =
                "must ask for an answer below _INBOX_USER, where USER is its user on the bus";
            return Err(Refusal::Invalid(vec![FieldError::new("", fault)]).into());
        }
        let joined = self.store.join(&key, context.contract, self.now()).await?;
        let Some(row) = joined else {
            let fault = "must be an id that nobody has had";
            return Err(Refusal::Invalid(vec![FieldError::new("member", fault)]).into());
        };
        self.early_from(&row);
        Ok(Joined { epoch: row.epoch(), revision: row.revision() })
    }

    /// Answers a renewal.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn renew(
        self: Arc<Self>,
        context: Context,
        request: Renew<A>,
    ) -> Result<MemberResult<Renewed<CredentialHash>>, Failure> {
        let key = MemberKey::of(&context, request.member);
        let (snapshot, changes) = self.store.renew(&key, request.since).await?;
        let answer = authority::renew(&snapshot, request.since, changes);
        if matches!(answer, MemberResult::Member(_)) {
            let now = self.now();
            self.note(request.member, now).await;
        }
        Ok(answer)
    }

    /// Lets a member go that has forgotten everything.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn leave(
        self: Arc<Self>,
        context: Context,
        request: Leave<A>,
    ) -> Result<(), Failure> {
        Ok(self.store.leave(&MemberKey::of(&context, request.member)).await?)
    }

    /// Notes, now and then, that a member lives. It is no part of the proof: who is retired in error
    /// joins anew.
    async fn note(&self, member: MemberId, now: Timestamp) {
        if self.was_noted(member, now) {
            return;
        }
        // Another replica may just have noted it.
        if let Err(error) = self.store.touch(member, now, now.plus(-NOTE_EVERY / 2)).await {
            tracing::debug!(authority = A::NAME, %error, "the time of an edge's renewal cannot be recorded");
        }
    }

    /// Whether this replica has lately noted that the member lives; from now on it has.
    fn was_noted(&self, member: MemberId, now: Timestamp) -> bool {
        let lately = |at: Timestamp| (now.plus(-NOTE_EVERY).0..=now.0).contains(&at.0);
        #[expect(
            clippy::disallowed_methods,
            reason = "nothing panics while a table of plain values is changed"
        )]
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(at) = noted.find(&member) else {
            // Full: it is noted again each time.
            noted.insert(member, now, |at| !lately(*at));
            return false;
        };
        if lately(*at) {
            return true;
        }
        *at = now;
        false
    }

    /// Reads the revision once, so that its history is known from now on.
    async fn observe(&self) -> Result<(RevisionRow, Moment), StoreError> {
        let row = self.store.revision().await?;
        Ok((row, self.early_from(&row)))
    }

    /// From when on a revoke in this history may return before the whole wait.
    fn early_from(&self, row: &RevisionRow) -> Moment {
        self.early_from_epoch(row.epoch(), row.is_watched())
    }

    fn early_from_epoch(&self, epoch: Epoch, watched: bool) -> Moment {
        #[expect(clippy::disallowed_methods, reason = "each change is one assignment")]
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
}

#[cfg(test)]
mod tests;
