//! When keys are made, sign and go: decided by the rows and the time alone, so that every replica comes to the same.

use latchkey_contract::Timestamp;

/// How long a key is published before it signs, in milliseconds: whoever checks tokens by themselves may keep the set for
/// some hours.
pub const PUBLISHED_BEFORE: i64 = 24 * 60 * 60 * Timestamp::SECOND;
/// How long a key is accepted beyond the last of its tokens, in milliseconds: for clocks that differ.
pub const ACCEPTED_BEYOND: i64 = 5 * 60 * Timestamp::SECOND;

/// When a key of the algorithm in force signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its place among those of its algorithm.
    pub slot: i64,
    /// It signs from then on,
    pub signs_from: Timestamp,
    /// and until then.
    pub signs_until: Timestamp,
    /// Set where another one signs from then on. It is accepted until this.
    pub accepted_until: Option<Timestamp>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Wait,
    /// No key can sign: one is made that signs at once.
    MakeFirst,
    /// The one in this slot is to be followed by one that is made now and signs from then on.
    MakeNext {
        /// The one that signs.
        after: i64,
        /// When the next one does.
        signs_from: Timestamp,
    },
    /// No key signs, and the one in this slot, which was to do so later, does it at once.
    Promote(i64),
}

impl Slot {
    /// Whether it signs at `now`, or will if no other does.
    fn is_live(&self, now: Timestamp) -> bool {
        self.accepted_until.is_none() || now < self.signs_until
    }

    /// Whether it may sign at `now`.
    #[must_use]
    pub fn signs(&self, now: Timestamp) -> bool {
        self.signs_from <= now && self.is_live(now)
    }
}

/// What is to be done at `now` with these keys of one algorithm, none of them revoked, each of which is to sign for `period`
/// milliseconds.
#[must_use]
pub fn next_step(slots: &[Slot], now: Timestamp, period: i64) -> Step {
    let Some(current) = slots.iter().filter(|slot| slot.signs(now)).max_by_key(|slot| slot.slot)
    else {
        let upcoming = slots.iter().filter(|slot| slot.is_live(now));
        return match upcoming.min_by_key(|slot| slot.signs_from.0) {
            Some(upcoming) => Step::Promote(upcoming.slot),
            None => Step::MakeFirst,
        };
    };
    // Not by what is said of it: the one that was to follow may have been revoked.
    let is_followed = slots.iter().any(|slot| slot.slot > current.slot && slot.is_live(now));
    let due = current.signs_until.min(current.signs_from.plus(period));
    if is_followed || now < due.plus(-PUBLISHED_BEFORE) {
        return Step::Wait;
    }
    Step::MakeNext { after: current.slot, signs_from: due.max(now.plus(PUBLISHED_BEFORE)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);
    const DAY: i64 = Timestamp::DAY;
    const PERIOD: i64 = 90 * DAY;

    fn key(slot: i64, from: i64) -> Slot {
        let signs_from = NOW.plus(from);
        Slot { slot, signs_from, signs_until: signs_from.plus(PERIOD), accepted_until: None }
    }

    fn followed(key: Slot, at: i64) -> Slot {
        let signs_until = NOW.plus(at);
        Slot { signs_until, accepted_until: Some(signs_until.plus(DAY)), ..key }
    }

    #[test]
    fn the_first_key_signs_at_once_and_the_next_is_there_a_day_before() {
        assert_eq!(next_step(&[], NOW, PERIOD), Step::MakeFirst);
        assert_eq!(next_step(&[key(1, 0)], NOW, PERIOD), Step::Wait);
        assert_eq!(next_step(&[key(1, DAY + 1 - PERIOD)], NOW, PERIOD), Step::Wait);
        let next = |from| Step::MakeNext { after: 1, signs_from: NOW.plus(from) };
        assert_eq!(next_step(&[key(1, DAY - PERIOD)], NOW, PERIOD), next(DAY));
        // Nobody was there in time: it signs on until the next was published for as long as any other.
        assert_eq!(next_step(&[key(1, -2 * PERIOD)], NOW, PERIOD), next(DAY));
        // The period was made shorter.
        assert_eq!(next_step(&[key(1, -2 * DAY)], NOW, 3 * DAY), next(DAY));
    }

    #[test]
    fn a_key_that_is_followed_is_followed_once() {
        let both = [followed(key(1, -PERIOD), DAY), key(2, DAY)];
        assert_eq!(next_step(&both, NOW, PERIOD), Step::Wait);
        let signing = |now: Timestamp| {
            both.iter().filter(|slot| slot.signs(now)).map(|slot| slot.slot).collect::<Vec<_>>()
        };
        assert_eq!(signing(NOW), [1]);
        assert_eq!(signing(NOW.plus(DAY - 1)), [1]);
        assert_eq!(signing(NOW.plus(DAY)), [2]);
        assert_eq!(next_step(&both, NOW.plus(DAY), PERIOD), Step::Wait);
    }

    #[test]
    fn where_the_next_one_was_revoked_another_is_made() {
        let step = next_step(&[followed(key(1, -PERIOD), DAY)], NOW, PERIOD);
        assert_eq!(step, Step::MakeNext { after: 1, signs_from: NOW.plus(DAY) });
    }

    #[test]
    fn where_none_signs_the_next_one_does_so_at_once() {
        assert_eq!(next_step(&[key(2, DAY)], NOW, PERIOD), Step::Promote(2));
        assert_eq!(next_step(&[key(3, 2 * DAY), key(2, DAY)], NOW, PERIOD), Step::Promote(2));
        // One whose time is over does not come back.
        assert_eq!(next_step(&[followed(key(1, -PERIOD), 0)], NOW, PERIOD), Step::MakeFirst);
    }
}
