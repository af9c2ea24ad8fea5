//! The rows of `users`.

use latchkey_authority::{Change, record};
use latchkey_contract::lease::Subject;
use latchkey_contract::{SessionId, Timestamp, UserId};
use latchkey_store::{Db, on, transaction};
use sqlx::FromRow;

use super::AUTHORITY;
use super::session::END_ALL;
use crate::rules::Canonical;

pub(super) const TAKEN: &str = "SELECT \
    EXISTS (SELECT 1 FROM users WHERE email_canonical = $1) AS email, \
    EXISTS (SELECT 1 FROM users WHERE username_canonical = $2) AS username";
pub(super) const INSERT: &str = "INSERT INTO users \
    (email, email_canonical, username, username_canonical, password_hash, is_active, created_at) \
    VALUES ($1, $2, $3, $4, $5, TRUE, $6) ON CONFLICT DO NOTHING RETURNING id";
pub(super) const FIND_LOGIN: &str =
    "SELECT id, password_hash, is_active FROM users WHERE username_canonical = $1";
pub(super) const SET_PASSWORD_HASH: &str =
    "UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2";
pub(super) const SET_ACTIVE: &str =
    "UPDATE users SET is_active = $2 WHERE username_canonical = $1 RETURNING id";
pub(super) const FIND_PASSWORD: &str =
    "SELECT username_canonical, email_canonical, password_hash FROM users WHERE id = $1";
pub(super) const CHANGE_PASSWORD: &str =
    "UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2 RETURNING id";

/// Which of a new account's names somebody has already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromRow)]
pub struct Taken {
    /// The address.
    pub email: bool,
    /// The username.
    pub username: bool,
}

/// An account to be.
pub struct NewUser<'a> {
    /// The address.
    pub email: &'a Canonical,
    /// The name.
    pub username: &'a Canonical,
    /// A PHC string.
    pub password_hash: &'a str,
    /// Now.
    pub created_at: Timestamp,
}

/// What a login needs of an account.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Login {
    /// The account's id.
    pub id: i64,
    /// A PHC string.
    pub password_hash: String,
    /// Whether the account may log in.
    pub is_active: bool,
}

/// What a change of password needs of an account.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Known {
    /// The name in its canonical form.
    pub username_canonical: String,
    /// The address in its canonical form.
    pub email_canonical: String,
    /// A PHC string.
    pub password_hash: String,
}

/// Which names somebody has already, in their canonical forms.
///
/// # Errors
/// What the database said instead.
pub async fn taken(db: &Db, email: &str, username: &str) -> Result<Taken, sqlx::Error> {
    on!(read db, |at| sqlx::query_as(TAKEN).bind(email).bind(username).fetch_one(at).await)
}

/// Adds an account and gives its id; `None` where a name is taken.
///
/// # Errors
/// What the database said instead.
pub async fn insert(db: &Db, user: &NewUser<'_>) -> Result<Option<i64>, sqlx::Error> {
    // Every row, not the first: see `latchkey_store`'s note on RETURNING.
    let ids: Vec<i64> = on!(write db, |at| sqlx::query_scalar(INSERT)
        .bind(&user.email.shown)
        .bind(&user.email.canonical)
        .bind(&user.username.shown)
        .bind(&user.username.canonical)
        .bind(user.password_hash)
        .bind(user.created_at.0)
        .fetch_all(at)
        .await)?;
    Ok(ids.first().copied())
}

/// The account with this canonical username.
///
/// # Errors
/// What the database said instead.
pub async fn find_login(db: &Db, username: &str) -> Result<Option<Login>, sqlx::Error> {
    on!(read db, |at| sqlx::query_as(FIND_LOGIN).bind(username).fetch_optional(at).await)
}

/// Replaces a password's hash, unless it is no longer `old`.
///
/// # Errors
/// What the database said instead.
pub async fn set_password_hash(
    db: &Db,
    user: i64,
    old: &str,
    new: &str,
) -> Result<(), sqlx::Error> {
    on!(write db, |at| sqlx::query(SET_PASSWORD_HASH)
        .bind(user)
        .bind(old)
        .bind(new)
        .execute(at)
        .await
        .map(drop))
}

/// What a change of password needs of an account.
///
/// # Errors
/// What the database said instead.
pub async fn find_known(db: &Db, user: UserId) -> Result<Option<Known>, sqlx::Error> {
    on!(read db, |at| sqlx::query_as(FIND_PASSWORD).bind(user.0).fetch_optional(at).await)
}

/// Replaces a password's hash, unless it is no longer `old`, ends every session but `session`, and takes a
/// position for it. `None`: it is no longer `old`.
///
/// # Errors
/// What the database said instead.
pub async fn change_password(
    db: &Db,
    user: UserId,
    session: &SessionId,
    (old, new): (&str, &str),
    now: Timestamp,
) -> Result<Option<Change>, sqlx::Error> {
    let (sql, keep) = (AUTHORITY.of(db), session.0.as_slice());
    transaction!(db, |tx| {
        let changed: Vec<i64> = sqlx::query_scalar(CHANGE_PASSWORD)
            .bind(user.0)
            .bind(old)
            .bind(new)
            .fetch_all(&mut *tx)
            .await?;
        if changed.is_empty() {
            return Ok(None);
        }
        sqlx::query(END_ALL).bind(user.0).bind(now.0).bind(keep).execute(&mut *tx).await?;
        let row = record!(tx, sql, None, Some(user.0), now);
        Some(Change { subject: Subject::Owner(user), row, earlier: None })
    })
}

/// Deactivates an account, with all its sessions, or reactivates it, and takes a position for it. `None`:
/// there is no such account.
///
/// # Errors
/// What the database said instead.
pub async fn set_active(
    db: &Db,
    username: &str,
    active: bool,
    now: Timestamp,
) -> Result<Option<(UserId, Change)>, sqlx::Error> {
    let (sql, none): (_, &[u8]) = (AUTHORITY.of(db), &[]);
    transaction!(db, |tx| {
        let ids: Vec<i64> =
            sqlx::query_scalar(SET_ACTIVE).bind(username).bind(active).fetch_all(&mut *tx).await?;
        let Some(id) = ids.first().copied() else { return Ok(None) };
        if !active {
            sqlx::query(END_ALL).bind(id).bind(now.0).bind(none).execute(&mut *tx).await?;
        }
        let row = record!(tx, sql, None, Some(id), now);
        Some((UserId(id), Change { subject: Subject::Owner(UserId(id)), row, earlier: None }))
    })
}
