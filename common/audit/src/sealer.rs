//! Seals events: gives each its place in the chain and the link that leads to it, after the transaction that wrote it,
//! so that no transaction waits for another's link.
//!
//! One replica at a time does it. Two that do it side by side do no harm: a batch is sealed as a whole or not at all, no
//! place is given twice, and what one has sealed the other leaves alone.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use latchkey_contract::{Actor, Caller, RequestId, Timestamp};
use latchkey_runtime::Clock;
use latchkey_runtime::lock::lock_or_begin_anew;
use latchkey_store::{Db, StoreError, values};
use metrics::{Gauge, gauge};

use crate::AuditSql;
use crate::anchor::{Anchor, last};
use crate::append::append;
use crate::chain::{ChainKey, ChainKeys, FIRST, Which};
use crate::event::{Action, Event, Target};
use crate::record::Record;
use crate::watch::{Chain, End, Halt};

/// Events that one transaction seals at most.
pub const BATCH: i64 = 1_000;
/// Transactions of one run at most.
const BATCHES: usize = 20;
/// How often an anchor is written to the log, in nanoseconds: at most.
const ANCHOR_EVERY: u64 = 60_000_000_000;
/// Events of the chain itself among which the one is found that was just written.
const NEWEST_MARKS: i64 = 8;

/// What seals a service's events.
pub struct Sealer {
    pub(crate) chain: Chain,
    clock: Clock,
    seen: Mutex<Seen>,
    sealed: Gauge,
    broken: Gauge,
    lag: Gauge,
    /// The place of the last anchor, and when it was written, by the clock of leases.
    anchored: AtomicI64,
    anchored_at: AtomicU64,
}

/// What this process knows of the chain.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    end: End,
    halted: Option<Halt>,
}

impl Sealer {
    /// The sealer of a service's events. It says so where links are made without a key.
    #[must_use]
    pub fn new(db: Db, sql: &'static AuditSql, keys: ChainKeys, clock: Clock) -> Self {
        let service = sql.service;
        if matches!(keys.current, ChainKey::Unkeyed) {
            tracing::info!(
                service,
                "audit events are sealed without a key: whoever can write the database can seal them anew"
            );
        }
        let sealed = gauge!("latchkey_audit_sealed_events", "service" => service);
        sealed.set(0.0);
        let broken = gauge!("latchkey_audit_chain_broken", "service" => service);
        broken.set(0.0);
        let lag = gauge!("latchkey_audit_seal_lag_seconds", "service" => service);
        lag.set(0.0);
        let (anchored, anchored_at) = (AtomicI64::new(0), AtomicU64::new(0));
        let chain = Chain { db, sql, keys };
        Self { chain, clock, seen: Mutex::default(), sealed, broken, lag, anchored, anchored_at }
    }

    /// Whose events it seals.
    pub(crate) fn service(&self) -> &'static str {
        self.chain.sql.service
    }

    /// Seals what is not sealed yet; how many events. None where what was sealed before is not what it was:
    /// [`Self::halted`].
    ///
    /// # Errors
    /// [`StoreError`]; what was sealed before stays.
    pub async fn seal(&self) -> Result<usize, StoreError> {
        let Chain { db, sql, .. } = &self.chain;
        let mut sealed = 0;
        for _ in 0..BATCHES {
            if !self.look(true).await? || !self.mark_seam().await? {
                break;
            }
            let events: Vec<Record> = db.fetch(sql.unsealed, values![BATCH]).await?;
            self.gauge_lag(events.first());
            if events.is_empty()
                || self.has_gap(&events).await?
                || !self.seal_batch(&events).await?
            {
                break;
            }
            sealed += events.len();
            if i64::try_from(events.len()).unwrap_or(BATCH) < BATCH {
                break;
            }
        }
        Ok(sealed)
    }

    /// How long the first of what waits has done so.
    fn gauge_lag(&self, first: Option<&Record>) {
        let waited = first.map_or(0, |event| self.clock.unix_millis().saturating_sub(event.at));
        let seconds = waited.max(0) / Timestamp::SECOND;
        self.lag.set(f64::from(u32::try_from(seconds).unwrap_or(u32::MAX)));
    }

    /// Why nothing is sealed, where that is so.
    #[must_use]
    pub fn halted(&self) -> Option<Halt> {
        self.seen().halted
    }

    /// Sees how far the chain is; whether it goes on from where it was, and, where `with_link`, from a link that this
    /// process' keys have made.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn look(&self, with_link: bool) -> Result<bool, StoreError> {
        // Another process' keys may have made the last one meanwhile.
        let with_link = with_link || matches!(self.halted(), Some(Halt::Unknown { .. }));
        let before = self.seen().end;
        let last = last(&self.chain.db, self.chain.sql).await?;
        let end = self.chain.end(before, last, with_link).await?;
        let halted = end.err();
        if let Ok(end) = end {
            self.seen().end = end;
        }
        self.halt(halted);
        Ok(halted.is_none())
    }

    /// Whether events that have no place may have had one before.
    async fn has_gap(&self, events: &[Record]) -> Result<bool, StoreError> {
        let known = self.seen().end.newest;
        let newest = match known {
            Some(newest) => newest,
            None => self.chain.newest().await?,
        };
        self.seen().end.newest = Some(newest);
        let gap = self.chain.gap(events, newest).await?;
        if let Some(seq) = gap {
            self.halt(Some(Halt::Lost { seq }));
        }
        Ok(gap.is_some())
    }

    /// Where the last event was sealed with the key before, seals one that says so with the present one. Whether the
    /// chain goes on under that.
    async fn mark_seam(&self) -> Result<bool, StoreError> {
        if self.seen().end.made != Some(Which::Previous) {
            return Ok(true);
        }
        let Chain { db, sql, .. } = &self.chain;
        let at = self.clock.unix_millis();
        let request = RequestId::new(&format!("{}-seam-{at}", sql.service));
        let by = Caller::of(Actor::System { service: sql.service.into() }, request);
        let target = Target::Chain(sql.service);
        let event = Event::done(Action::AuditKeyChanged, target, Timestamp(at), &by);
        let mut tx = db.begin("change the audit key").await?;
        append(&mut tx, sql, &event).await?;
        let written: Vec<Record> = tx.fetch(sql.marks, values![sql.service, NEWEST_MARKS]).await?;
        let is_it =
            |event: &&Record| event.seq.is_none() && event.request_id == by.request_id.as_str();
        let Some(event) = written.iter().find(is_it) else { return Ok(false) };
        let (rows, end) = self.links(std::slice::from_ref(event));
        if tx.execute(sql.seal.of(tx.engine()), values![&rows]).await? != 1 {
            return Ok(false);
        }
        tx.commit().await?;
        let Seen { end: before, .. } = *self.seen();
        // Others that wait have smaller ids, and are not late.
        self.seen().end = End { newest: before.newest, ..end };
        tracing::info!(
            service = sql.service,
            seq = end.last.map(|last| last.seq),
            "audit events are sealed with another key from here on"
        );
        Ok(true)
    }

    /// Whether it was sealed, and not by another replica.
    async fn seal_batch(&self, events: &[Record]) -> Result<bool, StoreError> {
        let (rows, end) = self.links(events);
        let mut tx = self.chain.db.begin("seal audit events").await?;
        let sql = self.chain.sql.seal.of(tx.engine());
        let sealed = tx.execute(sql, values![&rows]).await?;
        if usize::try_from(sealed).ok() != Some(events.len()) {
            return Ok(false);
        }
        tx.commit().await?;
        self.seen().end = end;
        Ok(true)
    }

    /// The links of events behind the end that was seen, for the statement that seals; and the end behind them.
    fn links(&self, events: &[Record]) -> (String, End) {
        let Chain { sql, keys, .. } = &self.chain;
        let end = self.seen().end;
        let Anchor { mut seq, hash: mut link } = end.last.unwrap_or(Anchor { seq: 0, hash: FIRST });
        let mut rows = Vec::with_capacity(events.len());
        for event in events {
            seq += 1;
            link = keys.current.link(&link, &event.canonical(sql.service, seq));
            rows.push((event.id, seq, hex::encode(link)));
        }
        let newest = end.newest.into_iter().chain(events.iter().map(|event| event.id)).max();
        let last = Some(Anchor { seq, hash: link });
        let rows = serde_json::json!(rows).to_string();
        (rows, End { last, made: Some(Which::Current), newest })
    }

    /// Raises the alarm, or ends it.
    fn halt(&self, halted: Option<Halt>) {
        let before = std::mem::replace(&mut self.seen().halted, halted);
        self.broken.set(if halted.is_some() { 1.0 } else { 0.0 });
        if before == halted {
            return;
        }
        let service = self.chain.sql.service;
        match halted {
            Some(Halt::Lost { seq }) => tracing::error!(
                service,
                seq,
                "an audit event that was sealed is not there any more, or has another link: nothing is sealed until \
                 somebody has looked"
            ),
            Some(Halt::Unknown { seq }) => tracing::error!(
                service,
                seq,
                "the last audit event was sealed with neither AUDIT_KEY nor AUDIT_KEY_PREVIOUS, or was changed since: \
                 this process seals nothing"
            ),
            None => tracing::info!(service, "audit events are sealed again"),
        }
    }

    /// Has the log say how far the chain is, where that is another place than before and, unless it is the `last` time,
    /// it did not say so just now.
    pub(crate) fn anchor(&self, is_last: bool) {
        let now = self.clock.lease_nanos();
        let Some(Anchor { seq, hash }) = self.seen().end.last else { return };
        #[expect(clippy::cast_precision_loss, reason = "a metric is a float")]
        self.sealed.set(seq as f64);
        let at = self.anchored_at.load(Ordering::Relaxed);
        if self.anchored.load(Ordering::Relaxed) == seq
            || !is_last && at != 0 && now.saturating_sub(at) < ANCHOR_EVERY
        {
            return;
        }
        self.anchored.store(seq, Ordering::Relaxed);
        self.anchored_at.store(now, Ordering::Relaxed);
        let (service, hash) = (self.chain.sql.service, hex::encode(hash));
        // Written whatever RUST_LOG says.
        tracing::info!(target: "latchkey_anchor", service, seq, hash, "audit.anchor");
    }

    /// Begun anew it is what a process knows that starts.
    fn seen(&self) -> MutexGuard<'_, Seen> {
        lock_or_begin_anew(&self.seen, "how far an audit log is sealed", |seen| {
            *seen = Seen::default();
        })
    }
}
