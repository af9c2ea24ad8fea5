//! Seals events: gives each its place in the chain and the link that leads to it, after the transaction that wrote it,
//! so that no transaction waits for another's link.
//!
//! One replica at a time does it. Two that do it side by side do no harm: a batch is sealed as a whole or not at all, no
//! place is given twice, and what one has sealed the other leaves alone.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use latchkey_runtime::Clock;
use latchkey_runtime::periodic::PeriodicTask;
use latchkey_store::{Db, StoreError, values};
use metrics::{Gauge, gauge};

use crate::AuditSql;
use crate::chain::{ChainKey, FIRST, Link};
use crate::record::Record;

/// Events that one transaction seals at most.
pub const BATCH: i64 = 1_000;
/// Transactions of one run at most.
const BATCHES: usize = 20;
/// How often an anchor is written to the log, in nanoseconds: at most.
const ANCHOR_EVERY: u64 = 60_000_000_000;
/// What cannot be: the row was read from the table.
const UNREADABLE: StoreError = StoreError::Unexpected("an event's time is in no calendar");

/// The chore.
pub struct Sealer {
    db: Db,
    sql: &'static AuditSql,
    key: ChainKey,
    clock: Clock,
    sealed: Gauge,
    /// The place of the last anchor, and when it was written, by the clock of leases.
    anchored: AtomicI64,
    anchored_at: AtomicU64,
}

/// The last event that is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// Its place.
    pub seq: i64,
    /// Its link.
    pub hash: Link,
}

impl Sealer {
    /// The sealer of a service's events. It says so where links are made without a key.
    #[must_use]
    pub fn new(db: Db, sql: &'static AuditSql, key: ChainKey, clock: Clock) -> Self {
        let service = sql.service;
        if matches!(key, ChainKey::Unkeyed) {
            tracing::info!(
                service,
                "audit events are sealed without a key: whoever can write the database can seal them anew"
            );
        }
        let sealed = gauge!("latchkey_audit_sealed_events", "service" => service);
        sealed.set(0.0);
        let (anchored, anchored_at) = (AtomicI64::new(0), AtomicU64::new(0));
        Self { db, sql, key, clock, sealed, anchored, anchored_at }
    }

    /// Seals what is not sealed yet; how many events.
    ///
    /// # Errors
    /// [`StoreError`]; what was sealed before stays.
    pub async fn seal(&self) -> Result<usize, StoreError> {
        let mut sealed = 0;
        for _ in 0..BATCHES {
            let events: Vec<Record> = self.db.fetch(self.sql.unsealed, values![BATCH]).await?;
            if events.is_empty() || !self.seal_batch(&events).await? {
                break;
            }
            sealed += events.len();
            if i64::try_from(events.len()).unwrap_or(BATCH) < BATCH {
                break;
            }
        }
        Ok(sealed)
    }

    /// Whether it was sealed, and not by another replica.
    async fn seal_batch(&self, events: &[Record]) -> Result<bool, StoreError> {
        let last = last(&self.db, self.sql).await?;
        let (mut seq, mut link) = last.map_or((0, FIRST), |last| (last.seq, last.hash));
        let mut rows = Vec::with_capacity(events.len());
        for event in events {
            seq += 1;
            let canonical = event.canonical(self.sql.service, seq);
            link = self.key.link(&link, &canonical.map_err(|_invalid| UNREADABLE)?);
            rows.push((event.id, seq, hex::encode(link)));
        }
        let rows = serde_json::json!(rows).to_string();
        let mut tx = self.db.begin("seal audit events").await?;
        let sql = self.sql.seal.of(tx.engine());
        let sealed = tx.execute(sql, values![&rows]).await?;
        if usize::try_from(sealed).ok() != Some(events.len()) {
            return Ok(false);
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Has the log say how far the chain is, where that is another place than before.
    async fn anchor(&self) -> Result<(), StoreError> {
        let now = self.clock.lease_nanos();
        let Some(Anchor { seq, hash }) = last(&self.db, self.sql).await? else { return Ok(()) };
        #[expect(clippy::cast_precision_loss, reason = "a metric is a float")]
        self.sealed.set(seq as f64);
        let at = self.anchored_at.load(Ordering::Relaxed);
        if self.anchored.load(Ordering::Relaxed) == seq
            || at != 0 && now.saturating_sub(at) < ANCHOR_EVERY
        {
            return Ok(());
        }
        self.anchored.store(seq, Ordering::Relaxed);
        self.anchored_at.store(now, Ordering::Relaxed);
        let (service, hash) = (self.sql.service, hex::encode(hash));
        // Written whatever RUST_LOG says.
        tracing::info!(target: "latchkey_anchor", service, seq, hash, "audit.anchor");
        Ok(())
    }
}

impl PeriodicTask for Sealer {
    /// A release that lengthens it is robbed of the row by replicas of the release before: to them a hold that is
    /// longer than theirs was stamped before the clock was set back.
    const PAUSE: Duration = Duration::from_secs(1);
    const AT_THE_END: bool = false;

    async fn run(&self) {
        let service = self.sql.service;
        let sealed = match self.seal().await {
            Ok(_sealed) => self.anchor().await,
            Err(error) => Err(error),
        };
        if let Err(error) = sealed {
            tracing::warn!(service, %error, "audit events are sealed later");
        }
    }
}

/// The last event that is sealed; `None` where none is.
///
/// # Errors
/// [`StoreError`]
pub async fn last(db: &Db, sql: &AuditSql) -> Result<Option<Anchor>, StoreError> {
    let row: Option<(i64, Vec<u8>)> = db.fetch_first(sql.last, values![]).await?;
    let Some((seq, hash)) = row else { return Ok(None) };
    let hash = hash.try_into().ok();
    // Whoever has shortened it is told by a verification; here the chain goes on.
    Ok(Some(Anchor { seq, hash: hash.unwrap_or(FIRST) }))
}
