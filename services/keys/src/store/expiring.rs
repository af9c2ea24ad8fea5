//! How many keys expire soon.

use latchkey_contract::Timestamp;
use latchkey_store::{Db, StoreError, values};
use sqlx::FromRow;

/// Reads the index of expiries, in its order, and no more rows than `$5`. Keys of deactivated owners are no more in use
/// than revoked ones.
pub(super) const COUNT: &str = "SELECT COUNT(CASE WHEN next.expires_at <= $2 THEN 1 END) AS week, COUNT(*) AS month \
    FROM (SELECT owner_id, expires_at, revoked_at, disabled_at, last_used_at FROM api_keys \
        WHERE expires_at > $1 AND expires_at <= $3 ORDER BY expires_at LIMIT $5) AS next \
    WHERE next.revoked_at IS NULL AND next.disabled_at IS NULL AND next.last_used_at >= $4 AND NOT EXISTS \
    (SELECT 1 FROM keys_disabled_owners WHERE keys_disabled_owners.owner_id = next.owner_id)";

/// What is soon, and what is in use.
#[derive(Clone, Copy, Debug)]
pub struct Horizon {
    /// What expires by now has expired.
    pub now: Timestamp,
    /// The end of a week.
    pub week: Timestamp,
    /// The end of a month.
    pub month: Timestamp,
    /// What was used since then is in use.
    pub used_since: Timestamp,
    /// Keys that are looked at, at most.
    pub max: i64,
}

/// Keys in use that expire soon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromRow)]
pub struct Expiring {
    /// Within a week.
    pub week: i64,
    /// Within a month, those within a week among them.
    pub month: i64,
}

/// Counts them.
///
/// # Errors
/// [`StoreError`]
pub async fn count(db: &Db, horizon: Horizon) -> Result<Expiring, StoreError> {
    let Horizon { now, week, month, used_since, max } = horizon;
    let found = db.fetch(COUNT, values![now.0, week.0, month.0, used_since.0, max]).await?;
    Ok(found.into_iter().next().unwrap_or_default())
}
