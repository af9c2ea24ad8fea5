//! Keeps an authority's tables short: members that are no more, records that every edge has seen.
//!
//! One replica at a time does it. One that was paused and goes on beside the next one does no harm: a member is retired
//! only if it has not renewed by then, and deleted only if it is retired, which it stays; what is pruned is older the
//! longer the pause was; a history is noted as watched only while it is the present one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use latchkey_contract::Timestamp;
use latchkey_contract::authority::Authority as Named;
use latchkey_contract::lease::MemberId;
use latchkey_revocation::{Janitor as Rules, Moment, Upkeep};
use latchkey_runtime::lock::lock_or_begin_anew;
use latchkey_runtime::periodic::PeriodicTask;
use latchkey_store::StoreError;
use metrics::counter;

use crate::{Authority, GONE};

/// Leases without a renewal after which a member is retired.
const QUIET_LEASES: i64 = 10;
/// How long a change stays recorded, in milliseconds. An edge that was away for longer drops everything.
const RECORDED: i64 = 10 * 60 * Timestamp::SECOND;
/// Records that one run deletes at most.
const BATCH: i64 = 1_000;

/// The chore.
pub struct Janitor<A: Named> {
    authority: Arc<Authority<A>>,
    rules: Mutex<Rules>,
}

impl<A: Named> Janitor<A> {
    /// A janitor that has seen nothing.
    #[must_use]
    pub fn new(authority: Arc<Authority<A>>) -> Self {
        let rules = Mutex::new(Rules::new(authority.bounds()));
        Self { authority, rules }
    }

    async fn tidy(&self) -> Result<(), StoreError> {
        let Authority { store, settings, .. } = &*self.authority;
        let (row, early_from) = self.authority.observe().await?;
        if !row.is_watched() && self.authority.moment() >= early_from {
            store.watched(row.epoch()).await?;
        }
        let lease_ms = settings.bounds.lease() / Moment::MILLISECOND;
        let quiet = QUIET_LEASES.saturating_mul(i64::try_from(lease_ms).unwrap_or(i64::MAX));
        // What is noted of a member's life may be this much behind.
        let quiet_before = self.authority.now().plus(-(quiet + crate::NOTE_EVERY));
        let rows = store.rows(quiet_before).await?;
        let upkeep = {
            // One that has seen nothing is late, never early.
            let begin_anew = |rules: &mut Rules| *rules = Rules::new(self.authority.bounds());
            let mut rules = lock_or_begin_anew(&self.rules, "members that are no more", begin_anew);
            rules.observe(self.authority.moment(), &rows)
        };
        for step in upkeep {
            match step {
                Upkeep::Retire(member) => self.retire(member, quiet_before).await?,
                Upkeep::Delete(member) => store.delete_retired(member).await?,
            }
        }
        store.prune(self.authority.now().plus(-RECORDED), BATCH).await?;
        Ok(())
    }

    /// Retires a member that has not renewed since `before`. Of all replicas, the one that does so tells of it.
    async fn retire(&self, member: MemberId, before: Timestamp) -> Result<(), StoreError> {
        let Some(renewed) = self.authority.store.retire_quiet(member, before).await? else {
            return Ok(());
        };
        let silent_s = (self.authority.now().0 - renewed.0) / Timestamp::SECOND;
        tracing::warn!(
            authority = A::NAME,
            member = name_of(member),
            silent_s,
            "an edge has gone without leaving and is retired"
        );
        counter!(GONE, "authority" => A::NAME).increment(1);
        Ok(())
    }
}

/// A member as the table of members can be asked for it.
fn name_of(MemberId(id): MemberId) -> String {
    format!("{:032x}", u128::from_be_bytes(id))
}

impl<A: Named> PeriodicTask for Janitor<A> {
    const PAUSE: Duration = Duration::from_secs(1);
    const AT_THE_END: bool = false;

    async fn run(&self) {
        if let Err(error) = self.tidy().await {
            tracing::warn!(authority = A::NAME, %error, "old edges and records cannot be cleaned up: the next run tries again");
        }
    }
}

#[cfg(test)]
mod tests;
