//! In which order a transaction takes what others wait for, so that no two wait for each other:
//!
//! 1. the row of `keys_telling`, where it changes what is known of owners;
//! 2. the owner's lock, which holds the owner's state, and every lineage of theirs: whoever gives something back, makes a
//!    key, marks a lineage as leaked or takes the rows of two keys has it;
//! 3. rows of keys;
//! 4. the counter of revisions.
//!
//! Whoever does without the lock of the owner takes the row of one key (a plain revoke, a purge, what marks a change as seen to
//! its end), or several by one statement, which is repeated where it was given up (uses of keys, the sweep). So of two
//! that want rows which the other has, one at most holds more than it waits for.

use latchkey_contract::UserId;
use latchkey_store::{StoreError, Tx, values};

use super::{IS_DISABLED, limit};

/// Has everybody else who gives something back to `owner`, makes a key of theirs, or tells of them wait until the
/// transaction ends. What is read behind it holds until then.
pub(super) async fn owner(tx: &mut Tx, owner: UserId) -> Result<(), StoreError> {
    limit::lock(tx, owner).await
}

/// Whether `owner` is deactivated: behind their [lock](owner), until the transaction ends.
pub(super) async fn is_disabled(tx: &mut Tx, owner: UserId) -> Result<bool, StoreError> {
    let disabled: Option<(bool,)> = tx.fetch_first(IS_DISABLED, values![owner.0]).await?;
    Ok(disabled == Some((true,)))
}
