//! Ending several keys: some in each transaction, then one invalidation of all that is their owner's, so that one wait is
//! enough for all of them. A filter's keys are looked for before, outside of the transactions; each is judged once more when
//! it is held.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use latchkey_authority::{Change, Ended, append_invalidation, end_once};
use latchkey_contract::keys::{
    KeyFilter, KeyObject, RevocationReason, RevokeKeys, RevokedOne, Revoker, Which, rules,
};
use latchkey_contract::lease::{Revision, Tag};
use latchkey_contract::{Actor, Caller, KeyId, Timestamp, UserId};
use latchkey_store::{BatchedPairs, Db, StoreError, Tx, Value, batched_pairs, values};
use sqlx::FromRow;

use super::acting::{Barred, reach};
use super::key::{KeyRow, shown_columns};
use super::matching::{Search, finds, lineage_of};
use super::rehearse::{Impact, rehearse};
use super::revoke::write_down;
use super::{AUTHORITY, SET_REVISION, hash_of, leaked, locks};
use crate::acting::WRITE;

/// Keys that one transaction ends at most.
const AT_ONCE: usize = 200;

/// Nobody else changes the key until the transaction ends.
pub(super) const HOLD: &str = concat!(
    "UPDATE api_keys SET version = version WHERE owner_id = $1 AND id = $2 AND purged_at IS NULL \
     RETURNING id, owner_id, disabled_at, version, ",
    shown_columns!(),
    ", (SELECT disabled.disabled_at FROM keys_disabled_owners AS disabled \
     WHERE disabled.owner_id = api_keys.owner_id) AS owner_disabled_at, hash, revoked_position, is_settled"
);
/// Behind [`HOLD`].
pub(super) const REVOKE: &str = "UPDATE api_keys SET version = version + 1, revoked_at = COALESCE(revoked_at, $3), \
    revoked_by = CASE WHEN revoked_at IS NULL THEN $6 ELSE revoked_by END, \
    revoked_note = CASE WHEN revoked_at IS NULL OR $4 = 'key_compromise' THEN COALESCE(revoked_note, $5) \
        ELSE revoked_note END, \
    revoked_reason = CASE WHEN revoked_at IS NULL OR $4 = 'key_compromise' THEN $4 ELSE revoked_reason END \
    WHERE owner_id = $1 AND id = $2";
/// The pairs are a key's id and the revision of its end.
pub(super) const CONFIRM: BatchedPairs = batched_pairs!(
    "UPDATE api_keys SET is_settled = TRUE FROM ",
    " WHERE api_keys.id = pairs.a AND api_keys.revoked_position = pairs.b"
);

#[derive(FromRow)]
struct HeldRow {
    #[sqlx(flatten)]
    key: KeyRow,
    hash: Vec<u8>,
    #[sqlx(rename = "revoked_position")]
    revoked_revision: Option<i64>,
    #[sqlx(rename = "is_settled")]
    is_confirmed: bool,
}

/// What became of several keys.
#[derive(Debug)]
pub enum ManyRevoked {
    /// They are ended, or would be.
    Done(Many),
    /// Whoever acts may not do it.
    Barred(Barred),
}

/// Several keys that are ended.
#[derive(Debug, Default)]
pub struct Many {
    /// Each once, by rising id.
    pub keys: Vec<RevokedOne>,
    /// Ids that are no keys of the owner's.
    pub missing: Vec<KeyId>,
    /// Whether there are more than one command ends.
    pub more: bool,
    /// What is waited for; `None` where there is nothing.
    pub change: Option<Change>,
    /// The ends that no edge was known to know of yet: the keys, and their revisions.
    pub unconfirmed: Vec<(KeyId, Revision)>,
}

/// The command while it is carried out.
struct Ending<'a> {
    db: &'a Db,
    request: &'a RevokeKeys,
    by: &'a Caller,
    now: Timestamp,
    done: BTreeMap<KeyId, Done>,
    missing: Vec<KeyId>,
    /// Whether keys are left for which there is no room.
    more: bool,
}

/// One key that is ended.
struct Done {
    last_used_at: Option<Timestamp>,
    change: Change,
}

/// One key that is to end, and is held until it has.
struct Held {
    object: KeyObject,
    ended: Ended,
}

/// Ends keys, or says which it would end.
///
/// # Errors
/// [`StoreError`]: some may be ended; the same command ends the others, and waits for all of them.
pub async fn revoke(
    db: &Db,
    request: &RevokeKeys,
    by: &Caller,
    now: Timestamp,
) -> Result<ManyRevoked, StoreError> {
    let named;
    let request =
        if let Which::Filter(filter @ KeyFilter { lineage: Some(key), .. }) = &request.which {
            let lineage = lineage_of(db, request.owner, *key).await?;
            let which = Which::Filter(KeyFilter { lineage: Some(lineage), ..filter.clone() });
            named = RevokeKeys { which, ..request.clone() };
            &named
        } else {
            request
        };
    if let Some(barred) = bar(db, request.owner, by, now).await? {
        return Ok(ManyRevoked::Barred(barred));
    }
    if request.dry_run {
        let Impact { keys, missing, more } = rehearse(db, request, now).await?;
        return Ok(ManyRevoked::Done(Many { keys, missing, more, ..Many::default() }));
    }
    let (done, missing) = (BTreeMap::new(), Vec::new());
    let mut ending = Ending { db, request, by, now, done, missing, more: false };
    let ended = match &request.which {
        Which::Ids(ids) => ending.named(ids).await?,
        Which::Filter(filter) => ending.found(filter).await?,
    };
    match ended {
        Ok(()) => ending.finish().await.map(ManyRevoked::Done),
        Err(barred) => Ok(ManyRevoked::Barred(barred)),
    }
}

/// Why whoever acts may end no keys of `owner`'s. Each transaction asks again.
async fn bar(
    db: &Db,
    owner: UserId,
    by: &Caller,
    now: Timestamp,
) -> Result<Option<Barred>, StoreError> {
    if !matches!(by.actor, Actor::Key { .. }) {
        return Ok(by.acts_as(owner).err().map(Barred::Forbidden));
    }
    // Nothing is written.
    let mut tx = db.begin("may revoke keys").await?;
    Ok(reach(&mut tx, by, owner, None, WRITE, now).await?.err())
}

/// Marks ends as seen through: no edge accepts these keys any more.
///
/// # Errors
/// [`StoreError`]
pub async fn mark_confirmed(db: &Db, ends: &[(KeyId, Revision)]) -> Result<(), StoreError> {
    let ends: Vec<_> = ends.iter().map(|(key, revision)| (key.0, revision.0)).collect();
    CONFIRM.execute(db, &ends).await.map(drop)
}

impl Ending<'_> {
    /// The key that acts, where one does.
    fn itself(&self) -> Option<KeyId> {
        match self.by.actor {
            Actor::Key { id, .. } => Some(id),
            _ => None,
        }
    }

    /// Ends these. A key that acts ends itself last: until then it has to be good.
    async fn named(&mut self, ids: &[KeyId]) -> Result<Result<(), Barred>, StoreError> {
        let itself = self.itself();
        let (last, others): (Vec<_>, Vec<_>) = ids.iter().partition(|id| Some(**id) == itself);
        Ok(match self.end_all(others).await? {
            Ok(()) => self.end_all(last).await?,
            barred => barred,
        })
    }

    /// Ends what the filter finds: what lives first.
    async fn found(&mut self, filter: &KeyFilter) -> Result<Result<(), Barred>, StoreError> {
        let mut search = Search::new(self.request.owner, filter, self.now);
        let (mut living, mut ended, mut last) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            let found = search.next(self.db).await?;
            let is_over = found.is_empty();
            for key in found {
                if key.is_revoked() {
                    // One more than there is room for tells that there are more.
                    ended.extend((ended.len() <= rules::MAX_ENDED).then_some(key.id));
                } else if Some(key.id) == self.itself() {
                    last.push(key.id);
                } else {
                    living.push(key.id);
                }
            }
            if (is_over || living.len() >= AT_ONCE)
                && let Err(barred) = self.end_all(mem::take(&mut living)).await?
            {
                return Ok(Err(barred));
            }
            if is_over || self.more {
                break;
            }
        }
        for keys in [ended, last] {
            if let Err(barred) = self.end_all(keys).await? {
                return Ok(Err(barred));
            }
        }
        self.more |= search.is_cut();
        Ok(Ok(()))
    }

    /// Ends these, as far as there is room.
    async fn end_all(&mut self, mut keys: Vec<KeyId>) -> Result<Result<(), Barred>, StoreError> {
        // Everybody takes rows in one order.
        keys.sort_unstable();
        for some in keys.chunks(AT_ONCE) {
            if self.more {
                break;
            }
            if let Err(barred) = self.end(some).await? {
                return Ok(Err(barred));
            }
        }
        Ok(Ok(()))
    }

    /// Ends these in one transaction, and what has replaced them since they were found.
    async fn end(&mut self, keys: &[KeyId]) -> Result<Result<(), Barred>, StoreError> {
        let owner = self.request.owner;
        let mut tx = self.db.begin("revoke keys").await?;
        locks::owner(&mut tx, owner).await?;
        if let Err(barred) = reach(&mut tx, self.by, owner, None, WRITE, self.now).await? {
            return Ok(Err(barred));
        }
        let mut waiting: BTreeSet<KeyId> = keys.iter().copied().collect();
        let mut held = Vec::with_capacity(keys.len());
        while let Some(key) = waiting.pop_first() {
            if self.done.contains_key(&key) {
                continue;
            }
            if self.done.len() + held.len() >= rules::MAX_ENDED {
                self.more = true;
                break;
            }
            held.extend(self.hold(&mut tx, key, &mut waiting).await?);
        }
        if held.is_empty() {
            return Ok(Ok(()));
        }
        let ended = self.write(&mut tx, held).await?;
        tx.commit().await?;
        self.done.extend(ended);
        Ok(Ok(()))
    }

    /// Holds a key, if it is to be ended now as it was when it was found. `waiting`: what is to be held after it. A key that
    /// was replaced meanwhile has a successor that the search may not have seen; one that is held is replaced by nobody.
    async fn hold(
        &mut self,
        tx: &mut Tx,
        key: KeyId,
        waiting: &mut BTreeSet<KeyId>,
    ) -> Result<Option<Held>, StoreError> {
        let row: Option<HeldRow> =
            tx.fetch_first(HOLD, values![self.request.owner.0, key.0]).await?;
        let Which::Filter(filter) = &self.request.which else {
            self.missing.extend(row.is_none().then_some(key));
            return row.map(|row| self.held(row)).transpose();
        };
        let Some(held) = row.map(|row| self.held(row)).transpose()? else { return Ok(None) };
        let successor = held.object.lineage.replaced_by;
        waiting.extend(successor.filter(|id| Some(*id) != self.itself()));
        let is_over = held.object.is_revoked() && held.ended.is_confirmed;
        Ok(Some(held).filter(|held| !is_over && finds(filter, &held.object)))
    }

    fn held(&self, row: HeldRow) -> Result<Held, StoreError> {
        let object = row.key.object(self.now)?;
        let tag = Tag::Credential(hash_of(&row.hash)?);
        let (earlier, is_confirmed) = (row.revoked_revision, row.is_confirmed);
        Ok(Held { object, ended: Ended { tag, earlier, is_confirmed } })
    }

    /// Ends what is held, each with a revision of its own. The counter's row is taken when every key's is.
    async fn write(&self, tx: &mut Tx, held: Vec<Held>) -> Result<Vec<(KeyId, Done)>, StoreError> {
        let RevokeKeys { owner, reason, note, .. } = self.request;
        let revoker = Revoker::of(&self.by.actor).map(|by| by.as_text());
        for Held { object, .. } in &held {
            let values = [
                owner.0.into(),
                object.id.0.into(),
                self.now.0.into(),
                reason.name().into(),
                Value::from(note.as_deref()),
                Value::from(revoker.as_deref()),
            ];
            tx.execute(REVOKE, &values).await?;
        }
        if *reason == RevocationReason::KeyCompromise {
            let lineages: BTreeSet<KeyId> =
                held.iter().map(|held| held.object.lineage.id).collect();
            for lineage in lineages {
                leaked::mark(tx, lineage, self.now).await?;
            }
        }
        let mut done = Vec::with_capacity(held.len());
        for Held { object, ended } in held {
            let set = (SET_REVISION, object.id.0.into());
            let change = end_once(tx, &AUTHORITY, ended, set, self.now).await?;
            write_down(tx, (&object, *reason), &change, self.by, self.now).await?;
            done.push((object.id, Done { last_used_at: object.last_used_at, change }));
        }
        Ok(done)
    }

    /// What is waited for: the one end, or everything of the owner's behind all of them.
    async fn finish(self) -> Result<Many, StoreError> {
        let Self { db, request, now, done, mut missing, more, .. } = self;
        missing.sort_unstable();
        let changes = done.iter().map(|(key, done)| (*key, done.change));
        let is_open = |change: &Change| !change.earlier.is_some_and(|(_, confirmed)| confirmed);
        let open: Vec<(KeyId, Change)> = changes.filter(|(_, change)| is_open(change)).collect();
        let change = match open.as_slice() {
            // All of them were seen to their end before: there is nothing to wait for.
            [] => {
                let latest = done.values().map(|done| done.change);
                latest.max_by_key(|change| change.revision().0)
            }
            [(_, one)] => Some(*one),
            _ => {
                let mut tx = db.begin("revoke keys").await?;
                // Its revision is nobody else's, so who acknowledges it has applied this one, and with it whatever was
                // read before any of these ends is asked anew.
                let tag = Tag::of_user(request.owner);
                let row = append_invalidation(&mut tx, &AUTHORITY, tag, now).await?;
                tx.commit().await?;
                Some(Change { tag, row, earlier: None })
            }
        };
        let unconfirmed = open.iter().map(|(key, change)| (*key, change.revision())).collect();
        let keys = done.into_iter();
        let keys = keys.map(|(id, done)| RevokedOne { id, last_used_at: done.last_used_at });
        Ok(Many { keys: keys.collect(), missing, more, change, unconfirmed })
    }
}
