//! Ending a key.

use latchkey_audit::{Action, Event, Target, append};
use latchkey_authority::{Change, Ended, end_once};
use latchkey_contract::keys::{KeyObject, RevocationReason, RevokeKey, Revoker};
use latchkey_contract::lease::{Revision, Tag};
use latchkey_contract::{Actor, Caller, CredentialHash, KeyId, Refusal, Timestamp, UserId};
use latchkey_store::{Db, StoreError, Tx, values};
use serde_json::json;
use sqlx::FromRow;

use super::acting::{self, Barred};
use super::held::hold;
use super::{AUDIT, AUTHORITY, hash_of, leaked, locks};
use crate::acting::{WRITE, reads};

pub(super) const REVOKE: &str = "UPDATE api_keys SET version = version + 1, revoked_at = COALESCE(revoked_at, $3), \
    revoked_by = CASE WHEN revoked_at IS NULL THEN $6 ELSE revoked_by END, \
    revoked_note = CASE WHEN revoked_at IS NULL THEN $5 ELSE revoked_note END, \
    revoked_reason = CASE WHEN revoked_at IS NULL OR $4 = 'key_compromise' THEN $4 ELSE revoked_reason END \
    WHERE owner_id = $1 AND id = $2 AND purged_at IS NULL RETURNING hash, revoked_position, is_settled";
pub(super) const SET_REVISION: &str = "UPDATE api_keys SET revoked_position = $2 WHERE id = $1";
pub(super) const MARK_CONFIRMED: &str =
    "UPDATE api_keys SET is_settled = TRUE WHERE id = $1 AND revoked_position = $2";
/// A key that is accepted, or was revoked: whoever repeats that waits for it.
pub(super) const SHOWN: &str = "SELECT id, owner_id FROM api_keys WHERE hash = $1 AND (revoked_at IS NOT NULL \
    OR (disabled_at IS NULL AND expires_at > $2 AND NOT EXISTS \
    (SELECT 1 FROM keys_disabled_owners WHERE keys_disabled_owners.owner_id = api_keys.owner_id)))";

#[derive(FromRow)]
struct RevokedRow {
    hash: Vec<u8>,
    #[sqlx(rename = "revoked_position")]
    revoked_revision: Option<i64>,
    #[sqlx(rename = "is_settled")]
    is_confirmed: bool,
}

/// What became of a revoke.
#[derive(Debug)]
pub enum Revoked {
    /// It is done, now or before.
    Change(Change),
    /// There is no such key.
    NotFound,
    /// Whoever acts may not do it.
    Barred(Barred),
}

impl Revoked {
    /// The change, where there is one.
    #[must_use]
    pub fn change(self) -> Option<Change> {
        match self {
            Self::Change(change) => Some(change),
            Self::NotFound | Self::Barred(_) => None,
        }
    }
}

/// The key that somebody shows, and whose it is, where it is accepted at `now` or was revoked.
///
/// # Errors
/// [`StoreError`]
pub async fn shown(
    db: &Db,
    key: CredentialHash,
    now: Timestamp,
) -> Result<Option<(KeyId, UserId)>, StoreError> {
    let row: Option<(i64, i64)> = db.fetch_first(SHOWN, values![&key.0, now.0]).await?;
    Ok(row.map(|(key, owner)| (KeyId(key), UserId(owner))))
}

/// Revokes a key, and takes a revision for it, with an event, unless it has one. A second revoke may raise the reason to
/// a compromise, and nothing else.
///
/// # Errors
/// [`StoreError`]
pub async fn revoke(
    db: &Db,
    request: &RevokeKey,
    by: &Caller,
    now: Timestamp,
) -> Result<Revoked, StoreError> {
    let (owner, key, reason) = (request.owner, request.key, request.reason);
    let is_leak = reason == RevocationReason::KeyCompromise;
    let mut tx = db.begin("revoke key").await?;
    // One that ends another is held, too; and nothing is born into a lineage while it is marked.
    let is_by_other = matches!(by.actor, Actor::Key { id, .. } if id != key);
    if is_leak || is_by_other {
        locks::owner(&mut tx, owner).await?;
    }
    if let Some(barred) = bar(&mut tx, request, by, now).await? {
        return Ok(Revoked::Barred(barred));
    }
    let Some(held) = hold(&mut tx, owner, key, now).await? else { return Ok(Revoked::NotFound) };
    let by_whom = Revoker::of(&by.actor).map(|whoever| whoever.as_text());
    let (note, by_whom) = (request.note.as_deref(), by_whom.as_deref());
    let values = values![owner.0, key.0, now.0, reason.name(), note, by_whom];
    let revoked: Option<RevokedRow> = tx.fetch_first(REVOKE, values).await?;
    let Some(row) = revoked else { return Ok(Revoked::NotFound) };
    if is_leak {
        leaked::mark(&mut tx, held.object.lineage.id, now).await?;
    }
    let ended = Ended {
        tag: Tag::Credential(hash_of(&row.hash)?),
        earlier: row.revoked_revision,
        is_confirmed: row.is_confirmed,
    };
    let change = end_once(&mut tx, &AUTHORITY, ended, (SET_REVISION, key.0.into()), now).await?;
    write_down(&mut tx, (&held.object, reason), &change, by, now).await?;
    tx.commit().await?;
    Ok(Revoked::Change(change))
}

/// Why whoever acts may not end the key.
async fn bar(
    tx: &mut Tx,
    request: &RevokeKey,
    by: &Caller,
    now: Timestamp,
) -> Result<Option<Barred>, StoreError> {
    let (owner, key) = (request.owner, request.key);
    match by.actor {
        // An edge ends a key that it could show nobody. Whoever else acts does so on what is theirs.
        Actor::System { .. } => Ok(None),
        // A key may end itself, and its repeat waits like the first, when it is good no longer.
        Actor::Key { id, .. } if id == key => {
            if request.reason == RevocationReason::PrivilegeWithdrawn {
                let rule = "may not be privilege_withdrawn where a key ends itself";
                let fault = latchkey_contract::FieldError::new("reason", rule);
                return Ok(Some(Barred::Refused(Refusal::Invalid(vec![fault]))));
            }
            Ok(reads(by, owner).err().map(Barred::Forbidden))
        }
        _ => Ok(acting::reach(tx, by, owner, None, WRITE, now).await?.err()),
    }
}

/// Writes the event of a first revoke of a key, of which this is how it was before, or of a reason that was raised.
pub(super) async fn write_down(
    tx: &mut Tx,
    (key, reason): (&KeyObject, RevocationReason),
    change: &Change,
    by: &Caller,
    now: Timestamp,
) -> Result<(), StoreError> {
    let before = key.revocation.as_ref().map(|revocation| revocation.reason);
    let is_first = change.earlier.is_none();
    let is_raised =
        reason == RevocationReason::KeyCompromise && before.is_some_and(|before| before != reason);
    if !is_first && !is_raised {
        return Ok(());
    }
    let event = Event::done(Action::KeyRevoked, Target::Key(key.id), now, by);
    let event = event.because(reason.given());
    if is_first {
        return append(tx, &AUDIT, &event.took(change.revision())).await;
    }
    let from = before.map(RevocationReason::name);
    let changes = json!({"reason": {"from": from, "to": reason.name()}}).to_string();
    append(tx, &AUDIT, &event.changing(&changes)).await
}

/// Marks a revoke as seen to its end: no edge accepts the key any more.
///
/// # Errors
/// [`StoreError`]
pub async fn mark_confirmed(db: &Db, key: KeyId, revision: Revision) -> Result<(), StoreError> {
    db.execute(MARK_CONFIRMED, values![key.0, revision.0]).await.map(drop)
}
