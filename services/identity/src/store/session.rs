//! The rows of `sessions`.

use latchkey_contract::{SessionId, Timestamp, UserId};
use latchkey_store::{Batched, Db, batched, on};
use sqlx::FromRow;

pub(super) const INSERT: &str =
    "INSERT INTO sessions (id, user_id, created_at, expires_at) VALUES ($1, $2, $3, $4)";
pub(super) const END: &str = "UPDATE sessions SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL";
pub(super) const DELETE_EXPIRED: &str = "DELETE FROM sessions WHERE id IN \
    (SELECT id FROM sessions WHERE expires_at < $1 LIMIT $2)";
pub(super) const FIND: Batched = batched!(
    "SELECT sessions.id, sessions.user_id, sessions.expires_at, sessions.ended_at, \
     users.username, users.email, users.is_active \
     FROM sessions JOIN users ON users.id = sessions.user_id",
    "sessions.id"
);

/// A session to be.
pub struct NewSession {
    /// Its id, of 128 random bits.
    pub id: SessionId,
    /// Whose it is.
    pub user: UserId,
    /// Now.
    pub created_at: Timestamp,
    /// When its token expires.
    pub expires_at: Timestamp,
}

/// What a verification needs of a session and its account.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct SessionRow {
    /// The session.
    pub id: Vec<u8>,
    /// Whose it is.
    pub user_id: i64,
    /// When its token expires, in milliseconds since 1970.
    pub expires_at: i64,
    /// When it was ended, if it was.
    pub ended_at: Option<i64>,
    /// The account's name as it was written.
    pub username: String,
    /// The account's address as it was written.
    pub email: String,
    /// Whether the account may act.
    pub is_active: bool,
}

/// Adds a session.
///
/// # Errors
/// What the database said instead.
pub async fn insert(db: &Db, session: &NewSession) -> Result<(), sqlx::Error> {
    on!(write db, |at| sqlx::query(INSERT)
        .bind(session.id.0.as_slice())
        .bind(session.user.0)
        .bind(session.created_at.0)
        .bind(session.expires_at.0)
        .execute(at)
        .await
        .map(drop))
}

/// Ends a session, unless it has ended.
///
/// # Errors
/// What the database said instead.
pub async fn end(db: &Db, session: &SessionId, now: Timestamp) -> Result<(), sqlx::Error> {
    let id = session.0.as_slice();
    on!(write db, |at| sqlx::query(END).bind(id).bind(now.0).execute(at).await.map(drop))
}

/// The sessions with these ids, those that exist.
///
/// # Errors
/// What the database said instead.
pub async fn find(db: &Db, ids: &[&[u8]]) -> Result<Vec<SessionRow>, sqlx::Error> {
    FIND.fetch(db, ids).await
}

/// Deletes at most `most` sessions that expired before `before`; how many there were.
///
/// # Errors
/// What the database said instead.
pub async fn delete_expired(db: &Db, before: Timestamp, most: i64) -> Result<u64, sqlx::Error> {
    on!(write db, |at| sqlx::query(DELETE_EXPIRED)
        .bind(before.0)
        .bind(most)
        .execute(at)
        .await
        .map(|done| done.rows_affected()))
}
