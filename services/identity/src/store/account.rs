//! The rows of `users`.

use latchkey_audit::{Action, Event, Target, append};
use latchkey_contract::identity::UserState;
use latchkey_contract::{Caller, Timestamp, UserId};
use latchkey_store::{Db, StoreError, values};
use sqlx::FromRow;

use super::AUDIT;
use crate::rules::{Canonical, Username};

pub(super) const TAKEN: &str = "SELECT \
    EXISTS (SELECT 1 FROM users WHERE email_canonical = $1 OR email_folded = $2) AS email, \
    EXISTS (SELECT 1 FROM users WHERE username_canonical IN ($3, $4) OR username_folded = $4) AS username";
pub(super) const INSERT: &str = "INSERT INTO users \
    (email, email_canonical, email_folded, username, username_canonical, username_folded, \
    password_hash, is_active, created_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, TRUE, $8) ON CONFLICT DO NOTHING RETURNING id";
/// By its canonical form first: that is how accounts are told apart whose folded names fall together.
pub(super) const FIND_LOGIN: &str = "SELECT id, version, active_version, password_hash, is_active FROM users \
    WHERE username_canonical = $1 OR (username_folded = $2 AND NOT username_shared) \
    ORDER BY CASE WHEN username_canonical = $1 THEN 0 ELSE 1 END LIMIT 1";
pub(super) const FIND_LOGIN_BY_ID: &str = "SELECT id, version, active_version, password_hash, is_active \
    FROM users WHERE id = $1";
pub(super) const RENEW_PASSWORD_HASH: &str = "UPDATE users SET password_hash = $4 \
    WHERE id = $1 AND version = $2 AND password_hash = $3";
pub(super) const FIND_PASSWORD: &str = "SELECT username_canonical, email_canonical, password_hash, \
    version, is_active, password_mark FROM users WHERE id = $1";
pub(super) const STATE: &str =
    "SELECT id, version, active_version, last_session, ceiling_version FROM users WHERE id = $1";
pub(super) const NAME: &str = "SELECT username FROM users WHERE id = $1";
/// By its canonical form first, as a login.
pub(super) const STATE_BY_NAME: &str = "SELECT id, version, active_version, last_session, ceiling_version FROM users \
    WHERE username_canonical = $1 OR (username_folded = $2 AND NOT username_shared) \
    ORDER BY CASE WHEN username_canonical = $1 THEN 0 ELSE 1 END LIMIT 1";
/// The next cost of those that hashes were made at: what a hash begins with. Its salt and its end are 67
/// characters. An index has it (see the migration), so that each is found at once among millions.
pub(super) const NEXT_COST: &str = "SELECT \
    CASE WHEN length(password_hash) > 67 THEN substr(password_hash, 1, length(password_hash) - 67) ELSE '' END \
    FROM users WHERE \
    CASE WHEN length(password_hash) > 67 THEN substr(password_hash, 1, length(password_hash) - 67) ELSE '' END > $1 \
    ORDER BY 1 LIMIT 1";

/// Costs that are looked for at most.
const MAX_COSTS: usize = 16;

/// Which of a new account's names somebody has already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromRow)]
pub struct TakenNames {
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
    /// What a session is opened on: a new password and a change of activity raise it.
    pub version: i64,
    /// Raised by a change of activity alone.
    pub active_version: i64,
    /// A PHC string.
    pub password_hash: String,
    /// Whether the account may log in.
    pub is_active: bool,
}

/// What an account is called, as its user has spelled it.
///
/// # Errors
/// [`StoreError`]
pub async fn name(db: &Db, user: UserId) -> Result<Option<String>, StoreError> {
    let row: Option<(String,)> = db.fetch_first(NAME, values![user.0]).await?;
    Ok(row.map(|(name,)| name))
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
    /// A new password and a change of activity raise it.
    pub version: i64,
    /// Whether the account may act.
    pub is_active: bool,
    /// The command that set the password, if one did after the signup.
    pub password_mark: Option<Vec<u8>>,
}

impl Login {
    /// How many new passwords there were; a renewed hash is none.
    #[must_use]
    pub fn passwords(&self) -> i64 {
        self.version - self.active_version
    }
}

#[derive(FromRow)]
struct StateRow {
    id: i64,
    version: i64,
    active_version: i64,
    last_session: i64,
    ceiling_version: i64,
}

impl From<StateRow> for UserState {
    fn from(row: StateRow) -> Self {
        let StateRow { id, version, active_version, last_session, ceiling_version } = row;
        Self { user: UserId(id), version, active_version, last_session, ceiling_version }
    }
}

/// Which names somebody has already.
///
/// # Errors
/// [`StoreError`]
pub async fn taken(
    db: &Db,
    email: &Canonical,
    username: &Canonical,
) -> Result<TakenNames, StoreError> {
    let values = values![&email.canonical, &email.folded, &username.canonical, &username.folded];
    let taken = db.fetch_first(TAKEN, values).await?;
    taken.ok_or(StoreError::Unexpected("a question without an answer"))
}

/// Adds an account, and the event of it, and gives its id; `None` where a name is taken.
///
/// # Errors
/// [`StoreError`]
pub async fn insert(db: &Db, user: &NewUser<'_>, by: &Caller) -> Result<Option<i64>, StoreError> {
    let names = (user.email, user.username);
    let values = values![
        &names.0.shown,
        &names.0.canonical,
        &names.0.folded,
        &names.1.shown,
        &names.1.canonical,
        &names.1.folded,
        user.password_hash,
        user.created_at.0,
    ];
    let mut tx = db.begin("open account").await?;
    let id: Option<(i64,)> = tx.fetch_first(INSERT, values).await?;
    let Some((id,)) = id else { return Ok(None) };
    let target = Target::User(UserId(id));
    let event = Event::done(Action::UserSignedUp, target, user.created_at, by);
    append(&mut tx, &AUDIT, &event).await?;
    tx.commit().await?;
    Ok(Some(id))
}

/// The account with this username.
///
/// # Errors
/// [`StoreError`]
pub async fn find_login(db: &Db, name: &Username) -> Result<Option<Login>, StoreError> {
    db.fetch_first(FIND_LOGIN, values![&name.canonical, name.folded.as_deref()]).await
}

/// The account with this id.
///
/// # Errors
/// [`StoreError`]
pub async fn find_login_by_id(db: &Db, user: i64) -> Result<Option<Login>, StoreError> {
    db.fetch_first(FIND_LOGIN_BY_ID, values![user]).await
}

/// What commands on the account with this id are decided on.
///
/// # Errors
/// [`StoreError`]
pub async fn state(db: &Db, user: UserId) -> Result<Option<UserState>, StoreError> {
    let row: Option<StateRow> = db.fetch_first(STATE, values![user.0]).await?;
    Ok(row.map(UserState::from))
}

/// The same of the account with this username.
///
/// # Errors
/// [`StoreError`]
pub async fn state_by_name(db: &Db, name: &Username) -> Result<Option<UserState>, StoreError> {
    let values = values![&name.canonical, name.folded.as_deref()];
    let row: Option<StateRow> = db.fetch_first(STATE_BY_NAME, values).await?;
    Ok(row.map(UserState::from))
}

/// Replaces the hash of the password that `user` was found with by another of the same password: the account's
/// version stays. Does nothing where the account was changed since.
///
/// # Errors
/// [`StoreError`]
pub async fn renew_password_hash(db: &Db, user: &Login, new: &str) -> Result<(), StoreError> {
    let values = values![user.id, user.version, &user.password_hash, new];
    db.execute(RENEW_PASSWORD_HASH, values).await.map(drop)
}

/// What the accounts' hashes begin with, each once: kind, version and cost.
///
/// # Errors
/// [`StoreError`]
pub async fn costs_in_use(db: &Db) -> Result<Vec<String>, StoreError> {
    let mut all: Vec<String> = Vec::new();
    while all.len() < MAX_COSTS {
        let last = all.last().map_or("", String::as_str);
        let next: Option<(String,)> = db.fetch_first(NEXT_COST, values![last]).await?;
        match next {
            Some((next,)) => all.push(next),
            None => break,
        }
    }
    Ok(all)
}

/// What a change of password needs of an account.
///
/// # Errors
/// [`StoreError`]
pub async fn find_known(db: &Db, user: UserId) -> Result<Option<Known>, StoreError> {
    db.fetch_first(FIND_PASSWORD, values![user.0]).await
}
