//! Members that are no more: retired when they have been quiet for long, deleted when they have been
//! retired for a wait. The janitor of each authority (the chore in `latchkey-authority`) drives it.

use latchkey_contract::lease::MemberId;

use crate::authority::MemberState;
use crate::bounds::{Bounds, Moment};
use crate::rules::{Mutant, Rules};

/// One member's row, as the janitor's chore read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Who.
    pub member: MemberId,
    /// Its state.
    pub state: MemberState,
    /// Whether it has not renewed for long (say ten leases). By any clock: a member that is retired in
    /// error joins anew.
    pub quiet: bool,
}

/// What to do with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upkeep {
    /// Set it to `retired`.
    Retire(MemberId),
    /// Delete it, if it is `retired`.
    Delete(MemberId),
}

/// Remembers since when it has seen rows retired. After a restart it begins anew: that is late, never
/// early.
#[derive(Clone, Debug)]
pub struct Janitor {
    wait: u64,
    rules: Rules,
    retired: Vec<(MemberId, Moment)>,
}

impl Janitor {
    /// A janitor that has seen nothing.
    #[must_use]
    pub fn new(bounds: &Bounds) -> Self {
        Self::build(bounds, Rules::default())
    }

    pub(crate) fn build(bounds: &Bounds, rules: Rules) -> Self {
        Self { wait: bounds.wait(), rules, retired: Vec::new() }
    }

    /// What to do, given every row; `now` must have been read *after* the rows were. A row
    /// that is seen retired for the first time is deleted after a wait at the earliest.
    pub fn observe(&mut self, now: Moment, rows: &[Row]) -> Vec<Upkeep> {
        let is_retired = |member: MemberId| {
            rows.iter().any(|row| row.member == member && row.state == MemberState::Retired)
        };
        self.retired.retain(|(member, _)| is_retired(*member));
        let mut upkeep = Vec::new();
        for row in rows {
            match row.state {
                MemberState::Member if row.quiet => {
                    upkeep.push(Upkeep::Retire(row.member));
                }
                MemberState::Member => {}
                MemberState::Retired if self.rules.breaks(Mutant::JanitorDeletesAtOnce) => {
                    upkeep.push(Upkeep::Delete(row.member));
                }
                MemberState::Retired => {
                    let seen = self.retired.iter().find(|(member, _)| *member == row.member);
                    match seen {
                        Some((_, since)) if now.since(*since) >= self.wait => {
                            upkeep.push(Upkeep::Delete(row.member));
                        }
                        Some(_) => {}
                        None => self.retired.push((row.member, now)),
                    }
                }
            }
        }
        upkeep
    }

    /// Since when rows have been seen retired.
    #[cfg(test)]
    pub(crate) fn seen(&self) -> &[(MemberId, Moment)] {
        &self.retired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(of: u8) -> MemberId {
        MemberId([of; 16])
    }

    fn row(of: u8, state: MemberState, quiet: bool) -> Row {
        Row { member: id(of), state, quiet }
    }

    #[test]
    fn who_is_quiet_is_retired_and_who_is_not_is_left_alone() {
        let mut janitor = Janitor::new(&Bounds::default());
        let rows = [row(1, MemberState::Member, true), row(2, MemberState::Member, false)];
        for at in [0, 1] {
            assert_eq!(janitor.observe(Moment(at), &rows), [Upkeep::Retire(id(1))]);
        }
    }

    #[test]
    fn a_retired_row_is_deleted_a_wait_after_it_was_first_seen_so_and_no_other_row_s_time_counts() {
        let (mut janitor, wait) = (Janitor::new(&Bounds::default()), Bounds::default().wait());
        let (first, second) =
            (row(1, MemberState::Retired, true), row(2, MemberState::Retired, false));
        assert_eq!(janitor.observe(Moment(0), &[first]), []);
        assert_eq!(janitor.observe(Moment(5), &[first, second]), []);
        assert_eq!(janitor.observe(Moment(wait - 1), &[first, second]), []);
        let deleted = [Upkeep::Delete(id(1))];
        for at in [wait, wait + 4] {
            assert_eq!(janitor.observe(Moment(at), &[second, first]), deleted);
        }
        let both = janitor.observe(Moment(wait + 5), &[second, first]);
        assert_eq!(both, [Upkeep::Delete(id(2)), Upkeep::Delete(id(1))]);
    }

    #[test]
    fn a_row_that_was_not_retired_meanwhile_is_waited_for_anew() {
        let wait = Bounds::default().wait();
        let (retired, other) =
            (row(1, MemberState::Retired, false), row(2, MemberState::Retired, false));
        for between in [vec![], vec![row(1, MemberState::Member, false), other], vec![other]] {
            let mut janitor = Janitor::new(&Bounds::default());
            janitor.observe(Moment(0), &[retired]);
            assert_eq!(janitor.observe(Moment(1), &between), []);
            assert_eq!(janitor.observe(Moment(wait), &[retired]), []);
            let deleted = janitor.observe(Moment(2 * wait), &[retired]);
            assert_eq!(deleted, [Upkeep::Delete(id(1))], "{between:?}");
        }
    }
}
