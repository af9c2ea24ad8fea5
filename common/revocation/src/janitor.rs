//! Members that are no more: retired when they have been quiet for long, deleted when they have been
//! retired for a wait. The sweeper of each authority drives it.

use latchkey_contract::lease::MemberId;

use crate::authority::MemberState;
use crate::bounds::{Bounds, Moment};
use crate::rules::{Mutant, Rules};

/// One member's row, as the sweeper read it.
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
