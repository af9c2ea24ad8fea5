//! The writer's half of a change: what takes a revision, inside the transaction that it belongs to.

use latchkey_contract::lease::{Epoch, Revision, Tag};
use latchkey_contract::{CredentialHash, Timestamp};
use latchkey_store::{StoreError, Tx, Value, values};
use sqlx::FromRow;

use crate::record;
use crate::statements::Sql;

/// What cannot be: the row is made at the start.
pub(crate) const NO_REVISION: StoreError =
    StoreError::Unexpected("an authority's position is not there");

/// A revision that was taken or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromRow)]
pub struct RevisionRow {
    #[sqlx(rename = "position")]
    revision: i64,
    epoch: i64,
    timeline: i64,
    watched: i64,
}

impl RevisionRow {
    /// The number.
    #[must_use]
    pub fn revision(&self) -> Revision {
        Revision(self.revision)
    }

    /// The history it counts.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        Epoch { made: self.epoch, timeline: self.timeline }
    }

    /// Whether some service has watched this history for a whole wait.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.watched == self.timeline
    }
}

/// A change that is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it changes.
    pub tag: Tag<CredentialHash>,
    /// Its revision: the one it took, or the one it had, with the row as it is now.
    pub row: RevisionRow,
    /// The revision of an earlier change that did the same, if there was one, and whether that one was
    /// seen to its end.
    pub earlier: Option<(Revision, bool)>,
}

impl Change {
    /// The revision that is waited for: an earlier one, where the same was done before.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.earlier.map_or_else(|| self.row.revision(), |(revision, _)| revision)
    }
}

/// Takes the next revision and records what it changes, inside the transaction that changes it. A record of neither
/// a credential nor an owner is one of everything, and so is, to a release that does not know it, one of a session.
///
/// # Errors
/// [`StoreError`]
pub async fn append_invalidation(
    tx: &mut Tx,
    sql: &Sql,
    tag: Tag<CredentialHash>,
    now: Timestamp,
) -> Result<RevisionRow, StoreError> {
    let taken = take(tx, sql).await?;
    let (credential, owner) = record::of(&tag);
    let values = values![taken.revision().0, credential.as_deref(), owner, now.0];
    tx.execute(sql.of(tx.engine()).record, values).await?;
    Ok(taken)
}

/// Takes the next revision for a change of **everything**, inside the transaction that makes it: what every
/// verdict depends on is another.
///
/// No record of it is written (a replica of the release before could not read one) and nothing is published. It is as
/// if the changes up to here were not known one by one any more: whoever has not applied it is told to drop
/// everything, and takes no answer that was read before it. So whoever makes such a change waits the whole wait: by
/// then each edge has renewed since, or has no lease.
///
/// # Errors
/// [`StoreError`]
pub async fn invalidate_everything(tx: &mut Tx, sql: &Sql) -> Result<RevisionRow, StoreError> {
    let taken = take(tx, sql).await?;
    tx.execute(sql.of(tx.engine()).pruned, values![taken.revision().0]).await?;
    Ok(taken)
}

/// Takes the next revision: nobody else does until the transaction ends.
async fn take(tx: &mut Tx, sql: &Sql) -> Result<RevisionRow, StoreError> {
    tx.fetch_first(sql.of(tx.engine()).take, &[]).await?.ok_or(NO_REVISION)
}

/// What the row of something says that a transaction has just ended, for the first time or once more.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Its tag.
    pub tag: Tag<CredentialHash>,
    /// The revision of its end, where it was ended earlier.
    pub earlier: Option<i64>,
    /// Whether that end was seen through: no edge accepts it any more.
    pub is_confirmed: bool,
}

/// Takes a revision for the end of something, unless it has one from an earlier end: then a repeat waits for that
/// one. `set_revision` writes the revision (`$2`) into the row of `id` (`$1`).
///
/// # Errors
/// [`StoreError`]
pub async fn end_once(
    tx: &mut Tx,
    sql: &Sql,
    ended: Ended,
    (set_revision, id): (&'static str, Value<'_>),
    now: Timestamp,
) -> Result<Change, StoreError> {
    let Ended { tag, earlier, is_confirmed } = ended;
    if let Some(earlier) = earlier {
        let earlier = Some((Revision(earlier), is_confirmed));
        return Ok(Change { tag, row: revision(tx, sql).await?, earlier });
    }
    let row = append_invalidation(tx, sql, tag, now).await?;
    tx.execute(set_revision, &[id, row.revision().0.into()]).await?;
    Ok(Change { tag, row, earlier: None })
}

/// Begins another epoch, of which `made` is the random number: what was answered before is of a history that was
/// left. Members learn of it from their next answer, and until a whole wait has been watched no revoke returns early.
///
/// # Errors
/// [`StoreError`]
pub async fn new_epoch(tx: &mut Tx, sql: &Sql, made: i64) -> Result<(), StoreError> {
    let sql = sql.of(tx.engine());
    tx.execute(sql.begin, values![made]).await?;
    tx.execute(sql.new_epoch, values![made]).await?;
    tx.execute(sql.clear_members, &[]).await?;
    Ok(())
}

/// The present revision, inside a transaction.
///
/// # Errors
/// [`StoreError`]
pub async fn revision(tx: &mut Tx, sql: &Sql) -> Result<RevisionRow, StoreError> {
    tx.fetch_first(sql.of(tx.engine()).revision, &[]).await?.ok_or(NO_REVISION)
}
