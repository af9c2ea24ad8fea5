//! What keys may do at most: the rows of `keys_ceilings`, one for each owner who has a ceiling of their own, and that of
//! all others in the row of `keys_telling`. Verifications join both.

use std::collections::BTreeMap;

use latchkey_contract::scope::{ScopeError, Scopes};
use latchkey_store::{StoreError, Tx, values};

pub(super) const FIND: &str = "SELECT ceiling FROM keys_ceilings WHERE owner_id = $1";
pub(super) const SET: &str = "INSERT INTO keys_ceilings (owner_id, ceiling) VALUES ($1, $2) \
    ON CONFLICT (owner_id) DO UPDATE SET ceiling = excluded.ceiling";
pub(super) const CLEAR: &str = "DELETE FROM keys_ceilings WHERE owner_id = $1";
pub(super) const RANGE: &str = "SELECT owner_id, ceiling FROM keys_ceilings \
    WHERE owner_id > $1 AND owner_id <= $2 ORDER BY owner_id LIMIT $3";

/// A ceiling as it stands in a row; `None`: nobody has told of any, and everything is allowed but what is reserved.
///
/// # Errors
/// [`ScopeError`] where it has another form.
pub(super) fn read(text: Option<&str>) -> Result<Scopes, ScopeError> {
    text.map_or_else(|| Ok(Scopes::everything()), Scopes::parse)
}

/// The ceiling of this owner alone, where there is one.
pub(super) async fn own(tx: &mut Tx, owner: i64) -> Result<Option<String>, StoreError> {
    let row: Option<(String,)> = tx.fetch_first(FIND, values![owner]).await?;
    Ok(row.map(|(text,)| text))
}

/// Gives an owner a ceiling, or takes it away.
pub(super) async fn put(tx: &mut Tx, owner: i64, ceiling: Option<&str>) -> Result<(), StoreError> {
    match ceiling {
        Some(text) => tx.execute(SET, values![owner, text]).await.map(drop),
        None => tx.execute(CLEAR, values![owner]).await.map(drop),
    }
}

/// At most `limit` ceilings of owners behind `after` and up to `last`.
pub(super) async fn range(
    tx: &mut Tx,
    (after, last): (i64, i64),
    limit: i64,
) -> Result<BTreeMap<i64, String>, StoreError> {
    let rows: Vec<(i64, String)> = tx.fetch(RANGE, values![after, last, limit]).await?;
    Ok(rows.into_iter().collect())
}
