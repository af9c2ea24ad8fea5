//! How many keys an owner has at a time: whoever adds one holds the owner's lock until the transaction ends, and looks
//! behind it whether there is room, so that two at once do not both find the last place.

use latchkey_contract::{Timestamp, UserId};
use latchkey_store::{Db, Engine, StoreError, Tx, values};

/// Where the engines differ: SQLite has one writer at a time, who holds every owner's lock. Here the first number is the
/// class of these locks among the advisory locks of the database, and owners may share one.
pub(super) const LOCK_POSTGRES: &str = "SELECT 1 AS locked FROM (SELECT pg_advisory_xact_lock(1801812339, CAST($1 % 2147483647 AS INT))) AS owner";
/// Whether there is a last of so many living keys: it reads no more of them, and none that has ended.
pub(super) const IS_FULL: &str = "SELECT EXISTS (SELECT 1 FROM api_keys WHERE owner_id = $1 AND revoked_at IS NULL \
    AND expires_at > $2 LIMIT 1 OFFSET $3) AS is_full";

/// Statements of this engine alone.
pub(super) fn statements(engine: Engine) -> Vec<&'static str> {
    match engine {
        Engine::Sqlite => Vec::new(),
        Engine::Postgres => vec![LOCK_POSTGRES],
    }
}

/// Has everybody else who adds a key of `owner`'s wait until the transaction ends.
pub(super) async fn lock(tx: &mut Tx, owner: UserId) -> Result<(), StoreError> {
    match tx.engine() {
        Engine::Sqlite => Ok(()),
        Engine::Postgres => tx.execute(LOCK_POSTGRES, values![owner.0]).await.map(drop),
    }
}

/// Whether `owner` has `most` keys at `now` that live.
pub(super) async fn is_full(
    db: &Db,
    owner: UserId,
    most: u32,
    now: i64,
) -> Result<bool, StoreError> {
    let full: Option<(bool,)> = db.fetch_first(IS_FULL, values![owner.0, now, last(most)]).await?;
    Ok(full == Some((true,)))
}

/// Whether `owner` may have one more key that lives at `now`; where there is a limit, nobody else adds one until the
/// transaction ends.
pub(super) async fn has_room(
    tx: &mut Tx,
    owner: UserId,
    most: Option<u32>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let Some(most) = most else { return Ok(true) };
    lock(tx, owner).await?;
    let full: Option<(bool,)> =
        tx.fetch_first(IS_FULL, values![owner.0, now.0, last(most)]).await?;
    Ok(full != Some((true,)))
}

/// How many keys stand before the last of `most`.
pub(super) fn last(most: u32) -> i64 {
    i64::from(most.saturating_sub(1))
}
