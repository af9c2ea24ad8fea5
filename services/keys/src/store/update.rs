//! Changing what is said of a key, or what it may do: judged before and after, and decided by one conditional UPDATE.

use latchkey_audit::{Action, Event, Target, append};
use latchkey_contract::keys::{ExpiresIn, KeyObject, KeyPatch, KeyState, UpdateKey};
use latchkey_contract::refusal::Conflict;
use latchkey_contract::scope::Scopes;
use latchkey_contract::{Caller, FieldError, Grants, Refusal, Timestamp};
use latchkey_store::{Db, StoreError, Tx, values};
use serde_json::{Map, Value, json};

use super::AUDIT;
use super::acting::{Barred, ceiling_of};
use super::held::{Done, Found, Held, find};
use super::issue::ADD_TAG;
use super::rotate::wanted;
use crate::acting::Reach;

pub(super) const UPDATE: &str = "UPDATE api_keys SET version = version + 1, changed_mark = $4, name = $5, \
    description = $6, metadata = $7, external_id = $8, tags = $9, scopes = $10, allowed_ips = $11, expires_at = $12, \
    retires_at = $13 WHERE owner_id = $1 AND id = $2 AND version = $3 AND revoked_at IS NULL RETURNING version";
pub(super) const CLEAR_TAGS: &str = "DELETE FROM key_tags WHERE key_id = $1";

/// What the service allows.
#[derive(Clone, Copy, Debug)]
pub struct Allowed {
    /// Days that a key may live from its creation.
    pub max_days: i64,
    /// Whether every release that may use the tables knows what restricts a key.
    pub may_restrict: bool,
}

/// Changes a key, or says what the same message has come to before.
///
/// # Errors
/// [`StoreError`]
pub async fn update(
    db: &Db,
    request: &UpdateKey,
    allowed: Allowed,
    by: &Caller,
    now: Timestamp,
) -> Result<Result<Done, Barred>, StoreError> {
    let target = &request.target;
    let refused = |refusal| Ok(Err(Barred::Refused(refusal)));
    let mut tx = db.begin("update key").await?;
    let (held, reach) = match find(&mut tx, target, true, by, now).await? {
        Found::Before(done) => return Ok(Ok(*done)),
        Found::Fresh(held, reach) => (held, reach),
        Found::Barred(barred) => return Ok(Err(barred)),
    };
    let ceiling = match ceiling_of(&mut tx, target.owner, &request.patch.scopes).await? {
        Ok(ceiling) => ceiling,
        Err(barred) => return Ok(Err(barred)),
    };
    let patched = patched(&held, &request.patch, &reach, allowed, now)
        .and_then(|to| judge(&held.object, &to, &reach, &ceiling, allowed).map(|()| to));
    let to = match patched {
        Ok(to) => to,
        Err(refusal) => return refused(refusal),
    };
    if !write(&mut tx, request, &to).await? {
        return refused(Refusal::Stale);
    }
    if to.tags != held.object.tags {
        tx.execute(CLEAR_TAGS, values![target.key.0]).await?;
        for tag in &to.tags {
            tx.execute(ADD_TAG, values![tag, target.key.0]).await?;
        }
    }
    let change = if is_exact(&held.object, &to) {
        Some(held.take(&mut tx, now).await?)
    } else if names_exact(&request.patch) {
        Some(held.unchanged(&mut tx).await?)
    } else {
        None
    };
    let changes = changes(&held.object, &to);
    if !changes.is_empty() {
        let changes = Value::Object(changes).to_string();
        let event = Event::done(Action::KeyUpdated, Target::Key(target.key), now, by);
        let fresh = change.filter(|change| change.earlier.is_none());
        let revision = fresh.map(|change| change.revision());
        append(&mut tx, &AUDIT, &Event { revision, ..event }.changing(&changes)).await?;
    }
    let object = held.now(&mut tx, now).await?;
    tx.commit().await?;
    Ok(Ok(Done { object, change }))
}

/// The key as it is to be.
fn patched(
    held: &Held,
    patch: &KeyPatch,
    reach: &Reach,
    allowed: Allowed,
    now: Timestamp,
) -> Result<KeyObject, Refusal> {
    // Nothing brings back what has ended: who looks at old keys may be about to delete it.
    if held.object.state == KeyState::Expired {
        return Err(Refusal::Conflict(Conflict::Expired));
    }
    let mut to = held.object.clone();
    let patch = patch.clone();
    to.name = patch.name.unwrap_or(to.name);
    to.description = patch.description.unwrap_or(to.description);
    to.metadata = patch.metadata.unwrap_or(to.metadata);
    to.external_id = patch.external_id.unwrap_or(to.external_id);
    to.tags = patch.tags.unwrap_or(to.tags);
    to.scopes = patch.scopes.unwrap_or(to.scopes);
    to.allowed_ips = patch.allowed_ips.unwrap_or(to.allowed_ips);
    let Some(expires) = patch.expires else { return Ok(to) };
    to.expires_at = expiry(&held.object, expires, allowed.max_days, now)?;
    if held.object.lineage.replaced_by.is_none() {
        return Ok(to);
    }
    // A key that was replaced: its end is the end of a grace.
    if to.expires_at > held.object.expires_at {
        if matches!(reach, Reach::Key(_)) {
            return Err(Refusal::UsersOnly);
        }
        if held.expires_before_rotation.is_some_and(|before| to.expires_at > before) {
            let rule = "must not be later than before the key was replaced";
            return Err(Refusal::Invalid(vec![FieldError::new("expires_at", rule)]));
        }
    }
    to.lineage.retires_at = Some(to.expires_at);
    Ok(to)
}

/// When a key is to end: a moment to come, and no further from its creation than a key may live.
fn expiry(
    key: &KeyObject,
    expires: ExpiresIn,
    max_days: i64,
    now: Timestamp,
) -> Result<Timestamp, Refusal> {
    let after = |days: i64| key.created_at.plus(days.saturating_mul(Timestamp::DAY));
    let (field, at) = match expires {
        ExpiresIn::Default => return Ok(key.expires_at),
        ExpiresIn::Days(days) if (1..=max_days).contains(&days) => {
            ("expires_in_days", Some(after(days)))
        }
        ExpiresIn::NotAnInteger | ExpiresIn::Days(_) => ("expires_in_days", None),
        ExpiresIn::At(at) => ("expires_at", Some(at)),
    };
    at.filter(|at| now < *at && *at <= after(max_days)).ok_or_else(|| {
        let rule =
            format!("must end the key in time to come, at most {max_days} days after its creation");
        Refusal::Invalid(vec![FieldError::new(field, rule)])
    })
}

/// Whether whoever acts may make the one of the other, and everybody who reads the tables understands it.
fn judge(
    from: &KeyObject,
    to: &KeyObject,
    reach: &Reach,
    ceiling: &Scopes,
    allowed: Allowed,
) -> Result<(), Refusal> {
    // What a key was granted before its owner's ceiling fell stays, and is worth no more than the ceiling.
    reach.covers(wanted(from), &from.scopes)?;
    let most = if from.scopes == to.scopes { &to.scopes } else { ceiling };
    reach.covers(wanted(to), most)?;
    let is_other = from.scopes != to.scopes || from.allowed_ips != to.allowed_ips;
    let (scopes, allowed_ips) = (to.scopes.clone(), to.allowed_ips.clone());
    let grants = Grants { scopes, allowed_ips, ..Grants::default() };
    if is_other && !grants.is_unrestricted() && !allowed.may_restrict {
        return Err(Refusal::Conflict(Conflict::OlderRelease));
    }
    Ok(())
}

/// The one UPDATE that decides; whether it did.
async fn write(tx: &mut Tx, request: &UpdateKey, to: &KeyObject) -> Result<bool, StoreError> {
    let target = &request.target;
    let (tags, allowed_ips) = (to.tags.join(" "), to.allowed_ips.to_string());
    let filled = |text| Some(text).filter(|text: &&str| !text.is_empty());
    let values = values![
        target.owner.0,
        target.key.0,
        target.version,
        &target.mark.0,
        &to.name,
        &to.description,
        filled(to.metadata.as_text()),
        to.external_id.as_deref(),
        &tags,
        to.scopes.as_text(),
        filled(&allowed_ips),
        to.expires_at.0,
        to.lineage.retires_at.map(|at| at.0)
    ];
    Ok(tx.fetch_first::<(i64,)>(UPDATE, values).await?.is_some())
}

/// Whether edges have to know of the difference.
fn is_exact(from: &KeyObject, to: &KeyObject) -> bool {
    from.name != to.name
        || from.metadata != to.metadata
        || from.external_id != to.external_id
        || from.scopes != to.scopes
        || from.allowed_ips != to.allowed_ips
        || from.expires_at != to.expires_at
}

/// Whether a patch is about what edges have to know of.
fn names_exact(patch: &KeyPatch) -> bool {
    patch.name.is_some()
        || patch.metadata.is_some()
        || patch.external_id.is_some()
        || patch.scopes.is_some()
        || patch.allowed_ips.is_some()
        || patch.expires.is_some()
}

/// What the log says of the difference. Of free text it says that it changed, and no more: it may be about a person, and
/// nobody could purge it from the log.
fn changes(from: &KeyObject, to: &KeyObject) -> Map<String, Value> {
    let mut all = Map::new();
    let mut text = |name: &str, is_other: bool| {
        if is_other {
            all.insert(name.to_owned(), json!({}));
        }
    };
    text("name", from.name != to.name);
    text("description", from.description != to.description);
    text("metadata", from.metadata != to.metadata);
    text("external_id", from.external_id != to.external_id);
    text("tags", from.tags != to.tags);
    let mut value = |name: &str, from: Value, to: Value| {
        if from != to {
            all.insert(name.to_owned(), json!({"from": from, "to": to}));
        }
    };
    value("scopes", json!(from.scopes), json!(to.scopes));
    value("allowed_ips", json!(from.allowed_ips), json!(to.allowed_ips));
    value("expires_at", json!(from.expires_at), json!(to.expires_at));
    all
}
