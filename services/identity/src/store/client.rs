//! The rows of `identity_login_clients`: from where an account was logged in to.

use latchkey_contract::{CredentialHash, Timestamp};
use latchkey_store::{Db, StoreError, values};

pub(super) const FIND: &str =
    "SELECT seen_at FROM identity_login_clients WHERE user_id = $1 AND client = $2";
pub(super) const REMEMBER: &str = "INSERT INTO identity_login_clients (user_id, client, seen_at) \
    VALUES ($1, $2, $3) ON CONFLICT (user_id, client) DO UPDATE SET seen_at = $3";
pub(super) const KEEP_LAST: &str = "DELETE FROM identity_login_clients WHERE user_id = $1 \
    AND client NOT IN (SELECT client FROM identity_login_clients WHERE user_id = $1 \
    ORDER BY seen_at DESC, client LIMIT $2)";
pub(super) const DELETE_OLD: &str = "DELETE FROM identity_login_clients \
    WHERE (user_id, client) IN (SELECT user_id, client FROM identity_login_clients \
    WHERE seen_at < $1 LIMIT $2)";

/// When `user` last logged in from this client, as far as it was noted.
///
/// # Errors
/// [`StoreError`]
pub async fn find(
    db: &Db,
    user: i64,
    client: &CredentialHash,
) -> Result<Option<Timestamp>, StoreError> {
    let seen: Option<(i64,)> = db.fetch_first(FIND, values![user, &client.0]).await?;
    Ok(seen.map(|(at,)| Timestamp(at)))
}

/// Notes that `user` logged in from this client, and keeps at most `max` clients of theirs: the last.
///
/// # Errors
/// [`StoreError`]
pub async fn remember(
    db: &Db,
    user: i64,
    client: &CredentialHash,
    now: Timestamp,
    max: i64,
) -> Result<(), StoreError> {
    db.execute(REMEMBER, values![user, &client.0, now.0]).await?;
    db.execute(KEEP_LAST, values![user, max]).await.map(drop)
}

/// Deletes at most `max` clients that were not seen since `before`; how many there were.
///
/// # Errors
/// [`StoreError`]
pub async fn delete_old(db: &Db, before: Timestamp, max: i64) -> Result<u64, StoreError> {
    db.execute(DELETE_OLD, values![before.0, max]).await
}
