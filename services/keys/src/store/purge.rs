//! Taking away what is said of a revoked key. What is left of its row says that there was one, and refuses its text.

use latchkey_audit::{Action, Event, Target, append};
use latchkey_contract::keys::PurgeKey;
use latchkey_contract::refusal::Conflict;
use latchkey_contract::{Actor, Caller, Refusal, Timestamp};
use latchkey_store::{Db, StoreError, values};

use super::acting::Barred;
use super::update::CLEAR_TAGS;
use super::{AUDIT, locks};

pub(super) const STANDING: &str = "SELECT purged_at IS NOT NULL AS is_purged FROM api_keys \
    WHERE owner_id = $1 AND id = $2";
pub(super) const PURGE: &str = "UPDATE api_keys SET version = version + 1, purged_at = $3, name = '', hint = '', \
    description = '', metadata = NULL, external_id = NULL, tags = '', revoked_note = NULL, last_used_at = NULL \
    WHERE owner_id = $1 AND id = $2 AND purged_at IS NULL AND revoked_at IS NOT NULL AND is_settled RETURNING id";

/// Purges a key, unless it was.
///
/// # Errors
/// [`StoreError`]
pub async fn purge(
    db: &Db,
    request: &PurgeKey,
    by: &Caller,
    now: Timestamp,
) -> Result<Result<(), Barred>, StoreError> {
    if matches!(by.actor, Actor::Key { .. }) {
        return Ok(Err(Barred::Refused(Refusal::UsersOnly)));
    }
    if let Err(forbidden) = by.acts_as(request.owner) {
        return Ok(Err(Barred::Forbidden(forbidden)));
    }
    let (owner, key) = (request.owner.0, request.key.0);
    let mut tx = db.begin("purge key").await?;
    locks::owner(&mut tx, request.owner).await?;
    if locks::is_disabled(&mut tx, request.owner).await? {
        return Ok(Err(Barred::Refused(Refusal::SessionEnded)));
    }
    if tx.fetch_first::<(i64,)>(PURGE, values![owner, key, now.0]).await?.is_none() {
        let standing: Option<(bool,)> = tx.fetch_first(STANDING, values![owner, key]).await?;
        return Ok(match standing {
            Some((true,)) => Ok(()),
            Some((false,)) => Err(Barred::Refused(Refusal::Conflict(Conflict::NotRevoked))),
            None => Err(Barred::Refused(Refusal::KeyNotFound)),
        });
    }
    tx.execute(CLEAR_TAGS, values![key]).await?;
    let event = Event::done(Action::KeyPurged, Target::Key(request.key), now, by);
    append(&mut tx, &AUDIT, &event).await?;
    tx.commit().await?;
    Ok(Ok(()))
}
