//! Walks a chain, and finds the first place where it is broken.

use latchkey_store::{Db, StoreError, values};

use crate::AuditSql;
use crate::anchor::Anchor;
use crate::chain::{ChainKeys, FIRST, Link, Which};
use crate::event::Action;
use crate::pruned;
use crate::record::Record;
use crate::sealer::BATCH;

/// How often a walk is begun anew whose events were taken out meanwhile because they are old.
const WALKS: usize = 5;

/// What became of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verified {
    /// Every link leads to the next one, from the first of these places to the last. Nothing is sealed where they are
    /// 1 and 0.
    Whole {
        /// The first place.
        from: i64,
        /// The last place.
        to: i64,
    },
    /// The event at this place is another one than was sealed, or is not there.
    Broken {
        /// The place.
        seq: i64,
    },
    /// The event of the anchor was taken out because it was old: the log begins behind this place.
    Pruned {
        /// The place.
        through: i64,
    },
}

/// How far a walk is.
struct Walk<'a> {
    service: &'static str,
    keys: &'a ChainKeys,
    seq: i64,
    link: Link,
    /// The key that the event before was sealed with.
    of: Option<Which>,
}

impl Walk<'_> {
    /// Goes on to the next event, if this is the one that was sealed.
    fn step(&mut self, event: &Record) -> bool {
        let seq = self.seq + 1;
        let canonical = event.canonical(self.service, seq);
        let Some(link) = event.link().filter(|_| event.seq == Some(seq)) else { return false };
        let made = self.keys.made(link, &self.link, &canonical);
        // One event alone leads from one key to the other, and none leads back.
        let is_next = match (self.of, made) {
            (_, None) | (Some(Which::Current), Some(Which::Previous)) => false,
            (Some(Which::Previous), Some(Which::Current)) => {
                event.action == Action::AuditKeyChanged.name()
            }
            _ => true,
        };
        if is_next {
            (self.seq, self.link, self.of) = (seq, link, made);
        }
        is_next
    }
}

/// Walks a service's chain to its end: from its first event, or from an anchor, whose event has to be there.
///
/// # Errors
/// [`StoreError`]
pub async fn verify(
    db: &Db,
    sql: &AuditSql,
    keys: &ChainKeys,
    anchor: Option<Anchor>,
) -> Result<Verified, StoreError> {
    let mut walked = Verified::Broken { seq: 1 };
    for _ in 0..WALKS {
        let cut = pruned::cut(db, sql, keys).await?;
        walked = walk(db, sql, keys, cut, anchor).await?;
        match (walked, pruned::cut(db, sql, keys).await?) {
            // What is not there was there when the walk began, and was too old meanwhile.
            (Verified::Broken { seq }, Some(now)) if Some(now) != cut && seq <= now.seq => {}
            _ => break,
        }
    }
    Ok(walked)
}

async fn walk(
    db: &Db,
    sql: &AuditSql,
    keys: &ChainKeys,
    cut: Option<Anchor>,
    anchor: Option<Anchor>,
) -> Result<Verified, StoreError> {
    let begin = cut.unwrap_or(Anchor { seq: 0, hash: FIRST });
    let (begin, from) = match anchor {
        None => (begin, begin.seq + 1),
        Some(anchor) if anchor.seq < begin.seq => {
            return Ok(Verified::Pruned { through: begin.seq });
        }
        Some(anchor) => {
            let found: Option<Record> =
                db.fetch_first(sql.page, values![anchor.seq - 1, 1]).await?;
            let is_event =
                |event: &Record| event.seq == Some(anchor.seq) && event.link() == Some(anchor.hash);
            if anchor != begin && !found.as_ref().is_some_and(is_event) {
                return Ok(Verified::Broken { seq: anchor.seq });
            }
            (anchor, anchor.seq)
        }
    };
    let Anchor { seq, hash: link } = begin;
    let mut walk = Walk { service: sql.service, keys, seq, link, of: None };
    loop {
        let page: Vec<Record> = db.fetch(sql.page, values![walk.seq, BATCH]).await?;
        if page.is_empty() {
            return Ok(Verified::Whole { from, to: walk.seq });
        }
        for event in &page {
            if !walk.step(event) {
                return Ok(Verified::Broken { seq: walk.seq + 1 });
            }
        }
    }
}
