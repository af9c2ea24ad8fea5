//! How far a chain was at some time: what is kept elsewhere, so that it shows when the newest events were taken away.

use latchkey_store::{Db, StoreError, values};

use crate::AuditSql;
use crate::chain::{FIRST, Link};

/// An event that is sealed, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// Its place.
    pub seq: i64,
    /// Its link.
    pub hash: Link,
}

/// The last event that is sealed; `None` where none is. A link that was
/// taken away or shortened is none, and stands as that before the first event.
///
/// # Errors
/// [`StoreError`]
pub async fn last(db: &Db, sql: &AuditSql) -> Result<Option<Anchor>, StoreError> {
    let row: Option<(i64, Option<Vec<u8>>)> = db.fetch_first(sql.last, values![]).await?;
    let link = |hash: Option<Vec<u8>>| hash.and_then(|hash| hash.try_into().ok());
    Ok(row.map(|(seq, hash)| Anchor { seq, hash: link(hash).unwrap_or(FIRST) }))
}
