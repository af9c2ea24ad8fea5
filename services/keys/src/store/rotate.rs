//! Replacing a key: who wins, the new row, and the end of the old one, in one transaction.

use latchkey_audit::{Action, Event, Target, append};
use latchkey_authority::changes::revision;
use latchkey_authority::{Change, Ended, append_invalidation, end_once};
use latchkey_contract::keys::{
    KeyObject, KeyState, KeyTarget, RevocationReason, Revoker, RotateKey,
};
use latchkey_contract::lease::{Revision, Tag};
use latchkey_contract::refusal::Conflict;
use latchkey_contract::{Actor, Caller, CredentialHash, KeyId, Refusal, Timestamp};
use latchkey_store::{Db, StoreError, Tx, values};
use serde_json::json;

use super::acting::{Barred, ceiling, reach};
use super::idempotency::{Claim, claim};
use super::issue::FIND_ISSUED;
use super::key::{GET, KeyRow, conflict};
use super::waited::{WAITED, WaitedRow};
use super::{AUDIT, AUTHORITY, SET_REVISION, hash_of, leaked, limit, locks};
use crate::acting::{ROTATE_SELF, Reach, WRITE, Wanted, is_self};

/// Living keys of a lineage at most.
pub const MAX_LIVING: i64 = 5;

pub(super) const LIVING: &str = "SELECT \
    COUNT(CASE WHEN revoked_at IS NULL AND expires_at > $2 THEN 1 END) AS living \
    FROM api_keys WHERE id = $1 OR lineage_id = $1";
/// The one that does it is the one whose key is replaced: a key that was, or is no longer what its reader saw, is not.
pub(super) const TAKE: &str = "UPDATE api_keys SET version = version + 1 \
    WHERE owner_id = $1 AND id = $2 AND version = $3 AND replaced_by IS NULL AND revoked_at IS NULL \
    AND disabled_at IS NULL AND expires_at > $4 RETURNING hash";
pub(super) const INSERT: &str = "INSERT INTO api_keys (owner_id, hash, hint, name, created_at, expires_at, description, \
    metadata, external_id, tags, environment, origin, scopes, allowed_ips, created_by, lineage_id, generation, replaces) \
    SELECT owner_id, $3, $4, name, $5, $6, description, metadata, external_id, tags, environment, 'issued', scopes, \
    allowed_ips, $7, COALESCE(lineage_id, id), generation + 1, id FROM api_keys WHERE owner_id = $1 AND id = $2 \
    AND NOT EXISTS (SELECT 1 FROM keys_disabled_owners WHERE keys_disabled_owners.owner_id = $1) RETURNING id";
pub(super) const COPY_TAGS: &str =
    "INSERT INTO key_tags (tag, key_id) SELECT tag, $2 FROM key_tags WHERE key_id = $1";
/// With a grace: the old key ends by the clock.
pub(super) const RETIRE: &str = "UPDATE api_keys SET replaced_by = $2, expires_before_rotation = expires_at, \
    expires_at = $3, retires_at = $3, changed_mark = $4, changed_position = $5, changed_settled = FALSE WHERE id = $1";
/// Without: it is revoked, and no clock has a say in it.
pub(super) const REPLACE: &str = "UPDATE api_keys SET replaced_by = $2, retires_at = $3, revoked_at = $3, \
    revoked_reason = $4, revoked_by = $5, changed_mark = $6 WHERE id = $1";
/// Nobody can replace the key any more by what they read before.
pub(super) const OVERTAKE: &str = "UPDATE api_keys SET version = version + 1 \
    WHERE owner_id = $1 AND id = $2 AND replaced_by IS NULL RETURNING id";
pub(super) const SETTLE: &str =
    "UPDATE api_keys SET changed_settled = TRUE WHERE id = $1 AND changed_position = $2";

/// A rotation that was checked.
#[derive(Debug)]
pub struct Rotation<'a> {
    /// What was asked.
    pub request: &'a RotateKey,
    /// What is stored of the new key.
    pub hash: CredentialHash,
    /// What is shown of it.
    pub hint: String,
    /// When the old one ends; `None`: at once.
    pub retires_at: Option<Timestamp>,
    /// When the new one ends, where its maker says.
    pub expires_at: Option<Timestamp>,
    /// How long a key may live, in milliseconds.
    pub max_life: i64,
    /// Living keys of one owner at most, where there is a limit.
    pub per_owner: Option<u32>,
    /// The answer, where the client may ask again.
    pub claim: Option<Claim>,
}

/// What became of a rotation.
#[derive(Debug)]
pub enum Rotated {
    /// The key is replaced, now or since the same message came before.
    Key(Box<Replaced>),
    /// There is no such key.
    NotFound,
    /// Whoever acts may not do it, or nobody may.
    Barred(Barred),
    /// An earlier request has the same idempotency key: nothing was done.
    Claimed,
}

/// A key that was replaced.
#[derive(Debug)]
pub struct Replaced {
    /// The new key.
    pub object: KeyObject,
    /// When the old one ends, or ended.
    pub retires_at: Timestamp,
    /// The change of the old one.
    pub change: Change,
    /// Whether it was revoked.
    pub is_revoked: bool,
}

impl From<Refusal> for Rotated {
    fn from(refusal: Refusal) -> Self {
        Self::Barred(Barred::Refused(refusal))
    }
}

/// Replaces a key, or says what the same message has come to before.
///
/// # Errors
/// [`StoreError`]
pub async fn rotate(
    db: &Db,
    rotation: &Rotation<'_>,
    by: &Caller,
    now: Timestamp,
) -> Result<Rotated, StoreError> {
    let mut tx = db.begin("rotate key").await?;
    // Nobody ends the lineage meanwhile, or tells of its owner.
    let owner = rotation.request.target.owner;
    locks::owner(&mut tx, owner).await?;
    let Some(old) = read(&mut tx, &rotation.request.target, now).await? else {
        return Ok(Rotated::NotFound);
    };
    // The first try may have ended the key that acts.
    if let Some(before) = before(&mut tx, rotation, now).await? {
        return Ok(before);
    }
    let narrowed = rotation.request.target.narrowed.as_ref();
    let needed = if is_self(rotation.request, by) { ROTATE_SELF } else { WRITE };
    let reach = match reach(&mut tx, by, owner, narrowed, needed, now).await? {
        Ok(reach) => reach,
        Err(barred) => return Ok(Rotated::Barred(barred)),
    };
    if let Some(first) = &rotation.claim
        && !claim(&mut tx, first).await?
    {
        return Ok(Rotated::Claimed);
    }
    let expires_at = match life(&mut tx, rotation, &reach, &old, now).await? {
        Ok(expires_at) => expires_at,
        Err(refusal) => return Ok(refusal.into()),
    };
    let taken = match take(&mut tx, rotation, &old, (by, now)).await? {
        Ok(taken) => taken,
        Err(refusal) => {
            // The same message may have been carried out while this one waited for the row.
            let before = before(&mut tx, rotation, now).await?;
            return Ok(before.unwrap_or_else(|| refusal.into()));
        }
    };
    let Some(id) = add(&mut tx, rotation, &old, expires_at, now).await? else {
        // The account was deactivated after the edge had asked who acts.
        return Ok(Refusal::SessionEnded.into());
    };
    let (change, retires_at) = retire(&mut tx, rotation, (&old, taken.hash), id, (by, now)).await?;
    let (request, new) = (rotation.request, read_key(&mut tx, rotation, now).await?);
    let is_revoked = rotation.retires_at.is_none();
    let replaced = Replaced { object: new, retires_at, change, is_revoked };
    let changes = changes_of(&old, &replaced, taken.is_marked);
    let event = Event::done(Action::KeyRotated, Target::Key(old.id), now, by);
    let event = event.because(request.reason.given()).took(change.revision());
    append(&mut tx, &AUDIT, &event.changing(&changes)).await?;
    tx.commit().await?;
    Ok(Rotated::Key(Box::new(replaced)))
}

/// Sees to it that a rotation whose answer nobody waits for any more is either done or never will be: the new key, where
/// it was made.
///
/// # Errors
/// [`StoreError`]
pub async fn overtake(
    db: &Db,
    rotation: &Rotation<'_>,
    now: Timestamp,
) -> Result<Rotated, StoreError> {
    let mut tx = db.begin("overtake a rotation").await?;
    let KeyTarget { owner, key, .. } = rotation.request.target;
    let overtaken: Option<(i64,)> = tx.fetch_first(OVERTAKE, values![owner.0, key.0]).await?;
    // Who waited for the row sees what was done to it.
    if let Some(before) = before(&mut tx, rotation, now).await? {
        return Ok(before);
    }
    if overtaken.is_some() {
        tx.commit().await?;
    }
    Ok(Refusal::Stale.into())
}

/// What the same message has come to, where it came before: the key that its seed makes is there, and replaces this one.
async fn before(
    tx: &mut Tx,
    rotation: &Rotation<'_>,
    now: Timestamp,
) -> Result<Option<Rotated>, StoreError> {
    let KeyTarget { owner, key, .. } = rotation.request.target;
    let made: Option<KeyRow> =
        tx.fetch_first(FIND_ISSUED, values![owner.0, &rotation.hash.0]).await?;
    let Some(made) = made else { return Ok(None) };
    let object = made.object(now)?;
    let waited: Option<WaitedRow> = tx.fetch_first(WAITED, values![owner.0, key.0]).await?;
    let (Some(waited), Some(old)) = (waited, read(tx, &rotation.request.target, now).await?) else {
        return Ok(Some(Rotated::NotFound));
    };
    // Whatever ended or changed it last is no earlier than its rotation.
    let is_revoked = waited.revoked_revision.is_some();
    let row = revision(tx, &AUTHORITY).await?;
    let earlier =
        Some(waited.last().unwrap_or_else(|| (row.revision(), waited.is_change_confirmed)));
    let change = Change { tag: Tag::Credential(hash_of(&waited.hash)?), row, earlier };
    let retires_at = old.lineage.retires_at.unwrap_or(old.expires_at);
    Ok(Some(Rotated::Key(Box::new(Replaced { object, retires_at, change, is_revoked }))))
}

/// When the new key ends, if whoever acts may replace the old one by it.
async fn life(
    tx: &mut Tx,
    rotation: &Rotation<'_>,
    reach: &Reach,
    old: &KeyObject,
    now: Timestamp,
) -> Result<Result<Timestamp, Refusal>, StoreError> {
    let lived = old.expires_at.0.saturating_sub(old.created_at.0);
    let as_before = now.plus(lived.clamp(1, rotation.max_life));
    // What a key makes in another's place ends no later than itself.
    let most = match reach {
        Reach::Key(own) if own.id != old.id => as_before.min(own.expires_at),
        _ => as_before,
    };
    let expires_at = rotation.expires_at.unwrap_or(most);
    let Reach::Key(own) = reach else {
        let Reach::Token(scopes) = reach else { return Ok(Ok(expires_at)) };
        let ceiling = ceiling(tx, rotation.request.target.owner).await?;
        let covered = Reach::Token(scopes.clone()).covers(wanted(old), &ceiling);
        return Ok(covered.map(|()| expires_at));
    };
    let is_itself = own.id == old.id;
    if rotation.request.is_self && !is_itself {
        return Ok(Err(Refusal::InsufficientScope { required: vec![WRITE.to_owned()] }));
    }
    // Only users have a key live for longer than the one before.
    if expires_at > most {
        return Ok(Err(Refusal::InsufficientScope { required: Vec::new() }));
    }
    if is_itself {
        return Ok(Ok(expires_at));
    }
    let ceiling = ceiling(tx, rotation.request.target.owner).await?;
    Ok(reach.covers(wanted(old), &ceiling).map(|()| expires_at))
}

/// What somebody has to hold who makes a key like this.
pub(super) fn wanted(old: &KeyObject) -> Wanted<'_> {
    let KeyObject { scopes, allowed_ips, environment, expires_at, external_id, .. } = old;
    let (expires_at, external_id) = (*expires_at, external_id.as_deref());
    Wanted { scopes, allowed_ips, environment, expires_at, external_id }
}

/// The old key of a rotation.
struct Taken {
    hash: CredentialHash,
    /// Whether its lineage is marked as leaked from now on.
    is_marked: bool,
}

/// Takes the old key for this rotation alone.
async fn take(
    tx: &mut Tx,
    rotation: &Rotation<'_>,
    old: &KeyObject,
    (by, now): (&Caller, Timestamp),
) -> Result<Result<Taken, Refusal>, StoreError> {
    let (request, lineage) = (rotation.request, old.lineage.id);
    if let Some(refusal) = conflict(old, request.target.version) {
        return Ok(Err(refusal));
    }
    let KeyTarget { owner, key, version, .. } = request.target;
    let taken: Option<(Vec<u8>,)> =
        tx.fetch_first(TAKE, values![owner.0, key.0, version, now.0]).await?;
    let Some((hash,)) = taken else { return Ok(Err(Refusal::Stale)) };
    // A grace keeps in use what the reason says may be somebody else's.
    let is_kept =
        request.reason == RevocationReason::KeyCompromise && rotation.retires_at.is_some();
    let is_leak = is_kept || leaked::is_leaked(tx, lineage).await?;
    if let Some(refusal) = leaked::bar(is_leak, request.confirm, by) {
        return Ok(Err(refusal));
    }
    let row: Option<(i64,)> = tx.fetch_first(LIVING, values![lineage.0, now.0]).await?;
    let (living,) = row.ok_or(StoreError::Unexpected("a count has one row"))?;
    let living_after = living + i64::from(rotation.retires_at.is_some());
    if living_after > MAX_LIVING {
        return Ok(Err(Refusal::Conflict(Conflict::LineageFull)));
    }
    // With a grace, both live.
    if rotation.retires_at.is_some() && !limit::has_room(tx, owner, rotation.per_owner, now).await?
    {
        return Ok(Err(Refusal::Conflict(Conflict::TooManyKeys)));
    }
    let is_marked =
        request.reason == RevocationReason::KeyCompromise && leaked::mark(tx, lineage, now).await?;
    Ok(Ok(Taken { hash: hash_of(&hash)?, is_marked }))
}

/// Adds the new key; `None`: its owner is disabled.
async fn add(
    tx: &mut Tx,
    rotation: &Rotation<'_>,
    old: &KeyObject,
    expires_at: Timestamp,
    now: Timestamp,
) -> Result<Option<KeyId>, StoreError> {
    let owner = rotation.request.target.owner.0;
    let values =
        values![owner, old.id.0, &rotation.hash.0, &rotation.hint, now.0, expires_at.0, owner];
    let Some((id,)) = tx.fetch_first(INSERT, values).await? else { return Ok(None) };
    tx.execute(COPY_TAGS, values![old.id.0, id]).await?;
    Ok(Some(KeyId(id)))
}

/// Ends the old key now or later; the change, and when it ends.
async fn retire(
    tx: &mut Tx,
    rotation: &Rotation<'_>,
    (old, hash): (&KeyObject, CredentialHash),
    new: KeyId,
    (by, now): (&Caller, Timestamp),
) -> Result<(Change, Timestamp), StoreError> {
    let (tag, mark) = (Tag::Credential(hash), &rotation.request.target.mark.0);
    if let Some(retires_at) = rotation.retires_at {
        let retires_at = retires_at.min(old.expires_at);
        let row = append_invalidation(tx, &AUTHORITY, tag, now).await?;
        let values = values![old.id.0, new.0, retires_at.0, mark, row.revision().0];
        tx.execute(RETIRE, values).await?;
        return Ok((Change { tag, row, earlier: None }, retires_at));
    }
    let by = Revoker::of(&by.actor).map(|by| by.as_text());
    let reason = rotation.request.reason.name();
    let values = values![old.id.0, new.0, now.0, reason, by.as_deref(), mark];
    tx.execute(REPLACE, values).await?;
    let ended = Ended { tag, earlier: None, is_confirmed: false };
    let change = end_once(tx, &AUTHORITY, ended, (SET_REVISION, old.id.0.into()), now).await?;
    Ok((change, now))
}

async fn read(
    tx: &mut Tx,
    target: &KeyTarget,
    now: Timestamp,
) -> Result<Option<KeyObject>, StoreError> {
    let row: Option<KeyRow> = tx.fetch_first(GET, values![target.owner.0, target.key.0]).await?;
    row.map(|row| row.object(now)).transpose()
}

/// The new key as it is shown.
async fn read_key(
    tx: &mut Tx,
    rotation: &Rotation<'_>,
    now: Timestamp,
) -> Result<KeyObject, StoreError> {
    let owner = rotation.request.target.owner.0;
    let row: Option<KeyRow> = tx.fetch_first(FIND_ISSUED, values![owner, &rotation.hash.0]).await?;
    row.ok_or(StoreError::Unexpected("a key that was just made is not there"))?.object(now)
}

/// What the event says of the old key.
fn changes_of(old: &KeyObject, by: &Replaced, is_marked: bool) -> String {
    let state = if by.is_revoked { KeyState::Revoked } else { KeyState::Retiring };
    let mut changes = json!({
        "replaced_by": {"from": null, "to": by.object.id.0},
        "state": {"from": old.state.name(), "to": state.name()},
        "expires_at": {"from": old.expires_at, "to": by.retires_at},
    });
    if is_marked {
        changes["is_leaked"] = json!({"from": false, "to": true});
    }
    changes.to_string()
}

/// Marks the change of a key that retires as seen to its end.
///
/// # Errors
/// [`StoreError`]
pub async fn settle(db: &Db, key: KeyId, revision: Revision) -> Result<(), StoreError> {
    db.execute(SETTLE, values![key.0, revision.0]).await.map(drop)
}

/// Whether a command asks only that what it asked for before is done or never will be.
#[must_use]
pub fn is_withdrawal(request: &RotateKey, by: &Caller) -> bool {
    request.target.version == KeyTarget::NEVER && matches!(by.actor, Actor::System { .. })
}
