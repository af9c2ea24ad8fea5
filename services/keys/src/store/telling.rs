//! How far the identity service has told of the owners of keys: the row of `keys_telling`. Whoever changes what is
//! known of owners takes it first.

use std::collections::{BTreeMap, HashSet};

use latchkey_authority::Store;
use latchkey_authority::changes::{invalidate_everything, revision};
use latchkey_contract::keys::{CeilingsTold, SetDefaultCeiling, TellOwners, Telling};
use latchkey_contract::lease::{Epoch, Revision};
use latchkey_contract::{Timestamp, UserId};
use latchkey_store::{Db, StoreError, Tx, values};
use sqlx::FromRow;

use super::{AUTHORITY, ceiling, default_ceiling, locks};

pub(super) const READ: &str = "SELECT version, made, timeline, revision, through, for_made, for_timeline, \
    with_ceilings, ceilings_made FROM keys_telling WHERE id = 1";
/// Everybody else who changes what is known of owners waits.
pub(super) const LOCK: &str = "UPDATE keys_telling SET version = version WHERE id = 1 \
    RETURNING version, made, timeline, revision, through, for_made, for_timeline, with_ceilings, ceilings_made";
pub(super) const TAKE: &str = "UPDATE keys_telling SET version = version + 1 WHERE id = 1 AND version = $1 \
    RETURNING version, made, timeline, revision, through, for_made, for_timeline, with_ceilings, ceilings_made";
pub(super) const SET: &str = "UPDATE keys_telling SET made = $1, timeline = $2, revision = $3, through = $4, \
    for_made = $5, for_timeline = $6, with_ceilings = $7, ceilings_made = $8 WHERE id = 1";
/// No history of this database has a timeline below 0.
pub(super) const FORGET: &str = "UPDATE keys_telling SET version = version + 1, through = NULL, \
    for_made = 0, for_timeline = -1, with_ceilings = FALSE, ceilings_made = NULL WHERE id = 1";
/// The owners of a page of whom nothing newer was told.
pub(super) const DELETE_OLDER: &str = "DELETE FROM keys_told_owners WHERE owner_id > $1 AND owner_id <= $2 \
    AND NOT (made = $3 AND (timeline > $4 OR (timeline = $4 AND revision > $5)))";
/// After [`DELETE_OLDER`].
pub(super) const NEWER: &str =
    "SELECT owner_id FROM keys_told_owners WHERE owner_id > $1 AND owner_id <= $2";
/// What becomes of an owner, told of in a page or alone.
pub(super) const DISABLE: &str = "INSERT INTO keys_disabled_owners (owner_id, disabled_at) VALUES ($1, $2) \
    ON CONFLICT DO NOTHING";
pub(super) const ENABLE: &str = "DELETE FROM keys_disabled_owners WHERE owner_id = $1";
pub(super) const DISABLED: &str = "SELECT owner_id FROM keys_disabled_owners \
    WHERE owner_id > $1 AND owner_id <= $2 ORDER BY owner_id LIMIT $3";

/// Before the first owner, and behind the last.
const FIRST: i64 = i64::MIN;
const LAST: i64 = i64::MAX;
/// Disabled owners that one page looks at, and owners with a ceiling, at most: where there are more it ends with the last
/// of them.
const MAX_KNOWN: usize = 2 * TellOwners::MAX;

/// The row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromRow)]
pub(super) struct Row {
    version: i64,
    made: Option<i64>,
    timeline: Option<i64>,
    revision: i64,
    through: Option<i64>,
    for_made: Option<i64>,
    for_timeline: Option<i64>,
    /// Whether each page of the telling that is under way has told of ceilings, too.
    with_ceilings: bool,
    /// Identity's history of which all ceilings were told.
    ceilings_made: Option<i64>,
}

impl Row {
    /// As it is in this history of the database.
    pub(super) fn telling(&self, own: Epoch) -> Telling {
        Telling {
            version: self.version,
            epoch: own,
            is_current: epoch(self.for_made, self.for_timeline) == Some(own),
            of: epoch(self.made, self.timeline),
            revision: Revision(self.revision),
            through: self.through.map(UserId),
            ceilings: self.ceilings_made.map_or(CeilingsTold::Untold, CeilingsTold::Of),
        }
    }
}

/// Whether all that has to be told was told in the history `own`. The other values are the row's.
pub(super) fn is_told(
    own: Epoch,
    for_made: Option<i64>,
    for_timeline: Option<i64>,
    through: Option<i64>,
) -> bool {
    epoch(for_made, for_timeline).is_none_or(|told| told == own && through.is_none())
}

fn epoch(made: Option<i64>, timeline: Option<i64>) -> Option<Epoch> {
    made.zip(timeline).map(|(made, timeline)| Epoch { made, timeline })
}

/// How far it was told.
///
/// # Errors
/// [`StoreError`]
pub async fn read(db: &Db) -> Result<Telling, StoreError> {
    let row: Option<Row> = db.fetch_first(READ, &[]).await?;
    // One that changes in between is refused as late.
    let own = Store { db: db.clone(), sql: &AUTHORITY }.revision().await?.epoch();
    Ok(there(row)?.telling(own))
}

/// The same, inside a transaction that changes what is known of owners.
pub(super) async fn lock(tx: &mut Tx) -> Result<Telling, StoreError> {
    let row: Option<Row> = tx.fetch_first(LOCK, &[]).await?;
    let own = revision(tx, &AUTHORITY).await?.epoch();
    Ok(there(row)?.telling(own))
}

fn there(row: Option<Row>) -> Result<Row, StoreError> {
    row.ok_or(StoreError::Unexpected("the row of what was told of owners is not there"))
}

/// Takes a page, and gives how far it is told then. `None`: it is not the one that comes next, and nothing was done.
/// Where an owner's state is another than before, every edge forgets everything.
///
/// # Errors
/// [`StoreError`]
pub async fn take(
    db: &Db,
    page: &TellOwners,
    now: Timestamp,
) -> Result<Option<Telling>, StoreError> {
    let mut tx = db.begin("tell owners").await?;
    let taken: Option<Row> = tx.fetch_first(TAKE, values![page.version]).await?;
    let Some(row) = taken else { return Ok(None) };
    let own = revision(&mut tx, &AUTHORITY).await?.epoch();
    let before = row.telling(own);
    let continues = before.is_under_way(page.of)
        && before.revision == page.revision
        && before.through == page.after;
    if page.keys != own || page.after.is_some() && !continues {
        return Ok(None);
    }
    let until = set_range(&mut tx, page, now).await?;
    let through = (until < LAST).then_some(UserId(until));
    let with_ceilings =
        page.default_ceiling.is_some() && (page.after.is_none() || row.with_ceilings);
    let is_told = through.is_none() && with_ceilings;
    let (of, revision) = (page.of, page.revision);
    let ceilings_made = if is_told { Some(of.made) } else { row.ceilings_made };
    let of_row = values![
        of.made,
        of.timeline,
        revision.0,
        through.map(|owner| owner.0),
        own.made,
        own.timeline,
        with_ceilings,
        ceilings_made
    ];
    tx.execute(SET, of_row).await?;
    tx.commit().await?;
    let ceilings = ceilings_made.map_or(CeilingsTold::Untold, CeilingsTold::Of);
    let (version, of) = (row.version, Some(of));
    let epoch = own;
    Ok(Some(Telling { version, epoch, is_current: true, of, revision, through, ceilings }))
}

/// Gives the page's owners the state it tells, but for those of whom something newer was told; up to which owner
/// that is done.
async fn set_range(tx: &mut Tx, page: &TellOwners, now: Timestamp) -> Result<i64, StoreError> {
    let after = page.after.map_or(FIRST, |owner| owner.0);
    let last = page.owners.last().filter(|_| page.more).map_or(LAST, |told| told.owner.0);
    let limit = i64::try_from(MAX_KNOWN).unwrap_or(LAST).saturating_add(1);
    let disabled: Vec<(i64,)> = tx.fetch(DISABLED, values![after, last, limit]).await?;
    let disabled: Vec<i64> = disabled.into_iter().map(|(owner,)| owner).collect();
    let ceilings = ceiling::range(tx, (after, last), limit).await?;
    let until = end(&disabled, last).min(end(&ceilings.keys().copied().collect::<Vec<_>>(), last));
    let Epoch { made, timeline } = page.of;
    tx.execute(DELETE_OLDER, values![after, until, made, timeline, page.revision.0]).await?;
    let newer: Vec<(i64,)> = tx.fetch(NEWER, values![after, until]).await?;
    let newer: HashSet<i64> = newer.into_iter().map(|(owner,)| owner).collect();
    let is_told = |owner: &i64| *owner <= until && !newer.contains(owner);
    let known = disabled.into_iter().filter(|owner| is_told(owner)).collect();
    let mut changed = set_disabled(tx, page, (&is_told, known), now).await?;
    if let Some(default) = &page.default_ceiling {
        let known = ceilings.into_iter().filter(|(owner, _)| is_told(owner)).collect();
        changed |= set_ceilings(tx, page, (&is_told, known)).await?;
        let (ceiling, epoch, revision) = (default.clone(), page.of, page.revision);
        let told = SetDefaultCeiling { ceiling, epoch, revision };
        changed |= default_ceiling::take(tx, &told).await?;
    }
    if changed {
        invalidate_everything(tx, &AUTHORITY).await?;
    }
    Ok(until)
}

/// Where a page has to end that looks at these owners.
fn end(known: &[i64], last: i64) -> i64 {
    match known.get(MAX_KNOWN.saturating_sub(1)) {
        Some(owner) if known.len() > MAX_KNOWN => *owner,
        _ => last,
    }
}

/// Has those owners disabled whom the page names so, and no other of whom it tells; whether that changes anything.
async fn set_disabled(
    tx: &mut Tx,
    page: &TellOwners,
    (is_told, known): (&(impl Fn(&i64) -> bool + Sync), HashSet<i64>),
    now: Timestamp,
) -> Result<bool, StoreError> {
    let named = page.owners.iter().filter(|told| told.disabled).map(|told| told.owner.0);
    let told: HashSet<i64> = named.filter(|owner| is_told(owner)).collect();
    let mut disabled: Vec<i64> = told.difference(&known).copied().collect();
    disabled.sort_unstable();
    for owner in disabled {
        locks::owner(tx, UserId(owner)).await?;
        tx.execute(DISABLE, values![owner, now.0]).await?;
    }
    for owner in known.difference(&told) {
        tx.execute(ENABLE, values![*owner]).await?;
    }
    Ok(told != known)
}

/// The same of ceilings.
async fn set_ceilings(
    tx: &mut Tx,
    page: &TellOwners,
    (is_told, known): (&(impl Fn(&i64) -> bool + Sync), BTreeMap<i64, String>),
) -> Result<bool, StoreError> {
    let named = page.owners.iter().filter_map(|told| Some((told.owner.0, told.ceiling.as_ref()?)));
    let told: BTreeMap<i64, String> = named
        .filter(|(owner, _)| is_told(owner))
        .map(|(owner, ceiling)| (owner, ceiling.as_text().to_owned()))
        .collect();
    for (owner, text) in told.iter().filter(|(owner, text)| known.get(owner) != Some(*text)) {
        ceiling::put(tx, *owner, Some(text)).await?;
    }
    for owner in known.keys().filter(|owner| !told.contains_key(owner)) {
        ceiling::put(tx, *owner, None).await?;
    }
    Ok(told != known)
}

/// Has nothing count as told any more: the database was restored.
///
/// # Errors
/// [`StoreError`]
pub(super) async fn forget(tx: &mut Tx) -> Result<(), StoreError> {
    tx.execute(FORGET, &[]).await.map(drop)
}
