//! Every statement of the service, all on `api_keys`. The table is its own: no other service reads it.

use latchkey_contract::keys::ListedKey;
use latchkey_contract::{CredentialHash, KeyId, Timestamp, UserId};
use latchkey_store::{Batched, Db, Migration, batched, on, transaction};
use sqlx::FromRow;

/// The service's table, step by step.
pub const MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    description: "api keys",
    sql: include_str!("../../../migrations/keys/0001_api_keys.sql"),
}];

const INSERT: &str = "INSERT INTO api_keys (owner_id, hash, hint, name, created_at, expires_at) \
    VALUES ($1, $2, $3, $4, $5, $6) RETURNING id";
const LIST: &str = "SELECT id, name, hint, created_at, expires_at, revoked_at, last_used_at \
    FROM api_keys WHERE owner_id = $1 AND id > $2 ORDER BY id LIMIT $3";
const REVOKE: &str = "UPDATE api_keys SET revoked_at = COALESCE(revoked_at, $3) \
    WHERE id = $2 AND owner_id = $1";
const RECORD_USE: &str = "UPDATE api_keys SET last_used_at = $2 \
    WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)";
const DELETE_EXPIRED: &str = "DELETE FROM api_keys WHERE id IN \
    (SELECT id FROM api_keys WHERE expires_at < $1 LIMIT $2)";
const FIND: Batched =
    batched!("SELECT id, owner_id, hash, name, expires_at, revoked_at FROM api_keys", "hash");

/// Every statement, for the test that prepares each on both databases.
#[must_use]
pub fn statements(sqlite: bool) -> Vec<&'static str> {
    let find = if sqlite { FIND.sqlite } else { FIND.postgres };
    vec![find, INSERT, LIST, REVOKE, RECORD_USE, DELETE_EXPIRED]
}

/// A key to be.
pub struct NewKey {
    /// Who makes it.
    pub owner: UserId,
    /// What is stored of it.
    pub hash: CredentialHash,
    /// What is shown of it.
    pub hint: String,
    /// Its name.
    pub name: String,
    /// Now.
    pub created_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// What a verification needs of a key.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct VerifyRow {
    /// The key's id.
    pub id: i64,
    /// Whose it is.
    pub owner_id: i64,
    /// SHA-256 of the key.
    pub hash: Vec<u8>,
    /// Its name.
    pub name: String,
    /// When it expires, in milliseconds since 1970.
    pub expires_at: i64,
    /// When it was revoked, if it was.
    pub revoked_at: Option<i64>,
}

#[derive(FromRow)]
struct ListRow {
    id: i64,
    name: String,
    hint: String,
    created_at: i64,
    expires_at: i64,
    revoked_at: Option<i64>,
    last_used_at: Option<i64>,
}

/// Adds a key.
///
/// # Errors
/// What the database said instead.
pub async fn insert(db: &Db, key: NewKey) -> Result<ListedKey, sqlx::Error> {
    // Every row, not the first: see `latchkey_store`'s note on RETURNING.
    let ids: Vec<i64> = on!(write db, |at| sqlx::query_scalar(INSERT)
        .bind(key.owner.0)
        .bind(key.hash.0.as_slice())
        .bind(&key.hint)
        .bind(&key.name)
        .bind(key.created_at.0)
        .bind(key.expires_at.0)
        .fetch_all(at)
        .await)?;
    let id = *ids.first().ok_or(sqlx::Error::RowNotFound)?;
    Ok(ListedKey {
        id: KeyId(id),
        name: key.name,
        hint: key.hint,
        created_at: key.created_at,
        expires_at: key.expires_at,
        is_revoked: false,
        last_used_at: None,
    })
}

/// At most `limit` keys of `owner` behind `after`, by rising id.
///
/// # Errors
/// What the database said instead.
pub async fn list(
    db: &Db,
    owner: UserId,
    after: KeyId,
    limit: i64,
) -> Result<Vec<ListedKey>, sqlx::Error> {
    let rows: Vec<ListRow> = on!(read db, |at| sqlx::query_as(LIST)
        .bind(owner.0)
        .bind(after.0)
        .bind(limit)
        .fetch_all(at)
        .await)?;
    Ok(rows.into_iter().map(ListedKey::from).collect())
}

/// Revokes a key of `owner`, unless it is revoked; whether there is such a key.
///
/// # Errors
/// What the database said instead.
pub async fn revoke(
    db: &Db,
    owner: UserId,
    key: KeyId,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    on!(write db, |at| sqlx::query(REVOKE)
        .bind(owner.0)
        .bind(key.0)
        .bind(now.0)
        .execute(at)
        .await
        .map(|done| done.rows_affected() > 0))
}

/// The keys with these hashes, those that exist.
///
/// # Errors
/// What the database said instead.
pub async fn find(db: &Db, hashes: &[&[u8]]) -> Result<Vec<VerifyRow>, sqlx::Error> {
    FIND.fetch(db, hashes).await
}

/// Writes down when keys were last used, all in one transaction. A later use that is written stays.
///
/// # Errors
/// What the database said instead.
pub async fn record_uses(db: &Db, uses: &[(KeyId, Timestamp)]) -> Result<(), sqlx::Error> {
    transaction!(db, |tx| for (key, at) in uses {
        sqlx::query(RECORD_USE).bind(key.0).bind(at.0).execute(&mut *tx).await?;
    })
}

/// Deletes at most `most` keys that expired before `before`; how many there were.
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

impl From<ListRow> for ListedKey {
    fn from(row: ListRow) -> Self {
        Self {
            id: KeyId(row.id),
            name: row.name,
            hint: row.hint,
            created_at: Timestamp(row.created_at),
            expires_at: Timestamp(row.expires_at),
            is_revoked: row.revoked_at.is_some(),
            last_used_at: row.last_used_at.map(Timestamp),
        }
    }
}
