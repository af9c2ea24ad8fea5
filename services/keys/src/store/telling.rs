//! How far the identity service has told of the owners of keys: the row of `keys_telling`. Whoever changes what is
//! known of owners takes it first.

use std::collections::HashSet;

use latchkey_authority::Store;
use latchkey_authority::changes::{invalidate_everything, revision};
use latchkey_contract::keys::{TellOwners, Telling};
use latchkey_contract::lease::{Epoch, Revision};
use latchkey_contract::{Timestamp, UserId};
use latchkey_store::{Db, StoreError, Tx, values};
use sqlx::FromRow;

use super::AUTHORITY;

pub(super) const READ: &str = "SELECT version, made, timeline, revision, through, for_made, for_timeline \
    FROM keys_telling WHERE id = 1";
/// Everybody else who changes what is known of owners waits.
pub(super) const LOCK: &str = "UPDATE keys_telling SET version = version WHERE id = 1 \
    RETURNING version, made, timeline, revision, through, for_made, for_timeline";
pub(super) const TAKE: &str = "UPDATE keys_telling SET version = version + 1 WHERE id = 1 AND version = $1 \
    RETURNING version, made, timeline, revision, through, for_made, for_timeline";
pub(super) const SET: &str = "UPDATE keys_telling SET made = $1, timeline = $2, revision = $3, through = $4, \
    for_made = $5, for_timeline = $6 WHERE id = 1";
/// No history of this database has a timeline below 0.
pub(super) const FORGET: &str = "UPDATE keys_telling SET version = version + 1, through = NULL, \
    for_made = 0, for_timeline = -1 WHERE id = 1";
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
/// Disabled owners that one page looks at, at most: where there are more it ends with the last of them.
const MAX_DISABLED: usize = 2 * TellOwners::MAX;

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
    let (of, revision) = (page.of, page.revision);
    let of_row = values![
        of.made,
        of.timeline,
        revision.0,
        through.map(|owner| owner.0),
        own.made,
        own.timeline
    ];
    tx.execute(SET, of_row).await?;
    tx.commit().await?;
    let version = row.version;
    Ok(Some(Telling { version, epoch: own, is_current: true, of: Some(of), revision, through }))
}

/// Gives the page's owners the state it tells, but for those of whom something newer was told; up to which owner
/// that is done.
async fn set_range(tx: &mut Tx, page: &TellOwners, now: Timestamp) -> Result<i64, StoreError> {
    let after = page.after.map_or(FIRST, |owner| owner.0);
    let last = page.deactivated.last().filter(|_| page.more).map_or(LAST, |owner| owner.0);
    let most = i64::try_from(MAX_DISABLED).unwrap_or(LAST);
    let mut disabled: Vec<(i64,)> =
        tx.fetch(DISABLED, values![after, last, most.saturating_add(1)]).await?;
    disabled.truncate(MAX_DISABLED + 1);
    let until = match disabled.get(MAX_DISABLED.saturating_sub(1)) {
        Some((owner,)) if disabled.len() > MAX_DISABLED => *owner,
        _ => last,
    };
    let Epoch { made, timeline } = page.of;
    tx.execute(DELETE_OLDER, values![after, until, made, timeline, page.revision.0]).await?;
    let newer: Vec<(i64,)> = tx.fetch(NEWER, values![after, until]).await?;
    let newer: HashSet<i64> = newer.into_iter().map(|(owner,)| owner).collect();
    let is_told = |owner: &i64| *owner <= until && !newer.contains(owner);
    let told: HashSet<i64> =
        page.deactivated.iter().map(|owner| owner.0).filter(|owner| is_told(owner)).collect();
    let known: HashSet<i64> =
        disabled.into_iter().map(|(owner,)| owner).filter(|owner| is_told(owner)).collect();
    for owner in told.difference(&known) {
        tx.execute(DISABLE, values![*owner, now.0]).await?;
    }
    for owner in known.difference(&told) {
        tx.execute(ENABLE, values![*owner]).await?;
    }
    if told != known {
        invalidate_everything(tx, &AUTHORITY).await?;
    }
    Ok(until)
}

/// Has nothing count as told any more: the database was restored.
///
/// # Errors
/// [`StoreError`]
pub(super) async fn forget(tx: &mut Tx) -> Result<(), StoreError> {
    tx.execute(FORGET, &[]).await.map(drop)
}
