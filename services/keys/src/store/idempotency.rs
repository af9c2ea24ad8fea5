//! What was answered to a client that may ask again: a row that is written in the transaction of what it is about, so that
//! there are both or neither. [`replay`](super::replay) shows it again.

use latchkey_contract::{Timestamp, UserId};
use latchkey_store::{Db, StoreError, Tx, values};
use sqlx::FromRow;

/// How long an answer is kept, in milliseconds. One that is kept for longer, since nobody has swept it yet, counts as gone.
pub const RETENTION: i64 = Timestamp::DAY;

/// The row decides who is the first: another waits here until that one is done.
pub(super) const CLAIM: &str = "INSERT INTO keys_idempotency \
    (owner_id, actor, route, key_hash, request_hash, salt, sealed, status, created_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (owner_id, actor, route, key_hash) DO UPDATE SET \
    request_hash = excluded.request_hash, salt = excluded.salt, sealed = excluded.sealed, status = excluded.status, \
    created_at = excluded.created_at WHERE keys_idempotency.created_at <= $10 RETURNING created_at";
pub(super) const FIND: &str = "SELECT request_hash, salt, sealed FROM keys_idempotency \
    WHERE owner_id = $1 AND actor = $2 AND route = $3 AND key_hash = $4 AND created_at > $5";
pub(super) const DELETE_OLD: &str = "DELETE FROM keys_idempotency WHERE (owner_id, actor, route, key_hash) IN \
    (SELECT owner_id, actor, route, key_hash FROM keys_idempotency WHERE created_at <= $1 ORDER BY created_at LIMIT $2)";
/// Of what was made; a rotation's is the same.
const CREATED: i64 = 201;

/// Whose request it is, where it came, and under which key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Whose keys it is about.
    pub owner: UserId,
    /// The session or the key that acts.
    pub actor: String,
    /// Where the client has asked.
    pub route: &'static str,
    /// What stands for the client's key.
    pub key_hash: [u8; 32],
}

/// An answer to be kept.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Whose it is.
    pub slot: Slot,
    /// What stands for the request.
    pub request_hash: [u8; 32],
    /// What it was sealed with, besides the client's key.
    pub salt: [u8; 16],
    /// The answer.
    pub sealed: Vec<u8>,
    /// When it was answered.
    pub at: Timestamp,
}

/// An answer that is kept.
#[derive(Clone, Debug, FromRow)]
pub struct KeptAnswer {
    /// What stands for the request.
    pub request_hash: Vec<u8>,
    /// What it was sealed with, besides the client's key.
    pub salt: Vec<u8>,
    /// The answer.
    pub sealed: Vec<u8>,
}

/// Keeps an answer; `false`: one is kept already, so that nothing is to be done.
pub(super) async fn claim(tx: &mut Tx, claim: &Claim) -> Result<bool, StoreError> {
    let Claim { slot, request_hash, salt, sealed, at } = claim;
    let values = values![
        slot.owner.0,
        &slot.actor,
        slot.route,
        &slot.key_hash,
        request_hash,
        salt,
        sealed,
        CREATED,
        at.0,
        at.plus(-RETENTION).0
    ];
    Ok(tx.fetch_first::<(i64,)>(CLAIM, values).await?.is_some())
}

/// What was answered before `now`, and is kept.
///
/// # Errors
/// [`StoreError`]
pub async fn find(db: &Db, slot: &Slot, now: Timestamp) -> Result<Option<KeptAnswer>, StoreError> {
    let since = now.plus(-RETENTION).0;
    let values = values![slot.owner.0, &slot.actor, slot.route, &slot.key_hash, since];
    db.fetch_first(FIND, values).await
}

/// Deletes at most `most` answers that were given until `until`; how many there were.
///
/// # Errors
/// [`StoreError`]
pub async fn delete_old(db: &Db, until: Timestamp, most: i64) -> Result<u64, StoreError> {
    db.execute(DELETE_OLD, values![until.0, most]).await
}
