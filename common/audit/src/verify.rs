//! Walks a chain, and finds the first place where it is broken.

use latchkey_store::{Db, StoreError, values};

use crate::AuditSql;
use crate::chain::{ChainKey, FIRST};
use crate::record::Record;
use crate::sealer::{Anchor, BATCH};

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
}

/// Walks a service's chain to its end: from its first event, or from an anchor, whose event has to be there.
///
/// # Errors
/// [`StoreError`]
pub async fn verify(
    db: &Db,
    sql: &AuditSql,
    key: &ChainKey,
    anchor: Option<Anchor>,
) -> Result<Verified, StoreError> {
    let from = anchor.map_or(1, |anchor| anchor.seq);
    let (mut seq, mut link) = (0, FIRST);
    if let Some(anchor) = anchor {
        let found: Option<Record> = db.fetch_first(sql.page, values![anchor.seq - 1, 1]).await?;
        let is_there =
            |event: &Record| event.seq == Some(anchor.seq) && event.link() == Some(anchor.hash);
        if !found.as_ref().is_some_and(is_there) {
            return Ok(Verified::Broken { seq: anchor.seq });
        }
        (seq, link) = (anchor.seq, anchor.hash);
    }
    loop {
        let page: Vec<Record> = db.fetch(sql.page, values![seq, BATCH]).await?;
        if page.is_empty() {
            return Ok(Verified::Whole { from, to: seq });
        }
        for event in page {
            seq += 1;
            let canonical = event.canonical(sql.service, seq);
            let expected = canonical.ok().map(|canonical| key.link(&link, &canonical));
            match expected.filter(|_| event.seq == Some(seq)) {
                Some(expected) if event.link() == Some(expected) => link = expected,
                _ => return Ok(Verified::Broken { seq }),
            }
        }
    }
}
