//! Takes out events that are too old. First an event says how far (`pruned.rs`), then they go, a bounded number at a time;
//! what a process that ends in between has left is taken out by the next one.
//!
//! It is done by whoever seals. Two that do it side by side do no harm: what one has taken out is not there for the other,
//! and of two events of it the one that goes further counts.

use std::sync::atomic::{AtomicU64, Ordering};

use latchkey_contract::{Actor, Caller, RequestId, Timestamp};
use latchkey_runtime::Clock;
use latchkey_store::{StoreError, values};

use crate::anchor::{Anchor, last};
use crate::append::append_alone;
use crate::event::{Action, Event, Target};
use crate::pruned;
use crate::record::Record;
use crate::sealer::BATCH;
use crate::watch::Chain;

/// Statements of one run that take out events, and pages that are looked through, at most.
const BATCHES: usize = 20;
/// How long nothing is looked for after everything was taken out that is too old, in nanoseconds.
const EVERY: u64 = 24 * 3_600 * 1_000_000_000;

/// What takes out a service's old events.
pub struct Pruner {
    clock: Clock,
    /// How long an event is kept, in milliseconds.
    kept: i64,
    /// When everything was taken out that was too old, by the clock of leases; 0 where it was not yet.
    done_at: AtomicU64,
}

impl Pruner {
    /// Has events kept for so many days.
    #[must_use]
    pub fn new(clock: Clock, days: i64) -> Self {
        Self { clock, kept: days.saturating_mul(Timestamp::DAY), done_at: AtomicU64::new(0) }
    }

    /// Takes out old events where it is time to.
    ///
    /// # Errors
    /// [`StoreError`]; what was taken out before is gone.
    pub(crate) async fn run(&self, chain: &Chain) -> Result<(), StoreError> {
        let now = self.clock.lease_nanos().max(1);
        let done_at = self.done_at.load(Ordering::Relaxed);
        if done_at != 0 && now.saturating_sub(done_at) < EVERY {
            return Ok(());
        }
        if self.prune(chain).await? {
            self.done_at.store(now, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Whether nothing is left that is too old.
    async fn prune(&self, chain: &Chain) -> Result<bool, StoreError> {
        let before = chain.cut().await?;
        if let Some(cut) = before
            && !take_out(chain, cut.seq).await?
        {
            return Ok(false);
        }
        let (cut, is_all) = self.next(chain, before.map_or(0, |cut| cut.seq)).await?;
        let Some(cut) = cut else { return Ok(is_all) };
        self.tell(chain, cut).await?;
        Ok(take_out(chain, cut.seq).await? && is_all)
    }

    /// The last event behind the place `seq` up to which all are too old, as far as that was looked at; and whether it
    /// was looked at all of them. The last one that is sealed stays: the next place comes behind it.
    async fn next(&self, chain: &Chain, seq: i64) -> Result<(Option<Anchor>, bool), StoreError> {
        let Some(last) = last(&chain.db, chain.sql).await? else { return Ok((None, true)) };
        let oldest = self.clock.unix_millis().saturating_sub(self.kept);
        let (mut behind, mut cut) = (seq, None);
        for _ in 0..BATCHES {
            let page: Vec<Record> = chain.db.fetch(chain.sql.page, values![behind, BATCH]).await?;
            if page.is_empty() {
                return Ok((cut, true));
            }
            for event in page {
                behind = event.seq.unwrap_or(behind);
                if event.at >= oldest || behind >= last.seq {
                    return Ok((cut, true));
                }
                // Behind one without a link no chain can begin.
                cut = event.link().map(|hash| Anchor { seq: behind, hash }).or(cut);
            }
        }
        Ok((cut, false))
    }

    async fn tell(&self, chain: &Chain, cut: Anchor) -> Result<(), StoreError> {
        let (service, at) = (chain.sql.service, self.clock.unix_millis());
        let request = RequestId::new(&format!("{service}-pruned-{at}"));
        let by = Caller::of(Actor::System { service: service.into() }, request);
        let changes = pruned::changes(&chain.keys.current, service, cut);
        let event = Event::done(Action::AuditPruned, Target::Chain(service), Timestamp(at), &by);
        append_alone(&chain.db, chain.sql, &event.changing(&changes)).await
    }
}

/// Takes out what is sealed up to the place `through`; whether nothing of it is left.
async fn take_out(chain: &Chain, through: i64) -> Result<bool, StoreError> {
    for _ in 0..BATCHES {
        let taken = chain.db.execute(chain.sql.prune, values![through, BATCH]).await?;
        if i64::try_from(taken).unwrap_or(BATCH) < BATCH {
            return Ok(true);
        }
    }
    Ok(false)
}
