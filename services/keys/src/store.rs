//! Every statement of the service. Its tables are its own: no other service reads them.

pub mod acting;
pub mod ceiling;
pub mod default_ceiling;
pub mod expiring;
pub mod held;
pub mod idempotency;
pub mod issue;
pub mod key;
pub mod list;
pub mod order;
pub mod owner;
pub mod purge;
pub mod replay;
pub mod revoke;
pub mod revoke_many;
pub mod rotate;
pub mod state;
pub mod telling;
pub mod update;

mod leaked;
mod limit;
mod locks;
mod matching;
mod rehearse;
mod waited;

use latchkey_audit::{AuditSql, ListSql, audit, listing};
use latchkey_authority::changes;
use latchkey_authority::lookup::Rows;
use latchkey_authority::statements::Sql;
use latchkey_authority::{Read, SnapshotRow, verification};
use latchkey_contract::lease::Epoch;
use latchkey_contract::scope::Scopes;
use latchkey_contract::{AllowedIps, CredentialHash, Grants, KeyId, Timestamp};
use latchkey_store::{
    Backfill, Batched, BatchedPairs, ChoreSql, Db, Engine, Migration, SkipIds, StoreError, Tx,
    batched_pairs, chores, skip_ids, values,
};
use sqlx::FromRow;

use revoke::SET_REVISION;
pub use revoke::{Revoked, mark_confirmed, revoke, shown};

/// The service's tables, step by step.
pub const MIGRATIONS: &[Migration] = &[
    Migration::new(1, "api keys", include_str!("../../../migrations/keys/0001_api_keys.sql")),
    Migration::new(2, "revocation", include_str!("../../../migrations/keys/0002_revocation.sql")),
    Migration::new(3, "told owners", include_str!("../../../migrations/keys/0003_told_owners.sql")),
    Migration::new(4, "members", include_str!("../../../migrations/keys/0004_members.sql")),
    Migration::new(5, "telling", include_str!("../../../migrations/keys/0005_telling.sql")),
    Migration::new(6, "chores", include_str!("../../../migrations/keys/0006_chores.sql")),
    Migration::new(7, "audit", include_str!("../../../migrations/keys/0007_audit.sql")),
    Migration::new(8, "key object", include_str!("../../../migrations/keys/0008_key_object.sql")),
    Migration::new(
        9,
        "default ceiling",
        include_str!("../../../migrations/keys/0009_default_ceiling.sql"),
    ),
    Migration::new(10, "to end", include_str!("../../../migrations/keys/0010_to_end.sql")),
    Migration::new(
        11,
        "leaked lineages",
        include_str!("../../../migrations/keys/0011_leaked_lineages.sql"),
    ),
    Migration {
        backfill: Some(OWN_EVENTS),
        ..Migration::new(
            12,
            "owners of events",
            include_str!("../../../migrations/keys/0012_owners_of_events.sql"),
        )
    },
];

/// The statements on revisions, invalidations and members.
pub const AUTHORITY: Sql = latchkey_authority::sql!("keys");

/// The statements on the audit log: an event has the owner of the key that it is about, or that acts.
pub const AUDIT: AuditSql =
    audit!("keys", owner_of_key: "(SELECT owner_id FROM api_keys WHERE api_keys.id = ", ")");

/// What a user sees of it: also what was done to their keys and by these.
pub const LISTING: ListSql = listing!("keys", ["owner_id" = "$1"]);

/// Gives events from before step 12, and those of a release before it, their owner, where there is a row of the key; those of
/// nobody's keys have 0.
pub const OWN_EVENTS: Backfill = Backfill {
    sql: "UPDATE keys_audit_events SET owner_id = COALESCE((SELECT owner_id FROM api_keys WHERE api_keys.id = \
        CASE WHEN target_type = 'key' THEN CAST(target_id AS BIGINT) WHEN actor_type = 'key' THEN actor_id END), 0) \
        WHERE owner_id IS NULL AND id IN \
        (SELECT id FROM keys_audit_events WHERE owner_id IS NULL ORDER BY id LIMIT $1)",
    batch: 1_000,
};

/// The statements on the rows of chores.
pub const CHORES: ChoreSql = chores!("keys");

const IS_DISABLED: &str =
    "SELECT EXISTS (SELECT 1 FROM keys_disabled_owners WHERE owner_id = $1) AS is_disabled";
/// The pairs are a key's id and a time in milliseconds. A time that is further ahead than a late report can be
/// behind (`usage::MAX_AGE` and `MAX_SKEW`) was never one of a use: it is put right. Of a purged key nothing is said any more.
const RECORD_USES: BatchedPairs = batched_pairs!(
    "UPDATE api_keys SET last_used_at = pairs.b FROM ",
    " WHERE api_keys.id = pairs.a AND purged_at IS NULL AND (last_used_at IS NULL OR last_used_at < pairs.b \
        OR last_used_at > pairs.b + 3610000)"
);
/// The outer condition is the one that holds at the write: a row that was found may have been changed since.
const DELETE_EXPIRED: &str = "DELETE FROM api_keys WHERE expires_at < $1 AND id IN \
    (SELECT id FROM api_keys WHERE expires_at < $1 ORDER BY id LIMIT $2) RETURNING id, tags <> '' AS is_tagged";
const FIND: Batched = verification!(
    "keys",
    columns: "api_keys.id, api_keys.owner_id, api_keys.hash, api_keys.name, api_keys.expires_at, \
        api_keys.revoked_at, api_keys.disabled_at AS key_disabled_at, api_keys.scopes, api_keys.allowed_ips, \
        api_keys.environment, api_keys.metadata, api_keys.external_id, api_keys.lineage_id, \
        keys_disabled_owners.disabled_at, keys_telling.for_made, keys_telling.for_timeline, keys_telling.through, \
        COALESCE(keys_ceilings.ceiling, keys_telling.default_ceiling) AS ceiling",
    nulls: "NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL",
    from: "api_keys LEFT JOIN keys_disabled_owners \
        ON keys_disabled_owners.owner_id = api_keys.owner_id \
        LEFT JOIN keys_ceilings ON keys_ceilings.owner_id = api_keys.owner_id \
        LEFT JOIN keys_telling ON keys_telling.id = 1",
    where: "api_keys.hash"
);

const SKIP_IDS: SkipIds = skip_ids!("api_keys");

/// Every statement, for the test that prepares each on both databases.
#[must_use]
pub fn statements(sqlite: bool) -> Vec<&'static str> {
    let (find, record_uses, skip_ids, authority) = if sqlite {
        (FIND.sqlite, RECORD_USES.sqlite, SKIP_IDS.sqlite, AUTHORITY.sqlite)
    } else {
        (FIND.postgres, RECORD_USES.postgres, SKIP_IDS.postgres, AUTHORITY.postgres)
    };
    let engine = if sqlite { Engine::Sqlite } else { Engine::Postgres };
    let mut all = authority.all();
    all.extend(CHORES.statements.of(engine).all());
    all.extend(AUDIT.all(engine));
    all.extend(LISTING.all(engine));
    all.push(OWN_EVENTS.sql);
    all.push(skip_ids);
    all.extend([find, record_uses, IS_DISABLED]);
    all.extend([key::GET, key::LIST, key::BY_HINT, key::BY_HASH]);
    all.extend([key::ANYBODYS_BY_HASH, key::ANYBODYS_BY_HINT]);
    all.extend(list::statements());
    all.extend([issue::INSERT, issue::INSERT_LIMITED, issue::FIND_ISSUED, issue::ADD_TAG]);
    all.extend([idempotency::CLAIM, idempotency::FIND, idempotency::DELETE_OLD, replay::SHOW]);
    all.extend(limit::statements(engine));
    all.push(limit::IS_FULL);
    all.extend([acting::ACTING, acting::CEILING]);
    all.extend([held::HOLD, held::SET_CHANGED, key::DISABLED_AT]);
    all.extend([state::SET_STATE, update::UPDATE, update::CLEAR_TAGS]);
    all.extend([revoke::REVOKE, SET_REVISION, revoke::MARK_CONFIRMED, revoke::SHOWN]);
    all.extend([purge::STANDING, purge::PURGE]);
    all.extend([owner::FIND, owner::TELL, telling::DISABLE, telling::ENABLE]);
    all.extend([telling::READ, telling::LOCK, telling::TAKE, telling::SET, telling::FORGET]);
    all.extend([telling::DELETE_OLDER, telling::NEWER, telling::DISABLED]);
    all.extend([DELETE_EXPIRED, expiring::COUNT]);
    all.extend([rotate::LIVING, rotate::TAKE, rotate::INSERT]);
    all.extend([rotate::COPY_TAGS, rotate::RETIRE, rotate::REPLACE]);
    all.extend([leaked::MARK, leaked::IS_LEAKED, leaked::OF_EXPIRED, leaked::FORGET]);
    let confirm = revoke_many::CONFIRM;
    all.push(if sqlite { confirm.sqlite } else { confirm.postgres });
    all.extend(matching::STATEMENTS);
    all.extend([revoke_many::HOLD, revoke_many::REVOKE, rehearse::USED]);
    all.extend([rotate::OVERTAKE, waited::WAITED, rotate::SETTLE]);
    all.extend([ceiling::FIND, ceiling::SET, ceiling::CLEAR, ceiling::RANGE]);
    all.extend([default_ceiling::FIND, default_ceiling::SET, default_ceiling::ANY_KEY]);
    all
}

/// What a verification needs of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// When it was disabled, if it is.
    pub key_disabled_at: Option<i64>,
    /// What it may do, as far as its owner's ceiling reaches, and where from and for what it may be used.
    pub grants: Grants,
    /// The first key of its lineage.
    pub lineage: i64,
    /// When its owner was deactivated, if they are.
    pub disabled_at: Option<i64>,
    /// Whether that is known: the identity service has told of all owners in this history of the database.
    pub is_owner_known: bool,
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
    key_disabled_at: Option<i64>,
    scopes: Option<String>,
    allowed_ips: Option<String>,
    environment: Option<String>,
    metadata: Option<String>,
    external_id: Option<String>,
    lineage_id: Option<i64>,
    disabled_at: Option<i64>,
    for_made: Option<i64>,
    for_timeline: Option<i64>,
    through: Option<i64>,
    ceiling: Option<String>,
}

impl FoundRow {
    /// `None`: it is no row of a key, or one that holds what no key is granted: then it is not accepted.
    fn key(self, own: Epoch) -> Option<VerifyRow> {
        let Self { for_made, for_timeline, through, .. } = self;
        let id = self.id?;
        let granted = Scopes::parse(self.scopes.as_deref().unwrap_or_default()).ok()?;
        let ceiling = ceiling::read(self.ceiling.as_deref()).ok()?;
        Some(VerifyRow {
            id,
            owner_id: self.owner_id?,
            hash: self.hash?,
            name: self.name?,
            expires_at: self.expires_at?,
            revoked_at: self.revoked_at,
            key_disabled_at: self.key_disabled_at,
            grants: Grants {
                scopes: granted.intersection(&ceiling),
                environment: self.environment.map(Into::into),
                allowed_ips: AllowedIps::parse(self.allowed_ips.as_deref().unwrap_or_default())
                    .ok()?,
                metadata: key::metadata(self.metadata.as_deref()).ok()?,
                external_id: self.external_id.map(Into::into),
            },
            lineage: self.lineage_id.unwrap_or(id),
            disabled_at: self.disabled_at,
            is_owner_known: telling::is_told(own, for_made, for_timeline, through),
        })
    }
}

/// Times that a command is tried whose transaction the database gives up for another's sake.
const MAX_TRIES: usize = 3;

/// Does something again whose transaction the database gave up for the sake of another that wanted, or had, the same rows, as
/// where two commands change each other's keys: nothing of it holds.
///
/// # Errors
/// [`StoreError`] of the last try.
pub async fn again<T, F>(attempt: impl Fn() -> F + Send + Sync) -> Result<T, StoreError>
where
    T: Send,
    F: Future<Output = Result<T, StoreError>> + Send,
{
    for _ in 1..MAX_TRIES {
        match attempt().await {
            Err(error) if error.is_given_up() => {}
            answered => return answered,
        }
    }
    attempt().await
}

/// Keys by their hashes.
pub enum KeyRows {}

impl Rows for KeyRows {
    type Id = CredentialHash;
    type Row = VerifyRow;

    fn id(hash: &CredentialHash) -> &[u8] {
        &hash.0
    }

    fn id_of(row: &VerifyRow) -> &[u8] {
        &row.hash
    }

    async fn find(
        db: &Db,
        hashes: &[&[u8]],
        members: &[&[u8]],
    ) -> Result<(Read, Vec<VerifyRow>), StoreError> {
        find(db, hashes, members).await
    }
}

/// The keys with these hashes, those that exist, and which of the members there are, from one snapshot.
///
/// # Errors
/// [`StoreError`]
pub async fn find(
    db: &Db,
    hashes: &[&[u8]],
    members: &[&[u8]],
) -> Result<(Read, Vec<VerifyRow>), StoreError> {
    let rows: Vec<FoundRow> = FIND.fetch(db, hashes, members).await?;
    let mut read = Read::default();
    let own: Vec<FoundRow> = rows.into_iter().filter(|row| !read.take(&row.snapshot)).collect();
    let epoch = read.epoch();
    Ok((read, own.into_iter().filter_map(|row| row.key(epoch)).collect()))
}

/// Begins another epoch, with the random number `made`, inside a transaction: the database was restored. No key is
/// accepted until the identity service has told of every owner, and none gets the number of one that is not in
/// the backup.
///
/// # Errors
/// [`StoreError`]
pub async fn new_epoch(tx: &mut Tx, made: i64) -> Result<(), StoreError> {
    telling::forget(tx).await?;
    SKIP_IDS.run(tx).await?;
    changes::new_epoch(tx, &AUTHORITY, made).await
}

/// Writes down when keys were last used, each key once, all in one statement. A later use that is
/// written stays.
///
/// # Errors
/// [`StoreError`]
pub async fn record_uses(db: &Db, uses: &[(KeyId, Timestamp)]) -> Result<(), StoreError> {
    let uses: Vec<_> = uses.iter().map(|(key, at)| (key.0, at.0)).collect();
    RECORD_USES.execute(db, &uses).await.map(drop)
}

/// Deletes at most `most` keys that expired before `before`, and their tags; how many there were.
///
/// # Errors
/// [`StoreError`]
pub async fn delete_expired(db: &Db, before: Timestamp, most: i64) -> Result<u64, StoreError> {
    let mut tx = db.begin("delete expired keys").await?;
    let leaked = leaked::of_expired(&mut tx, before, most).await?;
    let deleted: Vec<(i64, bool)> = tx.fetch(DELETE_EXPIRED, values![before.0, most]).await?;
    for (id, _) in deleted.iter().filter(|(_, is_tagged)| *is_tagged) {
        tx.execute(update::CLEAR_TAGS, values![*id]).await?;
    }
    leaked::forget(&mut tx, &leaked).await?;
    tx.commit().await?;
    Ok(u64::try_from(deleted.len()).unwrap_or(u64::MAX))
}

fn hash_of(bytes: &[u8]) -> Result<CredentialHash, StoreError> {
    let hash = bytes.try_into().ok().map(CredentialHash);
    hash.ok_or(StoreError::Unexpected("a key's hash has 32 bytes"))
}
