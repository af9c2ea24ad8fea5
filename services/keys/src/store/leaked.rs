//! Lineages of which a key may be somebody else's: the rows of `keys_leaked_lineages`. A mark is of the lineage and not of
//! its keys, so that it holds for whatever is born into it, and for as long as one of its keys has a row. Whoever reads or
//! writes one for a command has the owner's [lock](super::locks).

use latchkey_contract::refusal::Conflict;
use latchkey_contract::{Actor, Caller, KeyId, Refusal, Timestamp};
use latchkey_store::{StoreError, Tx, values};

pub(super) const MARK: &str = "INSERT INTO keys_leaked_lineages (lineage_id, leaked_at) VALUES ($1, $2) \
    ON CONFLICT (lineage_id) DO NOTHING";
pub(super) const IS_LEAKED: &str =
    "SELECT EXISTS (SELECT 1 FROM keys_leaked_lineages WHERE lineage_id = $1) AS is_leaked";
/// Marked lineages of the first `$2` keys that expired before `$1`: those that a sweep deletes.
pub(super) const OF_EXPIRED: &str = "SELECT lineage_id FROM keys_leaked_lineages WHERE lineage_id IN \
    (SELECT COALESCE(swept.lineage_id, swept.id) FROM \
    (SELECT id, lineage_id FROM api_keys WHERE expires_at < $1 ORDER BY id LIMIT $2) AS swept)";
pub(super) const FORGET: &str = "DELETE FROM keys_leaked_lineages WHERE lineage_id = $1 \
    AND NOT EXISTS (SELECT 1 FROM api_keys WHERE id = $1) \
    AND NOT EXISTS (SELECT 1 FROM api_keys WHERE lineage_id = $1)";

/// Marks a lineage; `false`: it was before.
pub(super) async fn mark(tx: &mut Tx, lineage: KeyId, now: Timestamp) -> Result<bool, StoreError> {
    Ok(tx.execute(MARK, values![lineage.0, now.0]).await? > 0)
}

/// Whether a lineage is marked.
pub(super) async fn is_leaked(tx: &mut Tx, lineage: KeyId) -> Result<bool, StoreError> {
    let leaked: Option<(bool,)> = tx.fetch_first(IS_LEAKED, values![lineage.0]).await?;
    Ok(leaked == Some((true,)))
}

/// Why a command may not go on that keeps in use what may be somebody else's: only a user confirms that. Whoever holds
/// a key could be that somebody.
pub(super) fn bar(is_leak: bool, confirm: bool, by: &Caller) -> Option<Refusal> {
    if !is_leak {
        return None;
    }
    if !confirm {
        return Some(Refusal::Conflict(Conflict::Leaked));
    }
    matches!(by.actor, Actor::Key { .. }).then_some(Refusal::UsersOnly)
}

/// The marked lineages whose keys a sweep is about to delete, in part or all of them.
pub(super) async fn of_expired(
    tx: &mut Tx,
    before: Timestamp,
    most: i64,
) -> Result<Vec<KeyId>, StoreError> {
    let lineages: Vec<(i64,)> = tx.fetch(OF_EXPIRED, values![before.0, most]).await?;
    Ok(lineages.into_iter().map(|(id,)| KeyId(id)).collect())
}

/// Takes away the marks of those of which no key has a row any more.
pub(super) async fn forget(tx: &mut Tx, lineages: &[KeyId]) -> Result<(), StoreError> {
    for lineage in lineages {
        tx.execute(FORGET, values![lineage.0]).await?;
    }
    Ok(())
}
