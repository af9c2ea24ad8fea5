//! The rows of `refresh_tokens`: each is rotated once, by one conditional UPDATE. What is shown again is judged by the
//! database's clock, since replicas' clocks differ.

use latchkey_contract::{CredentialHash, Mark, SessionId, Timestamp, UserId};
use latchkey_store::{Db, Engine, PerEngine, StoreError, Tx, values};
use sqlx::FromRow;

use super::session_open::IS_NAMED;
use crate::fingerprint::Fingerprint;

pub(super) const INSERT: &str =
    "INSERT INTO refresh_tokens (hash, session_id, created_at, expires_at) VALUES ($1, $2, $3, $4)";
pub(super) const FIND: &str = "SELECT sessions.id, sessions.user_id, sessions.scope, sessions.ended_at, \
    sessions.era < COALESCE((SELECT era FROM identity_settings WHERE id = 1), 0) AS is_former, \
    refresh_tokens.expires_at FROM refresh_tokens \
    JOIN sessions ON sessions.id = refresh_tokens.session_id WHERE refresh_tokens.hash = $1";
/// Holds a session that goes on, until the transaction ends: neither does it end meanwhile, nor is another of its
/// tokens rotated. Its account is active, not every session has ended since it was opened, and its next token's signer is
/// accepted. That of its last one may be retired by now, or a former secret, but no key that was revoked: such a session
/// ends, and may not have yet.
pub(super) const HOLD: &str = "UPDATE sessions SET user_id = user_id \
    WHERE id = $1 AND ended_at IS NULL AND expires_at > $2 AND max_expires_at > $2 \
    AND EXISTS (SELECT 1 FROM users WHERE users.id = sessions.user_id AND users.is_active) \
    AND era >= COALESCE((SELECT era FROM identity_settings WHERE id = 1), 0) \
    AND EXISTS (SELECT 1 FROM identity_signers WHERE fingerprint = $3 AND withdrawn_at IS NULL) \
    AND NOT EXISTS (SELECT 1 FROM identity_signers JOIN signing_keys \
    ON signing_keys.kid = identity_signers.kid \
    WHERE identity_signers.fingerprint = sessions.signer AND signing_keys.revoked_at IS NOT NULL) \
    RETURNING max_expires_at";
pub(super) const COUNT: &str =
    "SELECT COUNT(*) FROM refresh_tokens WHERE session_id = $1 AND created_at > $2";
pub(super) const PROLONG: &str =
    "UPDATE sessions SET expires_at = $2, signer = $3, last_seen_at = $4 WHERE id = $1";
pub(super) const DELETE_EXPIRED: &str = "DELETE FROM refresh_tokens WHERE hash IN \
    (SELECT hash FROM refresh_tokens WHERE expires_at < $1 LIMIT $2)";

/// The statements that know what time it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timed {
    /// Rotates what was not rotated and has not expired.
    pub(super) rotate: &'static str,
    /// A token, how long ago it was rotated, and what became of its successor.
    pub(super) look: &'static str,
}

macro_rules! timed {
    ($now:expr) => {
        Timed {
            rotate: concat!(
                "UPDATE refresh_tokens SET successor = $2, mark = $3, rotated_at = ", $now,
                " WHERE hash = $1 AND successor IS NULL AND expires_at > $4"
            ),
            look: concat!(
                "SELECT it.successor, it.mark, it.expires_at, ", $now, " - it.rotated_at AS age, ",
                "next.rotated_at AS next_rotated_at, next.expires_at AS next_expires_at ",
                "FROM refresh_tokens AS it LEFT JOIN refresh_tokens AS next ON next.hash = it.successor ",
                "WHERE it.hash = $1"
            ),
        }
    };
}

pub(super) const TIMED: PerEngine<Timed> = PerEngine {
    sqlite: timed!(latchkey_store::now_sqlite!()),
    postgres: timed!(latchkey_store::now_postgres!()),
};

/// How long what "lately" was refreshed counts, in milliseconds.
const LATELY: i64 = 60 * Timestamp::SECOND;

/// The session that a refresh token is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The session.
    pub session: SessionId,
    /// Whose it is.
    pub user: UserId,
    /// What was asked for at the login: it never changes.
    pub scope: Option<String>,
    /// Whether the session was ended.
    pub has_ended: bool,
    /// When the token expires if it is not used.
    pub expires_at: Timestamp,
}

/// A rotation to be.
pub struct Rotation {
    /// Of this session,
    pub session: SessionId,
    /// this token,
    pub token: CredentialHash,
    /// into this one,
    pub successor: CredentialHash,
    /// by this message,
    pub mark: Mark,
    /// now.
    pub now: Timestamp,
    /// How long a token lives that is not used, in milliseconds.
    pub idle: i64,
    /// How long after it was rotated a token gives the same successor again, in milliseconds.
    pub window: i64,
    /// Rotations of one session in a minute at most; `None` for any number.
    pub most: Option<i64>,
    /// Who signs the access token that goes with it.
    pub signer: Fingerprint,
}

/// What became of a rotation to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotated {
    /// The successor is there, and expires then.
    New(Timestamp),
    /// The token was rotated a moment ago, into this one, which nobody has used. Nothing was done.
    Again(CredentialHash, Timestamp),
    /// The token was rotated before, and nobody shows it again by mistake. Nothing was done.
    Reused,
    /// The session does not go on, or the token is none, or has expired. Nothing was done.
    Refused,
    /// Tokens of the signer are not accepted. Nothing was done.
    NotNamed,
    /// The session is refreshed too often. Nothing was done.
    TooOften,
}

#[derive(FromRow)]
struct HolderRow {
    id: Vec<u8>,
    user_id: i64,
    scope: Option<String>,
    ended_at: Option<i64>,
    /// Every session ended after it was opened.
    is_former: bool,
    expires_at: i64,
}

#[derive(FromRow)]
struct TokenRow {
    successor: Option<Vec<u8>>,
    mark: Option<Vec<u8>>,
    expires_at: i64,
    age: Option<i64>,
    next_rotated_at: Option<i64>,
    next_expires_at: Option<i64>,
}

impl TokenRow {
    /// What a token is worth that cannot be rotated. A message that comes twice is one, however late.
    fn judge(&self, by: Option<Mark>, window: i64, now: Timestamp) -> Rotated {
        if self.expires_at <= now.0 {
            return Rotated::Refused;
        }
        let successor = self.successor.as_deref().and_then(|hash| hash.try_into().ok());
        let (Some(successor), Some(age)) = (successor, self.age) else { return Rotated::Refused };
        let is_same = by.is_some_and(|by| self.mark.as_deref() == Some(&by.0));
        match (self.next_expires_at, self.next_rotated_at) {
            (Some(expires_at), None) if is_same || age <= window => {
                Rotated::Again(CredentialHash(successor), Timestamp(expires_at))
            }
            _ => Rotated::Reused,
        }
    }
}

/// The session that a refresh token is of, whatever has become of either.
///
/// # Errors
/// [`StoreError`]
pub async fn find(db: &Db, token: CredentialHash) -> Result<Option<Holder>, StoreError> {
    let row: Option<HolderRow> = db.fetch_first(FIND, values![&token.0]).await?;
    let holder = |row: HolderRow| {
        Some(Holder {
            session: SessionId(row.id.try_into().ok()?),
            user: UserId(row.user_id),
            scope: row.scope,
            has_ended: row.ended_at.is_some() || row.is_former,
            expires_at: Timestamp(row.expires_at),
        })
    };
    Ok(row.and_then(holder))
}

/// Rotates a token, if its session goes on.
///
/// # Errors
/// [`StoreError`]; then nothing was done, or all of it.
pub async fn rotate(db: &Db, rotation: &Rotation) -> Result<Rotated, StoreError> {
    let Rotation { session, token, successor, mark, now, signer, .. } = rotation;
    let mut tx = db.begin("rotate a refresh token").await?;
    let held = values![&session.0, now.0, &signer.0];
    let held: Option<(Option<i64>,)> = tx.fetch_first(HOLD, held).await?;
    let Some((Some(longest),)) = held else {
        let named: Option<(i64,)> = tx.fetch_first(IS_NAMED, values![&signer.0]).await?;
        return Ok(if named.is_some() { Rotated::Refused } else { Rotated::NotNamed });
    };
    let rotating = values![&token.0, &successor.0, &mark.0, now.0];
    if tx.execute(TIMED.of(tx.engine()).rotate, rotating).await? == 0 {
        let engine = tx.engine();
        let row: Option<TokenRow> = tx.fetch_first(look(engine), values![&token.0]).await?;
        let judge = |row: TokenRow| row.judge(Some(*mark), rotation.window, *now);
        return Ok(row.map_or(Rotated::Refused, judge));
    }
    if is_too_often(&mut tx, rotation).await? {
        return Ok(Rotated::TooOften);
    }
    let expires_at = now.plus(rotation.idle).min(Timestamp(longest));
    tx.execute(INSERT, values![&successor.0, &session.0, now.0, expires_at.0]).await?;
    tx.execute(PROLONG, values![&session.0, expires_at.0, &signer.0, now.0]).await?;
    // It may have been revoked meanwhile: then its sessions are being ended, and this one would not be seen.
    let named: Option<(i64,)> = tx.fetch_first(IS_NAMED, values![&signer.0]).await?;
    if named.is_none() {
        return Ok(Rotated::NotNamed);
    }
    tx.commit().await?;
    Ok(Rotated::New(expires_at))
}

async fn is_too_often(tx: &mut Tx, rotation: &Rotation) -> Result<bool, StoreError> {
    let Some(most) = rotation.most else { return Ok(false) };
    let lately = values![&rotation.session.0, rotation.now.plus(-LATELY).0];
    let count: Option<(i64,)> = tx.fetch_first(COUNT, lately).await?;
    Ok(count.is_some_and(|(count,)| count >= most))
}

/// What a token would be worth now, if its session goes on: [`Rotated::New`] where it would be rotated. Nothing is done.
///
/// # Errors
/// [`StoreError`]
pub async fn judge(
    db: &Db,
    token: CredentialHash,
    window: i64,
    now: Timestamp,
) -> Result<Rotated, StoreError> {
    let row: Option<TokenRow> = db.fetch_first(look(db.engine()), values![&token.0]).await?;
    Ok(match row {
        Some(row) if row.successor.is_none() && row.expires_at > now.0 => {
            Rotated::New(Timestamp(row.expires_at))
        }
        Some(row) => row.judge(None, window, now),
        None => Rotated::Refused,
    })
}

fn look(engine: Engine) -> &'static str {
    TIMED.of(engine).look
}

/// Deletes at most `max` tokens that expired before `before`; how many there were.
///
/// # Errors
/// [`StoreError`]
pub async fn delete_expired(db: &Db, before: Timestamp, max: i64) -> Result<u64, StoreError> {
    db.execute(DELETE_EXPIRED, values![before.0, max]).await
}
