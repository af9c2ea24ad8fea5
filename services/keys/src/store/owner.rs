//! What the identity service told of owners one by one: the rows of `keys_told_owners`, and of `keys_disabled_owners` and
//! `keys_ceilings`, which verifications join.

use latchkey_authority::{Change, append_invalidation, invalidate_everything};
use latchkey_contract::keys::{SetDefaultCeiling, SetOwner, Telling};
use latchkey_contract::lease::{Epoch, Revision, Tag};
use latchkey_contract::{Scopes, Timestamp};
use latchkey_store::{Db, StoreError, values};

use super::telling::{self, DISABLE, ENABLE};
use super::{AUTHORITY, ceiling, default_ceiling, locks};

pub(super) const FIND: &str =
    "SELECT made, timeline, revision FROM keys_told_owners WHERE owner_id = $1";
pub(super) const TELL: &str = "INSERT INTO keys_told_owners (owner_id, made, timeline, revision) \
    VALUES ($1, $2, $3, $4) ON CONFLICT (owner_id) DO UPDATE \
    SET made = excluded.made, timeline = excluded.timeline, revision = excluded.revision";

/// What became of a message.
#[derive(Debug)]
pub enum Outcome {
    /// Every key of the owner is refused, or accepted again, and does no more than was told.
    Set(Change),
    /// Something newer was told before. Nothing was done.
    Older,
    /// It is of a history of the identity service that is not told here: one that was left, or one that will be
    /// told as a whole first. Nothing was done.
    Untold,
}

/// How a message stands to what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Newer,
    /// It says what is known already, and may not have been confirmed.
    Known,
    Older,
    Untold,
}

/// Has every key of an owner refused, or accepted again, under the ceiling that is told, and takes a revision for it.
///
/// # Errors
/// What the database said instead.
pub async fn set(db: &Db, told: &SetOwner, now: Timestamp) -> Result<Outcome, StoreError> {
    let owner = told.owner;
    let mut tx = db.begin("set an owner").await?;
    let telling = telling::lock(&mut tx).await?;
    // What was decided on the owner as they were is done before, or not at all.
    locks::owner(&mut tx, owner).await?;
    let row: Option<(i64, i64, i64)> = tx.fetch_first(FIND, values![owner.0]).await?;
    let row = row.map(|(made, timeline, at)| (Epoch { made, timeline }, Revision(at)));
    let is_disabled = locks::is_disabled(&mut tx, owner).await?;
    let text = told.ceiling.as_ref().map(Scopes::as_text);
    let known = ceiling::own(&mut tx, owner.0).await?;
    let is_known = is_disabled == told.disabled && known.as_deref() == text;
    match order(&telling, row, is_known, told) {
        Order::Older => return Ok(Outcome::Older),
        Order::Untold => return Ok(Outcome::Untold),
        Order::Known => {}
        Order::Newer => {
            let of = told.epoch;
            let row = values![owner.0, of.made, of.timeline, told.revision.0];
            tx.execute(TELL, row).await?;
            if told.disabled {
                tx.execute(DISABLE, values![owner.0, now.0]).await?;
            } else {
                tx.execute(ENABLE, values![owner.0]).await?;
            }
            ceiling::put(&mut tx, owner.0, text).await?;
        }
    }
    let tag = Tag::of_user(owner);
    let row = append_invalidation(&mut tx, &AUTHORITY, tag, now).await?;
    tx.commit().await?;
    Ok(Outcome::Set(Change { tag, row, earlier: None }))
}

/// Has every key without a ceiling of its owner's do no more than this, and takes a revision of everything for it.
///
/// # Errors
/// What the database said instead.
pub async fn set_default(db: &Db, told: &SetDefaultCeiling) -> Result<Outcome, StoreError> {
    let mut tx = db.begin("set the default ceiling").await?;
    let telling = telling::lock(&mut tx).await?;
    if telling.of.is_some_and(|of| of.made != told.epoch.made) {
        return Ok(Outcome::Untold);
    }
    let row = default_ceiling::find(&mut tx).await?;
    match row.is_newer_than(told) {
        false => default_ceiling::write(&mut tx, told).await?,
        // It is known, and may not have been confirmed.
        true if row.says(told) => {}
        true => return Ok(Outcome::Older),
    }
    let row = invalidate_everything(&mut tx, &AUTHORITY).await?;
    tx.commit().await?;
    Ok(Outcome::Set(Change { tag: Tag::All, row, earlier: None }))
}

/// `row` is what was told of the owner alone; `is_known`: what is told now is so already.
fn order(
    telling: &Telling,
    row: Option<(Epoch, Revision)>,
    is_known: bool,
    told: &SetOwner,
) -> Order {
    let at = |epoch: Epoch, revision: Revision| (epoch.timeline, revision);
    let new = at(told.epoch, told.revision);
    let row = row.filter(|(epoch, _)| epoch.made == told.epoch.made);
    let row = row.map(|(epoch, revision)| at(epoch, revision));
    match (telling.of, row) {
        (Some(of), _) if of.made != told.epoch.made => Order::Untold,
        (_, Some(row)) if new < row => Order::Older,
        (None, _) | (_, Some(_)) => Order::Newer,
        (Some(of), None) => {
            let is_told = telling.through.is_none_or(|through| told.owner <= through);
            match new > at(of, telling.revision) || !is_told {
                true => Order::Newer,
                false if is_known => Order::Known,
                false => Order::Older,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use latchkey_contract::UserId;
    use latchkey_contract::keys::CeilingsTold;

    const E: Epoch = Epoch { made: 1, timeline: 1 };
    const OTHER: Epoch = Epoch { made: 2, timeline: 1 };
    const OWNER: UserId = UserId(7);

    fn telling(of: Option<Epoch>, through: Option<i64>) -> Telling {
        let (revision, through) = (Revision(10), through.map(UserId));
        let ceilings = CeilingsTold::Untold;
        Telling { version: 1, epoch: OTHER, is_current: true, of, revision, through, ceilings }
    }

    fn told(epoch: Epoch, revision: i64) -> SetOwner {
        let revision = Revision(revision);
        SetOwner { owner: OWNER, disabled: true, ceiling: None, epoch, revision }
    }

    #[test]
    fn another_history_is_taken_as_a_whole_first_and_one_that_was_left_never() {
        let now = telling(Some(E), None);
        let row = Some((E, Revision(20)));
        assert_eq!(order(&now, row, false, &told(OTHER, 99)), Order::Untold);
        assert_eq!(order(&now, None, true, &told(OTHER, 1)), Order::Untold);
        let never = telling(None, None);
        assert_eq!(order(&never, row, false, &told(OTHER, 1)), Order::Newer);
        assert_eq!(order(&never, row, false, &told(E, 19)), Order::Older);
    }

    #[test]
    fn what_the_telling_holds_already_is_known_or_older() {
        for through in [None, Some(7), Some(8)] {
            let now = telling(Some(E), through);
            assert_eq!(order(&now, None, true, &told(E, 10)), Order::Known);
            assert_eq!(order(&now, None, false, &told(E, 10)), Order::Older);
            assert_eq!(order(&now, None, false, &told(E, 11)), Order::Newer);
            let promoted = Epoch { timeline: 2, ..E };
            assert_eq!(order(&now, None, false, &told(promoted, 1)), Order::Newer);
        }
        let not_yet = telling(Some(E), Some(6));
        assert_eq!(order(&not_yet, None, false, &told(E, 9)), Order::Newer);
    }

    #[test]
    fn of_one_history_the_newest_holds_and_a_repeat_is_taken() {
        let now = telling(Some(E), None);
        let row = Some((E, Revision(20)));
        for (revision, expected) in [(19, Order::Older), (20, Order::Newer), (21, Order::Newer)] {
            assert_eq!(order(&now, row, true, &told(E, revision)), expected);
        }
        let promoted = Some((Epoch { timeline: 2, ..E }, Revision(1)));
        assert_eq!(order(&now, promoted, true, &told(E, 99)), Order::Older);
        let of_another = Some((OTHER, Revision(99)));
        assert_eq!(order(&now, of_another, true, &told(E, 11)), Order::Newer);
    }
}
