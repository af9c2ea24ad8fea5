//! What the key service is told of all owners: who of them is deactivated, or has a ceiling of their own.

use latchkey_authority::{RevisionRow, Store};
use latchkey_contract::keys::ToldOwner;
use latchkey_contract::{Scopes, UserId};
use latchkey_store::{Db, StoreError, values};

use super::AUTHORITY;
use super::settings::{self, scopes};

pub(super) const TOLD: &str = "SELECT id, is_active, ceiling FROM users \
    WHERE (NOT is_active OR ceiling IS NOT NULL) AND id > $1 ORDER BY id LIMIT $2";

/// Before every account.
const FIRST: i64 = i64::MIN;

/// At most `max` accounts behind `after` that are deactivated or have a ceiling of their own, by rising id.
///
/// # Errors
/// [`StoreError`]
pub async fn told(
    db: &Db,
    after: Option<UserId>,
    max: usize,
) -> Result<Vec<ToldOwner>, StoreError> {
    let (after, max) = (after.map_or(FIRST, |user| user.0), i64::try_from(max).unwrap_or(i64::MAX));
    let rows: Vec<(i64, bool, Option<String>)> = db.fetch(TOLD, values![after, max]).await?;
    let told = rows.into_iter().map(|(id, is_active, ceiling)| {
        let ceiling = ceiling.as_deref().map(scopes).transpose()?;
        Ok(ToldOwner { owner: UserId(id), disabled: !is_active, ceiling })
    });
    told.collect()
}

/// The ceiling of all others.
///
/// # Errors
/// [`StoreError`]
pub async fn default_ceiling(db: &Db) -> Result<Scopes, StoreError> {
    Ok(settings::user_scopes(db).await?.unwrap_or_else(Scopes::everything))
}

/// The present revision, and the history that it counts.
///
/// # Errors
/// [`StoreError`]
pub async fn revision(db: &Db) -> Result<RevisionRow, StoreError> {
    Store { db: db.clone(), sql: &AUTHORITY }.revision().await
}
