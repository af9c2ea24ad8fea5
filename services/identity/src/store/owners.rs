//! What the key service is told of all owners: who of them is deactivated.

use latchkey_authority::{RevisionRow, Store};
use latchkey_contract::UserId;
use latchkey_store::{Db, StoreError, values};

use super::AUTHORITY;

pub(super) const DEACTIVATED: &str =
    "SELECT id FROM users WHERE NOT is_active AND id > $1 ORDER BY id LIMIT $2";

/// Before every account.
const FIRST: i64 = i64::MIN;

/// At most `max` accounts behind `after` that are deactivated, by rising id.
///
/// # Errors
/// [`StoreError`]
pub async fn deactivated(
    db: &Db,
    after: Option<UserId>,
    max: usize,
) -> Result<Vec<UserId>, StoreError> {
    let (after, max) = (after.map_or(FIRST, |user| user.0), i64::try_from(max).unwrap_or(i64::MAX));
    let rows: Vec<(i64,)> = db.fetch(DEACTIVATED, values![after, max]).await?;
    Ok(rows.into_iter().map(|(id,)| UserId(id)).collect())
}

/// The present revision, and the history that it counts.
///
/// # Errors
/// [`StoreError`]
pub async fn revision(db: &Db) -> Result<RevisionRow, StoreError> {
    Store { db: db.clone(), sql: &AUTHORITY }.revision().await
}
