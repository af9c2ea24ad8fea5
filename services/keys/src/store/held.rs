//! A key that a command is about: locked until the transaction ends, and judged by what the command was decided on.

use latchkey_authority::changes::revision;
use latchkey_authority::{Change, append_invalidation};
use latchkey_contract::keys::{KeyObject, KeyTarget};
use latchkey_contract::lease::{Revision, Tag};
use latchkey_contract::refusal::Conflict;
use latchkey_contract::{Caller, CredentialHash, KeyId, Refusal, Timestamp, UserId};
use latchkey_store::{Db, StoreError, Tx, values};
use sqlx::FromRow;

use super::acting::{Barred, reach};
use super::key::{GET, KeyRow};
use super::rotate::SETTLE;
use super::{AUTHORITY, hash_of, locks};
use crate::acting::{Reach, WRITE, reads};

pub(super) const HOLD: &str = "UPDATE api_keys SET version = version \
    WHERE owner_id = $1 AND id = $2 AND purged_at IS NULL \
    RETURNING hash, expires_before_rotation, changed_mark, changed_position, changed_settled";
pub(super) const SET_CHANGED: &str =
    "UPDATE api_keys SET changed_position = $2, changed_settled = FALSE WHERE id = $1";

#[derive(FromRow)]
struct HeldRow {
    hash: Vec<u8>,
    expires_before_rotation: Option<i64>,
    changed_mark: Option<Vec<u8>>,
    changed_position: Option<i64>,
    changed_settled: bool,
}

/// A key that nobody else changes until the transaction ends.
pub(super) struct Held {
    /// As it is.
    pub(super) object: KeyObject,
    /// How far an end that a rotation moved may be moved back.
    pub(super) expires_before_rotation: Option<Timestamp>,
    hash: CredentialHash,
    mark: Option<Vec<u8>>,
    /// The revision of its last change, and whether that was seen to its end.
    changed: Option<(Revision, bool)>,
}

/// A key after a command.
#[derive(Debug)]
pub struct Done {
    /// As it is now.
    pub object: KeyObject,
    /// What is waited for; `None` where no edge has to know.
    pub change: Option<Change>,
}

/// What a command finds.
pub(super) enum Found {
    /// The same message came before.
    Before(Box<Done>),
    /// It is the first, and whoever acts may do as much.
    Fresh(Box<Held>, Reach),
    /// Nothing is done.
    Barred(Barred),
}

impl From<Refusal> for Found {
    fn from(refusal: Refusal) -> Self {
        Self::Barred(Barred::Refused(refusal))
    }
}

/// Finds the key that a command is about. One that `gives` something back finds none of an owner who is deactivated,
/// however long ago it was sent.
pub(super) async fn find(
    tx: &mut Tx,
    target: &KeyTarget,
    gives: bool,
    by: &Caller,
    now: Timestamp,
) -> Result<Found, StoreError> {
    if let Err(forbidden) = reads(by, target.owner) {
        return Ok(Found::Barred(Barred::Forbidden(forbidden)));
    }
    locks::owner(tx, target.owner).await?;
    let Some(held) = hold(tx, target.owner, target.key, now).await? else {
        return Ok(Refusal::KeyNotFound.into());
    };
    // Before whoever acts is judged: the first may have been about the key that acts.
    if held.mark.as_deref() == Some(&target.mark.0) {
        let change = held.again(tx).await?;
        return Ok(Found::Before(Done { object: held.object, change }.into()));
    }
    if gives && locks::is_disabled(tx, target.owner).await? {
        return Ok(Refusal::SessionEnded.into());
    }
    let narrowed = target.narrowed.as_ref();
    let reach = match reach(tx, by, target.owner, narrowed, WRITE, now).await? {
        Ok(reach) => reach,
        Err(barred) => return Ok(Found::Barred(barred)),
    };
    if held.object.is_revoked() {
        return Ok(Refusal::Conflict(Conflict::Revoked).into());
    }
    if held.object.version != target.version {
        return Ok(Refusal::Stale.into());
    }
    Ok(Found::Fresh(held.into(), reach))
}

/// Locks a key of `owner`'s; `None`: there is none.
pub(super) async fn hold(
    tx: &mut Tx,
    owner: UserId,
    key: KeyId,
    now: Timestamp,
) -> Result<Option<Held>, StoreError> {
    let values = values![owner.0, key.0];
    let Some(row) = tx.fetch_first::<HeldRow>(HOLD, values).await? else { return Ok(None) };
    let Some(shown) = tx.fetch_first::<KeyRow>(GET, values).await? else { return Ok(None) };
    Ok(Some(Held {
        object: shown.object(now)?,
        expires_before_rotation: row.expires_before_rotation.map(Timestamp),
        hash: hash_of(&row.hash)?,
        mark: row.changed_mark,
        changed: row.changed_position.map(|at| (Revision(at), row.changed_settled)),
    }))
}

impl Held {
    /// What a repeat waits for: the last change, where there was one.
    async fn again(&self, tx: &mut Tx) -> Result<Option<Change>, StoreError> {
        let Some(changed) = self.changed else { return Ok(None) };
        let row = revision(tx, &AUTHORITY).await?;
        Ok(Some(Change { tag: Tag::Credential(self.hash), row, earlier: Some(changed) }))
    }

    /// What a command waits for that finds everything as it is to be: whoever made it so may not have waited.
    pub(super) async fn unchanged(&self, tx: &mut Tx) -> Result<Change, StoreError> {
        let row = revision(tx, &AUTHORITY).await?;
        let earlier = self.changed.unwrap_or_else(|| (row.revision(), true));
        Ok(Change { tag: Tag::Credential(self.hash), row, earlier: Some(earlier) })
    }

    /// Takes a revision for a change of the key.
    pub(super) async fn take(&self, tx: &mut Tx, now: Timestamp) -> Result<Change, StoreError> {
        let tag = Tag::Credential(self.hash);
        let row = append_invalidation(tx, &AUTHORITY, tag, now).await?;
        let values = values![self.object.id.0, row.revision().0];
        tx.execute(SET_CHANGED, values).await?;
        Ok(Change { tag, row, earlier: None })
    }

    /// The key as it is after the command.
    pub(super) async fn now(&self, tx: &mut Tx, now: Timestamp) -> Result<KeyObject, StoreError> {
        let values = values![self.object.owner.user().0, self.object.id.0];
        let row: Option<KeyRow> = tx.fetch_first(GET, values).await?;
        row.ok_or(StoreError::Unexpected("a key that is held is there"))?.object(now)
    }
}

/// Marks a change as seen to its end: no edge acts on what was before.
///
/// # Errors
/// [`StoreError`]
pub async fn settle(db: &Db, key: KeyId, revision: Revision) -> Result<(), StoreError> {
    db.execute(SETTLE, values![key.0, revision.0]).await.map(drop)
}
