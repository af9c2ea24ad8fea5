//! Every statement of the service. Its tables are its own: no other service reads them.

use latchkey_authority::statements::Sql;
use latchkey_authority::{Change, Read, SnapshotRow, record, verification};
use latchkey_contract::keys::ListedKey;
use latchkey_contract::lease::{Position, Subject};
use latchkey_contract::{CredentialHash, KeyId, Timestamp, UserId};
use latchkey_store::{Batched, BatchedPairs, Db, Migration, batched_pairs, on, transaction};
use sqlx::FromRow;

/// The service's tables, step by step.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        description: "api keys",
        sql: include_str!("../../../migrations/keys/0001_api_keys.sql"),
    },
    Migration {
        version: 2,
        description: "revocation",
        sql: include_str!("../../../migrations/keys/0002_revocation.sql"),
    },
];

/// The statements on positions, invalidations and members.
pub const AUTHORITY: Sql = latchkey_authority::sql!("keys");

const INSERT: &str = "INSERT INTO api_keys (owner_id, hash, hint, name, created_at, expires_at) \
    VALUES ($1, $2, $3, $4, $5, $6) RETURNING id";
const LIST: &str = "SELECT id, name, hint, created_at, expires_at, revoked_at, last_used_at \
    FROM api_keys WHERE owner_id = $1 AND id > $2 ORDER BY id LIMIT $3";
const REVOKE: &str = "UPDATE api_keys SET revoked_at = COALESCE(revoked_at, $3) \
    WHERE id = $2 AND owner_id = $1 RETURNING hash, revoked_position, is_settled";
const PLACE: &str = "UPDATE api_keys SET revoked_position = $2 WHERE id = $1";
const SETTLE: &str =
    "UPDATE api_keys SET is_settled = TRUE WHERE id = $1 AND revoked_position = $2";
const DISABLE: &str = "INSERT INTO keys_disabled_owners (owner_id, disabled_at) VALUES ($1, $2) \
    ON CONFLICT DO NOTHING";
const ENABLE: &str = "DELETE FROM keys_disabled_owners WHERE owner_id = $1";
/// The pairs are a key's id and a time in milliseconds.
const RECORD_USES: BatchedPairs = batched_pairs!(
    "UPDATE api_keys SET last_used_at = pairs.b FROM ",
    " WHERE api_keys.id = pairs.a AND (last_used_at IS NULL OR last_used_at < pairs.b)"
);
const DELETE_EXPIRED: &str = "DELETE FROM api_keys WHERE id IN \
    (SELECT id FROM api_keys WHERE expires_at < $1 LIMIT $2)";
const FIND: Batched = verification!(
    "keys",
    columns: "api_keys.id, api_keys.owner_id, api_keys.hash, api_keys.name, api_keys.expires_at, \
        api_keys.revoked_at, keys_disabled_owners.disabled_at",
    nulls: "NULL, NULL, NULL, NULL, NULL, NULL, NULL",
    from: "api_keys LEFT JOIN keys_disabled_owners \
        ON keys_disabled_owners.owner_id = api_keys.owner_id",
    where: "api_keys.hash"
);

/// Every statement, for the test that prepares each on both databases.
#[must_use]
pub fn statements(sqlite: bool) -> Vec<&'static str> {
    let (find, record_uses, authority) = if sqlite {
        (FIND.sqlite, RECORD_USES.sqlite, AUTHORITY.sqlite)
    } else {
        (FIND.postgres, RECORD_USES.postgres, AUTHORITY.postgres)
    };
    let mut all = authority.all();
    all.extend([find, INSERT, LIST, REVOKE, PLACE, SETTLE, DISABLE, ENABLE, record_uses]);
    all.push(DELETE_EXPIRED);
    all
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
    /// When its owner was deactivated, if they are.
    pub disabled_at: Option<i64>,
}

/// A row of a verification: the service's own columns are there in rows of keys alone.
#[derive(FromRow)]
struct FoundRow {
    #[sqlx(flatten)]
    snapshot: SnapshotRow,
    id: Option<i64>,
    owner_id: Option<i64>,
    hash: Option<Vec<u8>>,
    name: Option<String>,
    expires_at: Option<i64>,
    revoked_at: Option<i64>,
    disabled_at: Option<i64>,
}

impl FoundRow {
    fn key(self) -> Option<VerifyRow> {
        Some(VerifyRow {
            id: self.id?,
            owner_id: self.owner_id?,
            hash: self.hash?,
            name: self.name?,
            expires_at: self.expires_at?,
            revoked_at: self.revoked_at,
            disabled_at: self.disabled_at,
        })
    }
}

#[derive(FromRow)]
struct RevokedRow {
    hash: Vec<u8>,
    revoked_position: Option<i64>,
    is_settled: bool,
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

/// Revokes a key of `owner`, and takes a position for it unless it has one. `None`: there is no such key.
///
/// # Errors
/// What the database said instead.
pub async fn revoke(
    db: &Db,
    owner: UserId,
    key: KeyId,
    now: Timestamp,
) -> Result<Option<Change>, sqlx::Error> {
    let sql = AUTHORITY.of(db);
    transaction!(db, |tx| {
        let rows: Vec<RevokedRow> = sqlx::query_as(REVOKE)
            .bind(owner.0)
            .bind(key.0)
            .bind(now.0)
            .fetch_all(&mut *tx)
            .await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let subject = Subject::Credential(hash_of(&row.hash)?);
        if let Some(position) = row.revoked_position {
            let here = sqlx::query_as(sql.position).fetch_one(&mut *tx).await?;
            let earlier = Some((Position(position), row.is_settled));
            Some(Change { subject, row: here, earlier })
        } else {
            let taken = record!(tx, sql, Some(&row.hash), None, now);
            sqlx::query(PLACE).bind(key.0).bind(taken.position().0).execute(&mut *tx).await?;
            Some(Change { subject, row: taken, earlier: None })
        }
    })
}

/// Marks a revoke as seen to its end: no edge accepts the key any more.
///
/// # Errors
/// What the database said instead.
pub async fn settle(db: &Db, key: KeyId, position: Position) -> Result<(), sqlx::Error> {
    on!(write db, |at| sqlx::query(SETTLE)
        .bind(key.0)
        .bind(position.0)
        .execute(at)
        .await
        .map(drop))
}

/// Has every key of `owner` refused, or accepted again, and takes a position for it.
///
/// # Errors
/// What the database said instead.
pub async fn disable(
    db: &Db,
    owner: UserId,
    disabled: bool,
    now: Timestamp,
) -> Result<Change, sqlx::Error> {
    let sql = AUTHORITY.of(db);
    transaction!(db, |tx| {
        let statement = if disabled {
            sqlx::query(DISABLE).bind(owner.0).bind(now.0)
        } else {
            sqlx::query(ENABLE).bind(owner.0)
        };
        statement.execute(&mut *tx).await?;
        let row = record!(tx, sql, None, Some(owner.0), now);
        Change { subject: Subject::Owner(owner), row, earlier: None }
    })
}

/// The keys with these hashes, those that exist, and which of the members there are, from one snapshot.
///
/// # Errors
/// What the database said instead.
pub async fn find(
    db: &Db,
    hashes: &[&[u8]],
    members: &[&[u8]],
) -> Result<(Read, Vec<VerifyRow>), sqlx::Error> {
    let rows: Vec<FoundRow> = FIND.fetch(db, hashes, members).await?;
    let mut read = Read::default();
    let mut keys = Vec::with_capacity(rows.len());
    for row in rows {
        if !read.take(&row.snapshot) {
            keys.extend(row.key());
        }
    }
    Ok((read, keys))
}

/// Writes down when keys were last used, each key once, all in one statement. A later use that is
/// written stays.
///
/// # Errors
/// What the database said instead.
pub async fn record_uses(db: &Db, uses: &[(KeyId, Timestamp)]) -> Result<(), sqlx::Error> {
    let uses: Vec<_> = uses.iter().map(|(key, at)| (key.0, at.0)).collect();
    RECORD_USES.execute(db, &uses).await
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

fn hash_of(bytes: &[u8]) -> Result<CredentialHash, sqlx::Error> {
    let hash = bytes.try_into().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    Ok(CredentialHash(hash))
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
