//! Having a key refused until it is enabled, and enabling it.

use latchkey_audit::{Action, Event, Target, append};
use latchkey_contract::keys::SetKeyEnabled;
use latchkey_contract::refusal::Conflict;
use latchkey_contract::{Caller, Refusal, Timestamp};
use latchkey_store::{Db, StoreError, values};
use serde_json::json;

use super::acting::Barred;
use super::held::{Done, Found, find};
use super::rotate::wanted;
use super::{AUDIT, key, leaked};

pub(super) const SET_STATE: &str = "UPDATE api_keys SET version = version + 1, changed_mark = $4, disabled_at = $5 \
    WHERE owner_id = $1 AND id = $2 AND version = $3 AND revoked_at IS NULL RETURNING version";

/// Disables or enables a key; a repeat changes nothing and waits like the first.
///
/// # Errors
/// [`StoreError`]
pub async fn set(
    db: &Db,
    request: &SetKeyEnabled,
    may_restrict: bool,
    by: &Caller,
    now: Timestamp,
) -> Result<Result<Done, Barred>, StoreError> {
    let SetKeyEnabled { target, enabled, note, confirm, .. } = request;
    let refused = |refusal| Ok(Err(Barred::Refused(refusal)));
    let mut tx = db.begin("set key's state").await?;
    let (held, reach) = match find(&mut tx, target, *enabled, by, now).await? {
        Found::Before(done) => return Ok(Ok(*done)),
        Found::Fresh(held, reach) => (held, reach),
        Found::Barred(barred) => return Ok(Err(barred)),
    };
    let object = &held.object;
    let disabled_at = key::disabled_at(&mut tx, target.owner, target.key).await?;
    let is_other = disabled_at.is_none() != *enabled;
    if *enabled {
        // What the owner may not do any more the key may not either, whatever it was granted.
        if let Err(refusal) = reach.covers(wanted(object), &object.scopes) {
            return refused(refusal);
        }
        let is_leaked = is_other && leaked::is_leaked(&mut tx, object.lineage.id).await?;
        if let Some(refusal) = leaked::bar(is_leaked, *confirm, by) {
            return refused(refusal);
        }
    } else if !may_restrict {
        return refused(Refusal::Conflict(Conflict::OlderRelease));
    }
    let at = if *enabled { None } else { Some(disabled_at.unwrap_or(now.0)) };
    let values = values![target.owner.0, target.key.0, target.version, &target.mark.0, at];
    if tx.fetch_first::<(i64,)>(SET_STATE, values).await?.is_none() {
        return refused(Refusal::Stale);
    }
    let change = if is_other {
        let change = held.take(&mut tx, now).await?;
        let action = if *enabled { Action::KeyEnabled } else { Action::KeyDisabled };
        // Nobody could purge its text from the log: as of every free text, it says that there was one.
        let noted = note.as_ref().map(|_text| json!({"note": {}}).to_string());
        let event = Event::done(action, Target::Key(target.key), now, by).took(change.revision());
        let event = Event { changes: noted.as_deref(), ..event };
        append(&mut tx, &AUDIT, &event).await?;
        change
    } else {
        held.unchanged(&mut tx).await?
    };
    let object = held.now(&mut tx, now).await?;
    tx.commit().await?;
    Ok(Ok(Done { object, change: Some(change) }))
}
