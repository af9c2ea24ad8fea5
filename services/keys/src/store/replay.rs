//! The answer to a repeat: whoever acts is judged again, the keys are shown as they are now, and what was done to them since
//! is waited for, as their maker's first answer would have been.

use latchkey_authority::changes::revision;
use latchkey_authority::{Change, append_invalidation};
use latchkey_contract::keys::KeyObject;
use latchkey_contract::lease::{Revision, Tag};
use latchkey_contract::scope::Scopes;
use latchkey_contract::{Caller, CredentialHash, KeyId, Refusal, Timestamp, UserId};
use latchkey_store::{Db, StoreError, Tx, values};

use super::acting::{Barred, reach};
use super::key::{GET, KeyRow, select_keys};
use super::revoke::mark_confirmed;
use super::rotate::{settle, wanted};
use super::waited::{WAITED, WaitedRow};
use super::{AUTHORITY, hash_of, locks};

/// A key that was purged is not there.
pub(super) const SHOW: &str =
    select_keys!("hash = $2 AND api_keys.owner_id = $1 AND purged_at IS NULL");

/// Who asks for what again.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Whoever acts.
    pub by: &'a Caller,
    /// Whose keys they are.
    pub owner: UserId,
    /// The scopes of the token that acts, where it is narrowed.
    pub narrowed: Option<&'a Scopes>,
    /// The scope that it takes.
    pub needed: &'static str,
    /// Whether a key that acts replaces itself.
    pub is_self: bool,
    /// What was made.
    pub made: &'a [CredentialHash],
    /// The key that it replaces, if it does.
    pub replaced: Option<KeyId>,
}

/// What was made, as it is now.
#[derive(Debug)]
pub struct Shown {
    /// In the order in which they were asked for.
    pub keys: Vec<KeyObject>,
    /// The key that was replaced.
    pub replaced: Option<KeyObject>,
    /// What is waited for; `None` where there is nothing.
    pub change: Option<Change>,
    /// Changes that no edge was known to know of yet.
    pub open: Vec<LastChange>,
}

/// What was done to a key last.
#[derive(Clone, Copy, Debug)]
pub struct LastChange {
    key: KeyId,
    hash: CredentialHash,
    revision: Revision,
    is_confirmed: bool,
    is_revoke: bool,
}

/// Shows keys that were made, if whoever acts could make them now.
///
/// # Errors
/// [`StoreError`]
pub async fn show(
    db: &Db,
    asked: &Asked<'_>,
    now: Timestamp,
) -> Result<Result<Shown, Barred>, StoreError> {
    let Asked { by, owner, narrowed, needed, is_self, made, replaced } = *asked;
    let refused = |refusal| Ok(Err(Barred::Refused(refusal)));
    let mut tx = db.begin("show keys again").await?;
    let reach = match reach(&mut tx, by, owner, narrowed, needed, now).await? {
        Ok(reach) => reach,
        Err(barred) => return Ok(Err(barred)),
    };
    if locks::is_disabled(&mut tx, owner).await? {
        return refused(Refusal::SessionEnded);
    }
    let mut keys = Vec::with_capacity(made.len());
    for hash in made {
        let row: Option<KeyRow> = tx.fetch_first(SHOW, values![owner.0, &hash.0]).await?;
        let Some(row) = row else { return refused(Refusal::KeyNotFound) };
        let object = row.object(now)?;
        // An owner is shown whatever is theirs. Others may have less by now than when they made it; what replaces a key
        // itself is that key.
        if !is_self && let Err(refusal) = reach.covers(wanted(&object), &object.scopes) {
            return refused(refusal);
        }
        keys.push(object);
    }
    let replaced = match replaced {
        None => None,
        Some(key) => {
            let row: Option<KeyRow> = tx.fetch_first(GET, values![owner.0, key.0]).await?;
            let Some(row) = row else { return refused(Refusal::KeyNotFound) };
            Some(row.object(now)?)
        }
    };
    let mut last = Vec::new();
    for key in replaced.iter().chain(&keys) {
        last.extend(last_change(&mut tx, owner, key.id).await?);
    }
    let open: Vec<LastChange> = last.iter().copied().filter(|one| !one.is_confirmed).collect();
    let change = match (open.as_slice(), last.first()) {
        // A receipt is due for the key that was replaced, whose change comes first.
        ([], Some(first)) if replaced.is_some() => Some(first.change(&mut tx).await?),
        ([], _) => None,
        ([one], _) => Some(one.change(&mut tx).await?),
        _ => {
            // Its revision is nobody else's: whoever has applied it asks anew for whatever was read before any of these.
            let tag = Tag::of_user(owner);
            let row = append_invalidation(&mut tx, &AUTHORITY, tag, now).await?;
            Some(Change { tag, row, earlier: None })
        }
    };
    tx.commit().await?;
    Ok(Ok(Shown { keys, replaced, change, open }))
}

/// What was done to a key last: whatever ended it, or else what changed it; `None`: nothing that an edge has to know.
async fn last_change(
    tx: &mut Tx,
    owner: UserId,
    key: KeyId,
) -> Result<Option<LastChange>, StoreError> {
    let row: Option<WaitedRow> = tx.fetch_first(WAITED, values![owner.0, key.0]).await?;
    let Some(row) = row else { return Ok(None) };
    let is_revoke = row.revoked_revision.is_some();
    let Some((revision, is_confirmed)) = row.last() else { return Ok(None) };
    let hash = hash_of(&row.hash)?;
    Ok(Some(LastChange { key, hash, revision, is_confirmed, is_revoke }))
}

impl LastChange {
    async fn change(&self, tx: &mut Tx) -> Result<Change, StoreError> {
        let row = revision(tx, &AUTHORITY).await?;
        let earlier = Some((self.revision, self.is_confirmed));
        Ok(Change { tag: Tag::Credential(self.hash), row, earlier })
    }
}

/// Marks changes as seen to their end.
///
/// # Errors
/// [`StoreError`]
pub async fn confirm(db: &Db, open: &[LastChange]) -> Result<(), StoreError> {
    for LastChange { key, revision, is_revoke, .. } in open {
        if *is_revoke {
            mark_confirmed(db, *key, *revision).await?;
        } else {
            settle(db, *key, *revision).await?;
        }
    }
    Ok(())
}
