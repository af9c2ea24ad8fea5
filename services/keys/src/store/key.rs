//! A key's row as its owner sees it: one, a page of them.

use latchkey_contract::keys::{
    KeyObject, KeyOrigin, KeyState, KnownBy, Lineage, Revocation, RevocationReason, Revoker,
};
use latchkey_contract::refusal::Conflict;
use latchkey_contract::scope::Scopes;
use latchkey_contract::{
    AllowedIps, CredentialHash, KeyId, Metadata, Owner, Refusal, Timestamp, UserId,
};
use latchkey_store::{Db, StoreError, Tx, values};
use sqlx::FromRow;

/// Columns of a key that are shown, and that no other table has.
macro_rules! shown_columns {
    () => {
        "name, hint, created_at, expires_at, revoked_at, last_used_at, description, metadata, external_id, tags, \
         environment, origin, scopes, allowed_ips, created_by, lineage_id, generation, replaces, replaced_by, \
         retires_at, revoked_reason, revoked_note, revoked_by"
    };
}

/// A statement on keys: all that is shown of each.
macro_rules! select_keys {
    ($($where:literal),+) => {
        concat!(
            "SELECT api_keys.id, api_keys.owner_id, ",
            $crate::store::key::shown_columns!(),
            ", api_keys.disabled_at, api_keys.version, keys_disabled_owners.disabled_at AS owner_disabled_at \
             FROM api_keys LEFT JOIN keys_disabled_owners \
             ON keys_disabled_owners.owner_id = api_keys.owner_id WHERE ",
            $($where),+
        )
    };
}
pub(super) use {select_keys, shown_columns};

pub(super) const GET: &str =
    select_keys!("api_keys.owner_id = $1 AND api_keys.id = $2 AND purged_at IS NULL");
pub(super) const BY_HINT: &str = select_keys!(
    "api_keys.owner_id = $1 AND hint = $2 AND purged_at IS NULL ORDER BY api_keys.id LIMIT $3"
);
pub(super) const BY_HASH: &str =
    select_keys!("api_keys.owner_id = $1 AND hash = $2 AND purged_at IS NULL");
/// Whoever they belong to, also those that have ended, for operators.
pub(super) const ANYBODYS_BY_HASH: &str = select_keys!("hash = $1");
pub(super) const ANYBODYS_BY_HINT: &str = select_keys!("hint = $1 ORDER BY api_keys.id LIMIT $2");
pub(super) const DISABLED_AT: &str =
    "SELECT disabled_at FROM api_keys WHERE owner_id = $1 AND id = $2";
pub(super) const LIST: &str = select_keys!(
    "api_keys.owner_id = $1 AND api_keys.id > $2 AND purged_at IS NULL ORDER BY api_keys.id LIMIT $3"
);

/// A row of such a statement.
#[derive(Clone, Debug, FromRow)]
pub(super) struct KeyRow {
    pub(super) id: i64,
    owner_id: i64,
    name: String,
    hint: String,
    created_at: i64,
    expires_at: i64,
    revoked_at: Option<i64>,
    last_used_at: Option<i64>,
    description: String,
    metadata: Option<String>,
    external_id: Option<String>,
    tags: String,
    environment: String,
    origin: String,
    scopes: Option<String>,
    allowed_ips: Option<String>,
    created_by: Option<i64>,
    lineage_id: Option<i64>,
    generation: i64,
    replaces: Option<i64>,
    replaced_by: Option<i64>,
    retires_at: Option<i64>,
    disabled_at: Option<i64>,
    revoked_reason: Option<String>,
    revoked_note: Option<String>,
    revoked_by: Option<String>,
    version: i64,
    owner_disabled_at: Option<i64>,
}

/// What cannot be: every value was checked before it was written.
const UNREADABLE: StoreError =
    StoreError::Unexpected("a key's row holds what no key is granted or said to be");

impl KeyRow {
    /// The key as it is shown at `now`.
    pub(super) fn object(self, now: Timestamp) -> Result<KeyObject, StoreError> {
        let (state, revocation) = (self.state(now), self.revocation());
        let unreadable = |_faulty| UNREADABLE;
        let id = KeyId(self.id);
        Ok(KeyObject {
            id,
            state,
            revocation,
            created_at: Timestamp(self.created_at),
            expires_at: Timestamp(self.expires_at),
            last_used_at: self.last_used_at.map(Timestamp),
            metadata: metadata(self.metadata.as_deref())?,
            external_id: self.external_id,
            tags: self.tags.split_ascii_whitespace().map(str::to_owned).collect(),
            environment: self.environment,
            origin: if self.origin == KeyOrigin::Imported.name() {
                KeyOrigin::Imported
            } else {
                KeyOrigin::Issued
            },
            scopes: Scopes::parse(self.scopes.as_deref().unwrap_or_default())
                .map_err(|_faulty| UNREADABLE)?,
            allowed_ips: AllowedIps::parse(self.allowed_ips.as_deref().unwrap_or_default())
                .map_err(unreadable)?,
            owner: Owner::User(UserId(self.owner_id)),
            created_by: self.created_by.map(UserId),
            lineage: Lineage {
                id: self.lineage_id.map_or(id, KeyId),
                generation: self.generation,
                replaces: self.replaces.map(KeyId),
                replaced_by: self.replaced_by.map(KeyId),
                retires_at: self.retires_at.map(Timestamp),
            },
            version: self.version,
            name: self.name,
            hint: self.hint,
            description: self.description,
        })
    }

    fn state(&self, now: Timestamp) -> KeyState {
        if self.revoked_at.is_some() {
            KeyState::Revoked
        } else if now >= Timestamp(self.expires_at) {
            KeyState::Expired
        } else if self.disabled_at.is_some() {
            KeyState::Disabled
        } else if self.owner_disabled_at.is_some() {
            KeyState::Inactive
        } else if self.replaced_by.is_some() {
            KeyState::Retiring
        } else {
            KeyState::Active
        }
    }

    fn revocation(&self) -> Option<Revocation> {
        self.revoked_at.map(|at| Revocation {
            at: Timestamp(at),
            reason: self
                .revoked_reason
                .as_deref()
                .and_then(RevocationReason::named)
                .unwrap_or_default(),
            note: self.revoked_note.clone(),
            by: self.revoked_by.as_deref().and_then(Revoker::parse),
        })
    }
}

/// A row's metadata.
pub(super) fn metadata(text: Option<&str>) -> Result<Metadata, StoreError> {
    Metadata::parse(text.unwrap_or_default()).map_err(|_faulty| UNREADABLE)
}

/// Why a key as it is now cannot be replaced by whoever read this version of it.
pub(super) fn conflict(old: &KeyObject, version: i64) -> Option<Refusal> {
    if old.version != version {
        return Some(Refusal::Stale);
    }
    Some(Refusal::Conflict(match old.state {
        KeyState::Revoked => Conflict::Revoked,
        KeyState::Expired => Conflict::Expired,
        KeyState::Disabled => Conflict::Disabled,
        KeyState::Retiring => Conflict::Retiring,
        KeyState::Inactive => return Some(Refusal::SessionEnded),
        KeyState::Active => return None,
    }))
}

/// At most `limit` keys of `owner` behind `after`, by rising id.
///
/// # Errors
/// [`StoreError`]
pub async fn list(
    db: &Db,
    owner: UserId,
    after: KeyId,
    limit: i64,
    now: Timestamp,
) -> Result<Vec<KeyObject>, StoreError> {
    let rows: Vec<KeyRow> = db.list(LIST, values![owner.0, after.0, limit]).await?;
    rows.into_iter().map(|row| row.object(now)).collect()
}

/// A key of `owner`'s; `None`: there is no such key.
///
/// # Errors
/// [`StoreError`]
pub async fn get(
    db: &Db,
    owner: UserId,
    key: KeyId,
    now: Timestamp,
) -> Result<Option<KeyObject>, StoreError> {
    let row: Option<KeyRow> = db.fetch_first(GET, values![owner.0, key.0]).await?;
    row.map(|row| row.object(now)).transpose()
}

/// At most `limit` keys of `owner` of which this is shown, by rising id.
///
/// # Errors
/// [`StoreError`]
pub async fn by_hint(
    db: &Db,
    owner: UserId,
    hint: &str,
    limit: i64,
    now: Timestamp,
) -> Result<Vec<KeyObject>, StoreError> {
    let rows: Vec<KeyRow> = db.list(BY_HINT, values![owner.0, hint, limit]).await?;
    rows.into_iter().map(|row| row.object(now)).collect()
}

/// The key of `owner` with this hash; `None`: there is no such key.
///
/// # Errors
/// [`StoreError`]
pub async fn by_hash(
    db: &Db,
    owner: UserId,
    hash: CredentialHash,
    now: Timestamp,
) -> Result<Option<KeyObject>, StoreError> {
    let row: Option<KeyRow> = db.fetch_first(BY_HASH, values![owner.0, &hash.0]).await?;
    row.map(|row| row.object(now)).transpose()
}

/// At most `limit` keys of which this is known, whoever they belong to, for operators.
///
/// # Errors
/// [`StoreError`]
pub async fn anybodys(
    db: &Db,
    by: &KnownBy,
    limit: i64,
    now: Timestamp,
) -> Result<Vec<KeyObject>, StoreError> {
    let rows: Vec<KeyRow> = match by {
        KnownBy::Hash(hash) => db.fetch(ANYBODYS_BY_HASH, values![&hash.0]).await?,
        KnownBy::Hint(hint) => db.fetch(ANYBODYS_BY_HINT, values![hint, limit]).await?,
    };
    rows.into_iter().map(|row| row.object(now)).collect()
}

/// Since when a key is disabled, if it is.
pub(super) async fn disabled_at(
    tx: &mut Tx,
    owner: UserId,
    key: KeyId,
) -> Result<Option<i64>, StoreError> {
    let row: Option<(Option<i64>,)> = tx.fetch_first(DISABLED_AT, values![owner.0, key.0]).await?;
    Ok(row.and_then(|(at,)| at))
}
