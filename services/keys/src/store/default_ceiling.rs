//! What keys may do at most whose owners have no ceiling of their own, as the identity service told it: in the row of
//! `keys_telling`, which whoever writes it holds.

use latchkey_contract::Scopes;
use latchkey_contract::keys::SetDefaultCeiling;
use latchkey_contract::lease::{Epoch, Revision};
use latchkey_store::{StoreError, Tx, values};
use sqlx::FromRow;

pub(super) const FIND: &str = "SELECT default_ceiling AS ceiling, default_made AS made, \
    default_timeline AS timeline, default_revision AS revision \
    FROM keys_telling WHERE id = 1";
pub(super) const SET: &str = "UPDATE keys_telling SET default_ceiling = $1, default_made = $2, \
    default_timeline = $3, default_revision = $4 WHERE id = 1";

pub(super) const ANY_KEY: &str = "SELECT id FROM api_keys LIMIT 1";

/// What was told last.
#[derive(Debug, FromRow)]
pub(super) struct Row {
    ceiling: Option<String>,
    made: Option<i64>,
    timeline: Option<i64>,
    revision: Option<i64>,
}

impl Row {
    /// Whether something newer was told before.
    pub(super) fn is_newer_than(&self, told: &SetDefaultCeiling) -> bool {
        self.at(told.epoch).is_some_and(|at| at > (told.epoch.timeline, told.revision))
    }

    /// Whether keys do no more and no less when this is taken.
    pub(super) fn says(&self, told: &SetDefaultCeiling) -> bool {
        match &self.ceiling {
            Some(text) => text == told.ceiling.as_text(),
            None => told.ceiling == Scopes::everything(),
        }
    }

    /// The timeline and the revision that it is of, in the history `of`.
    fn at(&self, of: Epoch) -> Option<(i64, Revision)> {
        let (timeline, revision) = self.timeline.zip(self.revision)?;
        (self.made == Some(of.made)).then_some((timeline, Revision(revision)))
    }
}

pub(super) async fn find(tx: &mut Tx) -> Result<Row, StoreError> {
    let row: Option<Row> = tx.fetch_first(FIND, &[]).await?;
    row.ok_or(StoreError::Unexpected("the row of what was told of owners is not there"))
}

pub(super) async fn write(tx: &mut Tx, told: &SetDefaultCeiling) -> Result<(), StoreError> {
    let SetDefaultCeiling { ceiling, epoch, revision } = told;
    let row = values![ceiling.as_text(), epoch.made, epoch.timeline, revision.0];
    tx.execute(SET, row).await.map(drop)
}

/// Takes what a page says, unless something at least as new is known; whether some key may do something else from now on
/// than anybody remembers.
pub(super) async fn take(tx: &mut Tx, told: &SetDefaultCeiling) -> Result<bool, StoreError> {
    let row = find(tx).await?;
    if row.at(told.epoch).is_some_and(|at| at >= (told.epoch.timeline, told.revision)) {
        return Ok(false);
    }
    write(tx, told).await?;
    if row.says(told) {
        return Ok(false);
    }
    // Mostly this is the first thing that happens to a database: then nobody has asked of any key.
    let is_wider = row.ceiling.is_none() && Scopes::everything().is_within(&told.ceiling);
    Ok(!is_wider || tx.fetch_first::<(i64,)>(ANY_KEY, &[]).await?.is_some())
}
