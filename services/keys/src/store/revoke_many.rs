//! Ending several keys: some in each transaction, then one invalidation of all that is their owner's, so that one wait is
//! enough for all of them.

use std::collections::BTreeMap;

use latchkey_audit::{Action, Event, Target, append};
use latchkey_authority::{Change, Ended, append_invalidation, end_once};
use latchkey_contract::keys::{
    KeyFilter, RevocationReason, RevokeKeys, RevokedOne, Revoker, Which, rules,
};
use latchkey_contract::lease::{Revision, Tag};
use latchkey_contract::{Actor, Caller, KeyId, Timestamp};
use latchkey_store::{BatchedPairs, Db, StoreError, Tx, Value, batched_pairs, values};
use sqlx::FromRow;

use super::acting::{Barred, reach};
use super::matching::{find, lineage_of};
use super::rotate::{LOCK_LINEAGE, MARK_LEAKED};
use super::{AUDIT, AUTHORITY, SET_REVISION, hash_of};
use crate::acting::WRITE;

/// Keys that one transaction ends at most.
const AT_ONCE: usize = 200;
/// Transactions of one command at most, the last of which finds nothing more to end.
const MAX_ROUNDS: usize = 10;
/// Searches of one command at most that find nothing and go on where the one before has stopped.
const MAX_SEARCHES: usize = 20;

/// Before [`REVOKE`]: a key that has ended turns out to be somebody else's.
pub(super) const RAISE: &str = "UPDATE api_keys SET revoked_reason = 'key_compromise' \
    WHERE owner_id = $1 AND id = $2 AND purged_at IS NULL AND revoked_at IS NOT NULL \
    AND (revoked_reason IS NULL OR revoked_reason <> 'key_compromise')";
pub(super) const USED: &str = "SELECT last_used_at FROM api_keys \
    WHERE owner_id = $1 AND id = $2 AND purged_at IS NULL";
pub(super) const REVOKE: &str = "UPDATE api_keys SET version = version + 1, revoked_at = COALESCE(revoked_at, $3), \
    revoked_by = CASE WHEN revoked_at IS NULL THEN $6 ELSE revoked_by END, \
    revoked_note = CASE WHEN revoked_at IS NULL OR $4 = 'key_compromise' THEN COALESCE(revoked_note, $5) \
        ELSE revoked_note END, \
    revoked_reason = CASE WHEN revoked_at IS NULL OR $4 = 'key_compromise' THEN $4 ELSE revoked_reason END \
    WHERE owner_id = $1 AND id = $2 AND purged_at IS NULL \
    RETURNING hash, last_used_at, COALESCE(lineage_id, id) AS lineage, revoked_position, is_settled";
/// The pairs are a key's id and the revision of its end.
pub(super) const CONFIRM: BatchedPairs = batched_pairs!(
    "UPDATE api_keys SET is_settled = TRUE FROM ",
    " WHERE api_keys.id = pairs.a AND api_keys.revoked_position = pairs.b"
);

#[derive(FromRow)]
struct RevokedRow {
    hash: Vec<u8>,
    last_used_at: Option<i64>,
    lineage: i64,
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
    request: &'a RevokeKeys,
    by: &'a Caller,
    now: Timestamp,
    done: BTreeMap<KeyId, Done>,
    missing: Vec<KeyId>,
    /// Up to here there is nothing to end.
    after: KeyId,
}

/// One key that is ended.
struct Done {
    last_used_at: Option<Timestamp>,
    change: Change,
}

/// The keys that a transaction ends.
struct Round {
    keys: Vec<KeyId>,
    more: bool,
    /// Whether nothing was found so far, and there are keys behind.
    goes_on: bool,
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
    let (done, missing) = (BTreeMap::new(), Vec::new());
    let mut ending = Ending { request, by, now, done, missing, after: KeyId(0) };
    if request.dry_run {
        return ending.rehearse(db).await;
    }
    let (mut more, mut rounds, mut searches) = (true, 0, 0);
    while rounds < MAX_ROUNDS && searches < MAX_SEARCHES {
        let mut tx = db.begin("revoke keys").await?;
        if let Which::Filter(KeyFilter { lineage: Some(lineage), .. }) = request.which {
            tx.execute(LOCK_LINEAGE, values![request.owner.0, lineage.0]).await?;
        }
        // A key that has ended itself by this very command was good until then.
        let may = ending.itself().is_some_and(|id| ending.done.contains_key(&id));
        if !may && let Err(barred) = reach(&mut tx, by, request.owner, None, WRITE, now).await? {
            return Ok(ManyRevoked::Barred(barred));
        }
        let round = ending.next(&mut tx).await?;
        if round.goes_on {
            searches += 1;
            continue;
        }
        rounds += 1;
        if round.keys.is_empty() {
            more = round.more;
            break;
        }
        ending.end(&mut tx, round.keys).await?;
        tx.commit().await?;
    }
    ending.finish(db, more).await.map(ManyRevoked::Done)
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

    /// The keys that the next transaction ends. Whatever is born into the set until its transaction has the rows of those
    /// that are ended is found by a later round.
    async fn next(&mut self, tx: &mut Tx) -> Result<Round, StoreError> {
        let room = rules::MAX_ENDED.saturating_sub(self.done.len());
        let is_new = |id: &KeyId| !self.done.contains_key(id) && !self.missing.contains(id);
        let (mut keys, is_whole): (Vec<KeyId>, bool) = match &self.request.which {
            Which::Ids(ids) => (ids.iter().copied().filter(is_new).collect(), true),
            Which::Filter(filter) => {
                let found = find(tx, self.request.owner, filter, self.after, self.now).await?;
                let ids = found.keys.into_iter().map(|one| one.id).filter(is_new);
                let ids: Vec<KeyId> = ids.collect();
                // What is replaced has a successor with a greater id: none is born before those that are to come.
                if ids.is_empty() && !found.is_whole {
                    self.after = found.until;
                    return Ok(Round { keys: ids, more: true, goes_on: true });
                }
                (ids, found.is_whole)
            }
        };
        let more = keys.len() > room || !is_whole;
        keys.truncate(room);
        // A key that acts ends itself last: until then it has to be good.
        if let Some(place) = self.itself().and_then(|id| keys.iter().position(|key| *key == id)) {
            let itself = keys.remove(place);
            keys.push(itself);
        }
        keys.truncate(AT_ONCE);
        // Everybody takes rows in one order.
        keys.sort_unstable();
        Ok(Round { keys, more, goes_on: false })
    }

    /// Ends these, each with a revision of its own. The counter's row is taken when every key's is.
    async fn end(&mut self, tx: &mut Tx, keys: Vec<KeyId>) -> Result<(), StoreError> {
        let RevokeKeys { owner, reason, note, .. } = self.request;
        let revoker = Revoker::of(&self.by.actor).map(|by| by.as_text());
        let mut rows = Vec::with_capacity(keys.len());
        for key in keys {
            let is_raised = *reason == RevocationReason::KeyCompromise
                && tx.execute(RAISE, values![owner.0, key.0]).await? > 0;
            let values = [
                owner.0.into(),
                key.0.into(),
                self.now.0.into(),
                reason.name().into(),
                Value::from(note.as_deref()),
                Value::from(revoker.as_deref()),
            ];
            let row: Option<RevokedRow> = tx.fetch_first(REVOKE, &values).await?;
            match row {
                Some(row) => rows.push((key, row, is_raised)),
                None => self.missing.push(key),
            }
        }
        if *reason == RevocationReason::KeyCompromise {
            for (_, row, _) in &rows {
                tx.execute(MARK_LEAKED, values![row.lineage, self.now.0]).await?;
            }
        }
        for (key, row, is_raised) in rows {
            let (tag, last_used_at) =
                (Tag::Credential(hash_of(&row.hash)?), row.last_used_at.map(Timestamp));
            let (earlier, is_confirmed) = (row.revoked_revision, row.is_confirmed);
            let ended = Ended { tag, earlier, is_confirmed };
            let set = (SET_REVISION, key.0.into());
            let change = end_once(tx, &AUTHORITY, ended, set, self.now).await?;
            if change.earlier.is_none() || is_raised {
                let event = Event::done(Action::KeyRevoked, Target::Key(key), self.now, self.by);
                let event = event.because(reason.given()).took(change.revision());
                append(tx, &AUDIT, &event).await?;
            }
            self.done.insert(key, Done { last_used_at, change });
        }
        Ok(())
    }

    /// What is waited for: the one end, or everything of the owner's behind all of them.
    async fn finish(self, db: &Db, more: bool) -> Result<Many, StoreError> {
        let Self { request, now, done, mut missing, .. } = self;
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

    /// Which keys it would end.
    async fn rehearse(mut self, db: &Db) -> Result<ManyRevoked, StoreError> {
        let RevokeKeys { owner, which, .. } = self.request;
        // Nothing is written, and what was found is of one moment.
        let mut tx = db.begin("rehearse a revoke of keys").await?;
        if let Err(barred) = reach(&mut tx, self.by, *owner, None, WRITE, self.now).await? {
            return Ok(ManyRevoked::Barred(barred));
        }
        let (mut many, mut keys) = (Many::default(), Vec::new());
        match which {
            Which::Filter(filter) => {
                for _ in 0..MAX_SEARCHES {
                    let found = find(&mut tx, *owner, filter, self.after, self.now).await?;
                    (self.after, many.more) = (found.until, !found.is_whole);
                    keys.extend(found.keys);
                    if found.is_whole || keys.len() > rules::MAX_ENDED {
                        break;
                    }
                }
            }
            Which::Ids(ids) => {
                for id in ids {
                    let row: Option<(Option<i64>,)> =
                        tx.fetch_first(USED, values![owner.0, id.0]).await?;
                    match row {
                        Some((at,)) => {
                            let last_used_at = at.map(Timestamp);
                            keys.push(RevokedOne { id: *id, last_used_at });
                        }
                        None => many.missing.push(*id),
                    }
                }
            }
        }
        many.more |= keys.len() > rules::MAX_ENDED;
        keys.truncate(rules::MAX_ENDED);
        keys.sort_unstable_by_key(|key| key.id);
        many.missing.sort_unstable();
        Ok(ManyRevoked::Done(Many { keys, ..many }))
    }
}
