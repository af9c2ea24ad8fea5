//! The rows of `sessions`, from their opening on.

use latchkey_audit::{Action, Event, Target, append};
use latchkey_authority::lookup::Rows;
use latchkey_authority::{
    Change, Ended, Read, SnapshotRow, append_invalidation, end_once, verification,
};
use latchkey_contract::lease::{Revision, Tag};
use latchkey_contract::{Caller, CredentialHash, SessionId, Timestamp, UserId};
use latchkey_store::{Batched, Db, StoreError, Tx, Value, values};
use sqlx::FromRow;

use super::{AUDIT, AUTHORITY};

/// Whoever ends several sessions of an account takes the account first.
pub(super) const LOCK_USER: &str =
    "UPDATE users SET last_session = last_session WHERE id = $1 RETURNING id";
/// Ends a session that has not ended yet.
pub(super) const END_OPEN: &str =
    "UPDATE sessions SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL";
pub(super) const END: &str = "UPDATE sessions SET ended_at = COALESCE(ended_at, $2) \
    WHERE id = $1 RETURNING user_id, token_hash, max_expires_at, ended_position, is_settled";
pub(super) const SET_REVISION: &str = "UPDATE sessions SET ended_position = $2 WHERE id = $1";
pub(super) const MARK_CONFIRMED: &str =
    "UPDATE sessions SET is_settled = TRUE WHERE id = $1 AND ended_position = $2";
pub(super) const END_ALL: &str =
    "UPDATE sessions SET ended_at = $2 WHERE user_id = $1 AND ended_at IS NULL AND id <> $3";
pub(super) const END_THROUGH: &str = "UPDATE sessions SET ended_at = $2 \
    WHERE user_id = $1 AND ended_at IS NULL AND number <= $3 AND id <> $4";
/// Where a page of sessions ends that begins behind `$1`.
pub(super) const PAGE: &str = "SELECT id FROM \
    (SELECT id FROM sessions WHERE id > $1 ORDER BY id LIMIT $2) AS page ORDER BY id DESC LIMIT 1";
pub(super) const END_PAGE: &str = "UPDATE sessions SET ended_at = $3 \
    WHERE id > $1 AND id <= $2 AND ended_at IS NULL";
pub(super) const DELETE_EXPIRED: &str = "DELETE FROM sessions WHERE id IN \
    (SELECT id FROM sessions WHERE expires_at < $1 LIMIT $2)";
pub(super) const FIND: Batched = verification!(
    "identity",
    columns: "sessions.id, sessions.user_id, sessions.expires_at, sessions.ended_at, \
        sessions.token_hash, users.username, users.email, users.is_active, sessions.scope, \
        sessions.max_expires_at, COALESCE(users.ceiling, identity_settings.user_scopes) AS ceiling, \
        sessions.era, identity_settings.era AS present_era",
    nulls: "NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL",
    from: "sessions JOIN users ON users.id = sessions.user_id \
        LEFT JOIN identity_settings ON identity_settings.id = 1",
    where: "sessions.id",
    facts: "fact", "(SELECT fingerprint AS fact FROM identity_signers \
        WHERE withdrawn_at IS NULL AND kid IS NULL UNION ALL \
        SELECT thumbprint FROM signing_keys WHERE revoked_at IS NULL) AS accepted"
);

/// Sessions that one statement ends at most.
const END_AT_ONCE: i64 = 5_000;
/// No session's id: whose sessions end but this one's, all of theirs end.
pub(super) const NO_SESSION: [u8; 0] = [];

/// What a verification needs of a session and its account.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct SessionRow {
    /// The session.
    pub id: Vec<u8>,
    /// Whose it is.
    pub user_id: i64,
    /// When it ends if nothing prolongs it, in milliseconds since 1970.
    pub expires_at: i64,
    /// When it was ended, if it was.
    pub ended_at: Option<i64>,
    /// SHA-256 of its first token; unknown of sessions from before there was this column.
    pub token_hash: Option<Vec<u8>>,
    /// Beyond it no refresh prolongs the session; `None` where it has that one token alone.
    pub max_expires_at: Option<i64>,
    /// The account's name as it was written.
    pub username: String,
    /// The account's address as it was written.
    pub email: String,
    /// Whether the account may act.
    pub is_active: bool,
    /// What was asked for at the login; `None` for everything that the user may do.
    pub scope: Option<String>,
    /// What the user may do at most; `None` where no release that knows ceilings has set one.
    pub ceiling: Option<String>,
    /// When it was opened, as eras are counted.
    pub era: i64,
    /// The era that counts now: a session of an earlier one has ended. `None` where there are no settings.
    pub present_era: Option<i64>,
}

impl SessionRow {
    /// Whether it was ended, by itself or with every other.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended_at.is_some() || self.present_era.is_some_and(|present| self.era < present)
    }
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
    scope: Option<String>,
    max_expires_at: Option<i64>,
    ceiling: Option<String>,
    era: Option<i64>,
    present_era: Option<i64>,
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
            scope: self.scope,
            max_expires_at: self.max_expires_at,
            ceiling: self.ceiling,
            era: self.era?,
            present_era: self.present_era,
        })
    }
}

#[derive(FromRow)]
struct EndedRow {
    user_id: i64,
    token_hash: Option<Vec<u8>>,
    max_expires_at: Option<i64>,
    #[sqlx(rename = "ended_position")]
    ended_revision: Option<i64>,
    #[sqlx(rename = "is_settled")]
    is_confirmed: bool,
}

/// Ends a session, with an event of it, and takes a revision for it unless it has one. `None`: there is no such session.
///
/// # Errors
/// [`StoreError`]
pub async fn end(
    db: &Db,
    session: &SessionId,
    (action, by): (Action, &Caller),
    now: Timestamp,
) -> Result<Option<Change>, StoreError> {
    let mut tx = db.begin("end session").await?;
    let change = end_in(&mut tx, session, (action, by), now).await?;
    if change.is_some() {
        tx.commit().await?;
    }
    Ok(change)
}

/// The same inside a transaction.
pub(super) async fn end_in(
    tx: &mut Tx,
    session: &SessionId,
    (action, by): (Action, &Caller),
    now: Timestamp,
) -> Result<Option<Change>, StoreError> {
    let is_new = tx.execute(END_OPEN, values![&session.0, now.0]).await? > 0;
    let ended: Option<EndedRow> = tx.fetch_first(END, values![&session.0, now.0]).await?;
    let Some(row) = ended else { return Ok(None) };
    let named = row.token_hash.as_deref().and_then(|hash| hash.try_into().ok());
    let tag = match named {
        // It has, or had, other tokens.
        _ if row.max_expires_at.is_some() => Tag::of_session(*session),
        Some(hash) => Tag::Credential(CredentialHash(hash)),
        None => Tag::of_user(UserId(row.user_id)),
    };
    let ended = Ended { tag, earlier: row.ended_revision, is_confirmed: row.is_confirmed };
    let id = Value::from(&session.0);
    let change = end_once(tx, &AUTHORITY, ended, (SET_REVISION, id), now).await?;
    if is_new {
        let event = Event::done(action, Target::Session(*session), now, by);
        append(tx, &AUDIT, &event.took(change.revision())).await?;
    }
    Ok(Some(change))
}

/// Ends the sessions of `user` up to a number but for one that is kept, and takes a revision for it. Where there was one there is an event of it.
///
/// # Errors
/// [`StoreError`]
pub async fn end_through(
    db: &Db,
    user: UserId,
    (through, kept): (i64, Option<SessionId>),
    by: &Caller,
    now: Timestamp,
) -> Result<Change, StoreError> {
    let mut tx = db.begin("end all sessions").await?;
    tx.execute(LOCK_USER, values![user.0]).await?;
    let kept = kept.as_ref().map_or(NO_SESSION.as_slice(), |kept| &kept.0);
    let ended = tx.execute(END_THROUGH, values![user.0, now.0, through, kept]).await?;
    let tag = Tag::of_user(user);
    let row = append_invalidation(&mut tx, &AUTHORITY, tag, now).await?;
    if ended > 0 {
        let event = Event::done(Action::UserLoggedOut, Target::User(user), now, by);
        append(&mut tx, &AUDIT, &event.took(row.revision())).await?;
    }
    tx.commit().await?;
    Ok(Change { tag, row, earlier: None })
}

/// Ends every session that there is when this begins, a page after the other, and takes no revision for it: whoever
/// does this begins a new epoch behind it.
///
/// # Errors
/// [`StoreError`]
pub async fn end_every(db: &Db, now: Timestamp) -> Result<(), StoreError> {
    let mut last = NO_SESSION.to_vec();
    loop {
        let page: Option<(Vec<u8>,)> = db.fetch_first(PAGE, values![&last, END_AT_ONCE]).await?;
        let Some((until,)) = page else { return Ok(()) };
        db.execute(END_PAGE, values![&last, &until, now.0]).await?;
        last = until;
    }
}

/// Marks an ended session as seen to its end: no edge accepts its token any more.
///
/// # Errors
/// [`StoreError`]
pub async fn mark_confirmed(
    db: &Db,
    session: &SessionId,
    revision: Revision,
) -> Result<(), StoreError> {
    db.execute(MARK_CONFIRMED, values![&session.0, revision.0]).await.map(drop)
}

/// Sessions by their ids.
pub enum SessionRows {}

impl Rows for SessionRows {
    type Id = SessionId;
    type Row = SessionRow;

    fn id(session: &SessionId) -> &[u8] {
        &session.0
    }

    fn id_of(row: &SessionRow) -> &[u8] {
        &row.id
    }

    async fn find(
        db: &Db,
        ids: &[&[u8]],
        members: &[&[u8]],
    ) -> Result<(Read, Vec<SessionRow>), StoreError> {
        find(db, ids, members).await
    }
}

/// The sessions with these ids, those that exist, and which of the members there are, from one snapshot.
///
/// # Errors
/// [`StoreError`]
pub async fn find(
    db: &Db,
    ids: &[&[u8]],
    members: &[&[u8]],
) -> Result<(Read, Vec<SessionRow>), StoreError> {
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

/// Deletes at most `max` sessions that expired before `before`; how many there were.
///
/// # Errors
/// [`StoreError`]
pub async fn delete_expired(db: &Db, before: Timestamp, max: i64) -> Result<u64, StoreError> {
    db.execute(DELETE_EXPIRED, values![before.0, max]).await
}
