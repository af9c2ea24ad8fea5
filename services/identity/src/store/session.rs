//! The rows of `sessions`.

use latchkey_authority::{Change, Read, SnapshotRow, record, verification};
use latchkey_contract::lease::{Position, Subject};
use latchkey_contract::{CredentialHash, SessionId, Timestamp, UserId};
use latchkey_store::{Batched, Db, on, transaction};
use sqlx::FromRow;

use super::AUTHORITY;

pub(super) const INSERT: &str = "INSERT INTO sessions \
    (id, user_id, created_at, expires_at, token_hash) VALUES ($1, $2, $3, $4, $5)";
pub(super) const END: &str = "UPDATE sessions SET ended_at = COALESCE(ended_at, $2) \
    WHERE id = $1 RETURNING user_id, token_hash, ended_position, is_settled";
pub(super) const PLACE: &str = "UPDATE sessions SET ended_position = $2 WHERE id = $1";
pub(super) const SETTLE: &str =
    "UPDATE sessions SET is_settled = TRUE WHERE id = $1 AND ended_position = $2";
pub(super) const END_ALL: &str =
    "UPDATE sessions SET ended_at = $2 WHERE user_id = $1 AND ended_at IS NULL AND id <> $3";
pub(super) const DELETE_EXPIRED: &str = "DELETE FROM sessions WHERE id IN \
    (SELECT id FROM sessions WHERE expires_at < $1 LIMIT $2)";
pub(super) const FIND: Batched = verification!(
    "identity",
    columns: "sessions.id, sessions.user_id, sessions.expires_at, sessions.ended_at, \
        sessions.token_hash, users.username, users.email, users.is_active",
    nulls: "NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL",
    from: "sessions JOIN users ON users.id = sessions.user_id",
    where: "sessions.id"
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
    /// How an edge names its token.
    pub token: CredentialHash,
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
    /// SHA-256 of its token; unknown of sessions from before there was this column.
    pub token_hash: Option<Vec<u8>>,
    /// The account's name as it was written.
    pub username: String,
    /// The account's address as it was written.
    pub email: String,
    /// Whether the account may act.
    pub is_active: bool,
}

/// A row of a verification: the service's own columns are there in rows of sessions alone.
#[derive(FromRow)]
struct FoundRow {
    #[sqlx(flatten)]
    snapshot: SnapshotRow,
    id: Option<Vec<u8>>,
    user_id: Option<i64>,
    expires_at: Option<i64>,
    ended_at: Option<i64>,
    token_hash: Option<Vec<u8>>,
    username: Option<String>,
    email: Option<String>,
    is_active: Option<bool>,
}

impl FoundRow {
    fn session(self) -> Option<SessionRow> {
        Some(SessionRow {
            id: self.id?,
            user_id: self.user_id?,
            expires_at: self.expires_at?,
            ended_at: self.ended_at,
            token_hash: self.token_hash,
            username: self.username?,
            email: self.email?,
            is_active: self.is_active?,
        })
    }
}

#[derive(FromRow)]
struct EndedRow {
    user_id: i64,
    token_hash: Option<Vec<u8>>,
    ended_position: Option<i64>,
    is_settled: bool,
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
        .bind(session.token.0.as_slice())
        .execute(at)
        .await
        .map(drop))
}

/// Ends a session, and takes a position for it unless it has one. `None`: there is no such session.
///
/// # Errors
/// What the database said instead.
pub async fn end(
    db: &Db,
    session: &SessionId,
    now: Timestamp,
) -> Result<Option<Change>, sqlx::Error> {
    let (sql, id) = (AUTHORITY.of(db), session.0.as_slice());
    transaction!(db, |tx| {
        let rows: Vec<EndedRow> =
            sqlx::query_as(END).bind(id).bind(now.0).fetch_all(&mut *tx).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let named = row.token_hash.as_deref().and_then(|hash| hash.try_into().ok());
        let (subject, owner) = match named {
            Some(hash) => (Subject::Credential(CredentialHash(hash)), None),
            None => (Subject::Owner(UserId(row.user_id)), Some(row.user_id)),
        };
        if let Some(position) = row.ended_position {
            let here = sqlx::query_as(sql.position).fetch_one(&mut *tx).await?;
            let earlier = Some((Position(position), row.is_settled));
            Some(Change { subject, row: here, earlier })
        } else {
            let credential = if owner.is_none() { row.token_hash.as_deref() } else { None };
            let taken = record!(tx, sql, credential, owner, now);
            sqlx::query(PLACE).bind(id).bind(taken.position().0).execute(&mut *tx).await?;
            Some(Change { subject, row: taken, earlier: None })
        }
    })
}

/// Ends every session of `user`, and takes a position for it.
///
/// # Errors
/// What the database said instead.
pub async fn end_all(db: &Db, user: UserId, now: Timestamp) -> Result<Change, sqlx::Error> {
    let sql = AUTHORITY.of(db);
    transaction!(db, |tx| {
        let none: &[u8] = &[];
        sqlx::query(END_ALL).bind(user.0).bind(now.0).bind(none).execute(&mut *tx).await?;
        let row = record!(tx, sql, None, Some(user.0), now);
        Change { subject: Subject::Owner(user), row, earlier: None }
    })
}

/// Marks an ended session as seen to its end: no edge accepts its token any more.
///
/// # Errors
/// What the database said instead.
pub async fn settle(db: &Db, session: &SessionId, position: Position) -> Result<(), sqlx::Error> {
    let id = session.0.as_slice();
    on!(write db, |at| sqlx::query(SETTLE).bind(id).bind(position.0).execute(at).await.map(drop))
}

/// The sessions with these ids, those that exist, and which of the members there are, from one snapshot.
///
/// # Errors
/// What the database said instead.
pub async fn find(
    db: &Db,
    ids: &[&[u8]],
    members: &[&[u8]],
) -> Result<(Read, Vec<SessionRow>), sqlx::Error> {
    let rows: Vec<FoundRow> = FIND.fetch(db, ids, members).await?;
    let mut read = Read::default();
    let mut sessions = Vec::with_capacity(rows.len());
    for row in rows {
        if !read.take(&row.snapshot) {
            sessions.extend(row.session());
        }
    }
    Ok((read, sessions))
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
