//! Eras of sessions: where all end at once, the next one begins.

use latchkey_contract::Timestamp;
use latchkey_store::{Db, StoreError, Tx, values};

/// Ends every session that there is, and every one that is opened by what was read before.
pub(super) const NEXT: &str = "UPDATE identity_settings SET era = era + 1 WHERE id = 1";
pub(super) const END_FORMER: &str = "UPDATE sessions SET ended_at = $1 WHERE id IN \
    (SELECT id FROM sessions WHERE ended_at IS NULL \
    AND era < (SELECT era FROM identity_settings WHERE id = 1) LIMIT $2)";

/// Sessions that one statement ends at most.
const END_AT_ONCE: i64 = 5_000;

/// Begins the next era: every session has ended when the transaction is committed.
///
/// # Errors
/// [`StoreError`]
pub(super) async fn begin_next(tx: &mut Tx) -> Result<(), StoreError> {
    tx.execute(NEXT, &[]).await.map(drop)
}

/// Writes the end into the rows of sessions of former eras, which have ended already, for whoever reads rows alone.
///
/// # Errors
/// [`StoreError`]; then some rows do not say it.
pub async fn end_former(db: &Db, now: Timestamp) -> Result<(), StoreError> {
    // It ends with the rows: none is added to a former era but by who read it before it was over.
    while db.execute(END_FORMER, values![now.0, END_AT_ONCE]).await? > 0 {}
    Ok(())
}
