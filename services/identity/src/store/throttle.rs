//! The rows of `login_failures`.

use latchkey_contract::{CredentialHash, Timestamp};
use latchkey_store::{Db, on};
use sqlx::FromRow;

pub(super) const FIND: &str =
    "SELECT failures, last_failure_at FROM login_failures WHERE name_hash = $1";
pub(super) const COUNT: &str = "INSERT INTO login_failures (name_hash, failures, last_failure_at) \
    VALUES ($1, 1, $2) ON CONFLICT (name_hash) DO UPDATE SET \
    failures = login_failures.failures + 1, last_failure_at = $2";
pub(super) const FORGET: &str = "DELETE FROM login_failures WHERE name_hash = $1";
pub(super) const DELETE_OLD: &str = "DELETE FROM login_failures WHERE name_hash IN \
    (SELECT name_hash FROM login_failures WHERE last_failure_at < $1 LIMIT $2)";

/// How often logins of one name failed since the last success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromRow)]
pub struct FailedLogins {
    /// How often.
    pub failures: i64,
    /// When last, in milliseconds since 1970.
    pub last_failure_at: i64,
}

/// The failures of one name, if there are any.
///
/// # Errors
/// What the database said instead.
pub async fn find(db: &Db, name: &CredentialHash) -> Result<Option<FailedLogins>, sqlx::Error> {
    let name = name.0.as_slice();
    on!(read db, |at| sqlx::query_as(FIND).bind(name).fetch_optional(at).await)
}

/// Counts one more.
///
/// # Errors
/// What the database said instead.
pub async fn count(db: &Db, name: &CredentialHash, now: Timestamp) -> Result<(), sqlx::Error> {
    let name = name.0.as_slice();
    on!(write db, |at| sqlx::query(COUNT).bind(name).bind(now.0).execute(at).await.map(drop))
}

/// Forgets them.
///
/// # Errors
/// What the database said instead.
pub async fn forget(db: &Db, name: &CredentialHash) -> Result<(), sqlx::Error> {
    let name = name.0.as_slice();
    on!(write db, |at| sqlx::query(FORGET).bind(name).execute(at).await.map(drop))
}

/// Deletes at most `most` that are older than `before`; how many there were.
///
/// # Errors
/// What the database said instead.
pub async fn delete_old(db: &Db, before: Timestamp, most: i64) -> Result<u64, sqlx::Error> {
    on!(write db, |at| sqlx::query(DELETE_OLD)
        .bind(before.0)
        .bind(most)
        .execute(at)
        .await
        .map(|done| done.rows_affected()))
}
