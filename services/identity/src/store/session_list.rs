//! The rows of `sessions` as their users see them.

use latchkey_contract::identity::{ListSessions, SessionObject, SessionPage};
use latchkey_contract::{SessionId, Timestamp, UserId};
use latchkey_store::{Db, StoreError, values};
use sqlx::FromRow;

pub(super) const PAGE: &str = "SELECT id, number, handle, kind, device, user_agent, ip, created_at, \
    last_seen_at, expires_at, max_expires_at, methods FROM sessions \
    WHERE user_id = $1 AND ended_at IS NULL AND expires_at > $2 AND number < $3 \
    ORDER BY number DESC LIMIT $4";
/// Names a session that a release opened which gave none a name.
pub(super) const NAME: &str =
    "UPDATE sessions SET handle = COALESCE(handle, $2) WHERE id = $1 RETURNING handle";
pub(super) const FIND: &str = "SELECT id FROM sessions WHERE handle = $1 AND user_id = $2";

#[derive(FromRow)]
struct Row {
    id: Vec<u8>,
    number: i64,
    handle: Option<String>,
    kind: String,
    device: Option<String>,
    user_agent: Option<String>,
    ip: Option<String>,
    created_at: i64,
    last_seen_at: Option<i64>,
    expires_at: i64,
    max_expires_at: Option<i64>,
    methods: String,
}

/// A page of the sessions of a user that go on at `now`. `name` makes a name for one that has none.
///
/// # Errors
/// [`StoreError`]
pub async fn page(
    db: &Db,
    ask: &ListSessions,
    name: impl Fn() -> String,
    now: Timestamp,
) -> Result<SessionPage, StoreError> {
    let max = i64::try_from(ListSessions::MAX).unwrap_or(i64::MAX);
    let before = ask.before.unwrap_or(i64::MAX);
    let rows: Vec<Row> = db.fetch(PAGE, values![ask.user.0, now.0, before, max]).await?;
    let is_full = rows.len() >= ListSessions::MAX;
    let next = rows.last().filter(|_| is_full).map(|row| row.number);
    let mut sessions = Vec::with_capacity(rows.len());
    for row in rows {
        let handle = match &row.handle {
            Some(handle) => Some(handle.clone()),
            None => named(db, &row.id, &name()).await?,
        };
        sessions.extend(handle.and_then(|handle| row.object(handle)));
    }
    Ok(SessionPage { sessions, next })
}

async fn named(db: &Db, session: &[u8], name: &str) -> Result<Option<String>, StoreError> {
    let row: Option<(String,)> = db.fetch_first(NAME, values![session, name]).await?;
    Ok(row.map(|(handle,)| handle))
}

/// The session of a user that has this name, whether or not it goes on.
///
/// # Errors
/// [`StoreError`]
pub async fn find(db: &Db, user: UserId, handle: &str) -> Result<Option<SessionId>, StoreError> {
    let row: Option<(Vec<u8>,)> = db.fetch_first(FIND, values![handle, user.0]).await?;
    Ok(row.and_then(|(id,)| id.try_into().ok()).map(SessionId))
}

impl Row {
    fn object(self, handle: String) -> Option<SessionObject> {
        Some(SessionObject {
            handle,
            id: SessionId(self.id.try_into().ok()?),
            created_at: Timestamp(self.created_at),
            last_seen_at: Timestamp(self.last_seen_at.unwrap_or(self.created_at)),
            expires_at: Timestamp(self.max_expires_at.unwrap_or(self.expires_at)),
            idle_expires_at: Timestamp(self.expires_at),
            device: self.device,
            user_agent: self.user_agent,
            ip: self.ip,
            methods: self.methods.split_ascii_whitespace().map(str::to_owned).collect(),
            kind: self.kind,
        })
    }
}
