//! Opening sessions: their first row.

use latchkey_audit::{Action, Event, Target, append};
use latchkey_authority::Change;
use latchkey_contract::caller::UserAgent;
use latchkey_contract::{
    Actor, Caller, CredentialHash, Mark, Scopes, SessionId, Timestamp, UserId,
};
use latchkey_store::{Db, StoreError, Tx, values};
use sha2::{Digest, Sha256};
use sqlx::FromRow;

use super::AUDIT;
use super::refresh as refresh_rows;
use super::session::end_in;
use crate::fingerprint::Fingerprint;

/// The next session's number, if the account is still what it was read as and its token's signer is accepted. It keeps everybody else who changes the
/// account waiting until the session is there.
pub(super) const NUMBER: &str = "UPDATE users SET last_session = last_session + 1 \
    WHERE id = $1 AND version = $2 AND is_active AND EXISTS \
    (SELECT 1 FROM identity_signers WHERE fingerprint = $3 AND withdrawn_at IS NULL) \
    RETURNING last_session, (SELECT era FROM identity_settings WHERE id = 1)";
pub(super) const IS_NAMED: &str = "SELECT named_at FROM identity_signers \
    WHERE fingerprint = $1 AND withdrawn_at IS NULL";
pub(super) const INSERT: &str = "INSERT INTO sessions \
    (id, user_id, created_at, expires_at, token_hash, number, mark, signer, scope, \
    handle, device, user_agent, ip, last_seen_at, auth_time, max_expires_at, era) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $3, $3, $14, $15) \
    ON CONFLICT (mark) DO NOTHING RETURNING id";
pub(super) const FIND_MARK: &str = "SELECT id, created_at, token_hash, scope FROM sessions \
    WHERE mark = $1 AND user_id = $2 AND ended_at IS NULL";
/// Sessions beyond the newest `$3` that have refresh tokens, the oldest first.
pub(super) const SURPLUS: &str = "SELECT id FROM (SELECT id, number FROM sessions \
    WHERE user_id = $1 AND ended_at IS NULL AND max_expires_at IS NOT NULL AND expires_at > $2 \
    ORDER BY number DESC LIMIT $4 OFFSET $3) AS surplus ORDER BY number";

/// Surplus sessions that one login ends at most: where the setting was lowered, later ones end the rest.
const MAX_SURPLUS: i64 = 8;

/// A session to be.
pub struct NewSession {
    /// Its id, of 128 random bits.
    pub id: SessionId,
    /// Whose it is.
    pub user: UserId,
    /// Now.
    pub created_at: Timestamp,
    /// When it ends if nothing prolongs it.
    pub expires_at: Timestamp,
    /// How an edge names its token.
    pub token: CredentialHash,
    /// How it goes on, if it does.
    pub refresh: Option<NewRefresh>,
    /// What it is called where it is shown; it may be named later.
    pub handle: Option<String>,
    /// What its user calls it.
    pub device: Option<String>,
    /// Who signed it.
    pub signer: Fingerprint,
    /// The message of the login.
    pub mark: Option<Mark>,
    /// What was asked for; `None` for everything that the user may do.
    pub scope: Option<Scopes>,
}

/// How a session goes on.
pub struct NewRefresh {
    /// Its first refresh token, as it is stored.
    pub token: CredentialHash,
    /// Beyond it nothing prolongs the session.
    pub max_expires_at: Timestamp,
    /// Sessions with refresh tokens that its user may have; older ones end.
    pub per_user: i64,
}

/// What became of a session to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// It is there.
    New,
    /// It is there, and these older ones of its user have ended for it.
    InPlaceOf(Vec<(SessionId, Change)>),
    /// The same message opened this one before.
    Before(OpenedBefore),
    /// The same message opened one before, which has ended. Nothing was done.
    EndedSince,
    /// The account is not what it was read as any more. Nothing was done.
    Overtaken,
    /// Tokens of its signer are not accepted. Nothing was done.
    NotNamed,
}

/// A session that is good, and what its token was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedBefore {
    /// Its id.
    pub session: SessionId,
    /// When it was opened.
    pub created_at: Timestamp,
    /// How an edge names its token.
    pub token: Option<CredentialHash>,
    /// What was asked for.
    pub scope: Option<Scopes>,
}

#[derive(FromRow)]
struct MarkedRow {
    id: Vec<u8>,
    created_at: i64,
    token_hash: Option<Vec<u8>>,
    scope: Option<String>,
}

impl MarkedRow {
    fn opened(self) -> Option<OpenedBefore> {
        let token = self.token_hash.and_then(|hash| hash.try_into().ok());
        Some(OpenedBefore {
            session: SessionId(self.id.try_into().ok()?),
            created_at: Timestamp(self.created_at),
            token: token.map(CredentialHash),
            // One in another form would be another token: it is found out by the hash.
            scope: self.scope.and_then(|text| Scopes::parse(&text).ok()),
        })
    }
}

/// Opens a session on an account that still has this version and is active, with an event of it.
///
/// # Errors
/// [`StoreError`]
pub async fn open(
    db: &Db,
    session: &NewSession,
    version: i64,
    by: &Caller,
) -> Result<Opened, StoreError> {
    let NewSession { user, created_at, signer, .. } = session;
    let mut tx = db.begin("open session").await?;
    let number: Option<(i64, Option<i64>)> =
        tx.fetch_first(NUMBER, values![user.0, version, &signer.0]).await?;
    // The era in which its signer was accepted: where all sessions end meanwhile, this one has ended, too.
    let Some((number, era)) = number else {
        let named: Option<(i64,)> = tx.fetch_first(IS_NAMED, values![&signer.0]).await?;
        return Ok(if named.is_some() { Opened::Overtaken } else { Opened::NotNamed });
    };
    if insert(&mut tx, session, (number, era.unwrap_or_default()), by).await? {
        let event = Event::done(Action::UserLoggedIn, Target::User(*user), *created_at, by);
        append(&mut tx, &AUDIT, &event).await?;
        let ended = match &session.refresh {
            Some(refresh) => begin_chain(&mut tx, session, refresh, by).await?,
            None => Vec::new(),
        };
        tx.commit().await?;
        return Ok(if ended.is_empty() { Opened::New } else { Opened::InPlaceOf(ended) });
    }
    let mark = kept_mark(session);
    let before: Option<MarkedRow> =
        tx.fetch_first(FIND_MARK, values![mark.as_deref(), user.0]).await?;
    Ok(before.and_then(MarkedRow::opened).map_or(Opened::EndedSince, Opened::Before))
}

/// How the message of the login is told again. Refresh tokens are derived from it: where there are any, nothing is kept that
/// they could be derived from by whoever has the secret besides.
fn kept_mark(session: &NewSession) -> Option<Vec<u8>> {
    let mark = session.mark.as_ref()?;
    Some(match session.refresh {
        Some(_) => Sha256::digest(mark.0).to_vec(),
        None => mark.0.to_vec(),
    })
}

/// Adds the row; whether there was none of the same message.
async fn insert(
    tx: &mut Tx,
    session: &NewSession,
    (number, era): (i64, i64),
    by: &Caller,
) -> Result<bool, StoreError> {
    let scope = session.scope.as_ref().map(Scopes::as_text);
    let address = by.kept_address();
    let added: Option<(Vec<u8>,)> = tx
        .fetch_first(
            INSERT,
            values![
                &session.id.0,
                session.user.0,
                session.created_at.0,
                session.expires_at.0,
                &session.token.0,
                number,
                kept_mark(session).as_deref(),
                &session.signer.0,
                scope,
                session.handle.as_deref(),
                session.device.as_deref(),
                by.user_agent.as_ref().map(UserAgent::as_str),
                address.as_deref(),
                session.refresh.as_ref().map(|refresh| refresh.max_expires_at.0),
                era,
            ],
        )
        .await?;
    Ok(added.is_some())
}

/// Adds a session's first refresh token, and ends the oldest sessions where its user has too many.
async fn begin_chain(
    tx: &mut Tx,
    session: &NewSession,
    refresh: &NewRefresh,
    by: &Caller,
) -> Result<Vec<(SessionId, Change)>, StoreError> {
    let NewSession { id, user, created_at, expires_at, .. } = session;
    let token = values![&refresh.token.0, &id.0, created_at.0, expires_at.0];
    tx.execute(refresh_rows::INSERT, token).await?;
    let surplus = values![user.0, created_at.0, refresh.per_user, MAX_SURPLUS];
    let surplus: Vec<(Vec<u8>,)> = tx.fetch(SURPLUS, surplus).await?;
    // Whoever logs in is known by now, and has that done.
    let by = Caller { actor: Actor::User { id: *user, session: *id }, ..by.clone() };
    let mut ended = Vec::with_capacity(surplus.len());
    for (old,) in surplus {
        let Ok(old) = old.try_into().map(SessionId) else { continue };
        let change = end_in(tx, &old, (Action::SessionEnded, &by), *created_at).await?;
        ended.extend(change.map(|change| (old, change)));
    }
    Ok(ended)
}
