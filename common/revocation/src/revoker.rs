//! One revoke, from the commit to the receipt. A task of the authority owns it; whoever asked may go
//! away, the task goes on.
//!
//! ```text
//! Commit -> ReadMembers -> Publish -> Wait | Publish ... -> Return, then the aftermath
//! ```
//!
//! It returns when every member that stood in the database after the commit has acknowledged, or when
//! the wait has passed since the commit. Both are sound alone: an acknowledgement says that the edge
//! has applied the change, and after the wait no edge relies on an answer from before it.

use std::collections::BTreeSet;

use latchkey_contract::lease::{Epoch, MemberId, Revision};

use crate::bounds::{Bounds, Moment};
use crate::rules::{Mutant, Rules};

/// Acknowledgements that are kept at most; a cluster with more edges waits the whole wait.
const MAX_MEMBERS: usize = 100_000;

/// The state machine.
#[derive(Clone, Debug)]
pub struct Revocation {
    bounds: Bounds,
    rules: Rules,
    early: bool,
    pub(crate) committed: Option<(Commit, Moment)>,
    pub(crate) members: Members,
    pub(crate) acknowledged: BTreeSet<MemberId>,
    pub(crate) published: Option<Moment>,
}

/// The members that it waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Members {
    Unread,
    Known(BTreeSet<MemberId>),
    /// They could not be read: it waits the whole wait.
    Unknown,
}

/// What the transaction found and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The revision of the change: a new one, or the old one where it was revoked already.
    pub revision: Revision,
    /// The database's history.
    pub epoch: Epoch,
    /// Whether it was revoked already. It waits all the same.
    pub already: bool,
    /// Whether the wait of an earlier revoke of it was proved to its end: then there is nothing to wait for.
    pub is_confirmed: bool,
    /// Before this moment nobody returns early: a wait after this process first saw the epoch.
    pub early_from: Moment,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Run the transaction, then [`Revocation::committed`].
    Commit,
    /// Read the ids of all member rows, in either state, then [`Revocation::members`].
    ReadMembers,
    /// Publish the invalidation, then [`Revocation::published`].
    Publish,
    /// Wait for acknowledgements, at most until then.
    Wait(Moment),
    /// Answer the caller, then do what [`Revocation::aftermath`] says.
    Return(Receipt),
}

/// What a revoke's answer says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The change's revision: a verification that carries it is never answered from anything older.
    pub revision: Revision,
    /// Edges that have acknowledged.
    pub edges_confirmed: usize,
    /// How long it waited after the commit, in nanoseconds.
    pub waited: u64,
}

/// What is left to do after the answer. None of it is urgent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aftermath {
    /// Set these rows to `retired`: they were silent through the wait.
    pub retire: Vec<MemberId>,
    /// Delete these rows. Always empty but for a mutant.
    pub(crate) delete: Vec<MemberId>,
    /// Mark the revocation as confirmed.
    pub mark_confirmed: bool,
}

impl Revocation {
    /// A revoke that has not begun. `early`: whether it may return before the wait has passed.
    #[must_use]
    pub fn new(bounds: &Bounds, early: bool) -> Self {
        Self::build(bounds, early, Rules::default())
    }

    pub(crate) fn build(bounds: &Bounds, early: bool, rules: Rules) -> Self {
        Self {
            bounds: *bounds,
            rules,
            early,
            committed: None,
            members: Members::Unread,
            acknowledged: BTreeSet::new(),
            published: None,
        }
    }

    /// What to do at `now`.
    #[must_use]
    pub fn next(&self, now: Moment) -> Step {
        let before_commit = self.rules.breaks(Mutant::MembersBeforeCommit);
        if before_commit && self.members == Members::Unread {
            return Step::ReadMembers;
        }
        let Some((commit, since)) = self.committed else { return Step::Commit };
        let at_once = commit.is_confirmed
            || commit.already && self.rules.breaks(Mutant::RetryReturnsAtOnce)
            || self.is_confirmed() && self.may_be_early(now)
            || now >= self.end(since);
        if at_once {
            return Step::Return(self.receipt(now));
        }
        if self.members == Members::Unread {
            return Step::ReadMembers;
        }
        let repeat = self.published.map_or(now, |last| last.plus(self.bounds.repeat()));
        if now >= repeat && !self.is_confirmed() {
            return Step::Publish;
        }
        let until = self.end(since);
        if self.is_confirmed() {
            let early = commit.early_from.max(now.plus(1));
            return Step::Wait(if self.early { until.min(early) } else { until });
        }
        Step::Wait(until.min(repeat))
    }

    /// The transaction was committed. `now` must have been read after that.
    pub fn committed(&mut self, now: Moment, commit: Commit) {
        self.committed = Some((commit, now));
    }

    /// The members were read, with the epoch, in one statement; `None` where they could not be.
    pub fn members(&mut self, read: Option<(Epoch, impl IntoIterator<Item = MemberId>)>) {
        // Another history may have lost members that rely on answers from this one.
        let is_mine = |epoch| self.committed.is_none_or(|(commit, _)| commit.epoch == epoch);
        self.members = match read {
            Some((epoch, ids)) if is_mine(epoch) => {
                let ids: BTreeSet<MemberId> = ids.into_iter().take(MAX_MEMBERS).collect();
                if ids.len() < MAX_MEMBERS { Members::Known(ids) } else { Members::Unknown }
            }
            _ => Members::Unknown,
        };
    }

    /// The invalidation was published.
    pub fn published(&mut self, now: Moment) {
        self.published = Some(now);
    }

    /// An edge has acknowledged. The caller has checked who sent it: the subject says so.
    pub fn acknowledged(&mut self, member: MemberId, epoch: Epoch, revision: Revision) {
        let is_mine =
            |(commit, _): (Commit, Moment)| commit.epoch == epoch && commit.revision == revision;
        if self.committed.is_some_and(is_mine) && self.acknowledged.len() < MAX_MEMBERS {
            self.acknowledged.insert(member);
        }
    }

    /// What is left to do after it has returned.
    #[must_use]
    pub fn aftermath(&self, now: Moment) -> Aftermath {
        let Some((commit, since)) = self.committed else { return Aftermath::default() };
        if commit.is_confirmed {
            return Aftermath::default();
        }
        let silent = match &self.members {
            Members::Known(ids) if now >= self.end(since) => {
                ids.difference(&self.acknowledged).copied().collect()
            }
            _ => Vec::new(),
        };
        if self.rules.breaks(Mutant::DeleteSilentAtOnce) {
            return Aftermath { retire: Vec::new(), delete: silent, mark_confirmed: true };
        }
        Aftermath { retire: silent, delete: Vec::new(), mark_confirmed: true }
    }

    fn end(&self, since: Moment) -> Moment {
        let short = u64::from(self.rules.breaks(Mutant::ShortWait));
        since.plus(self.bounds.wait().saturating_sub(short))
    }

    fn is_confirmed(&self) -> bool {
        matches!(&self.members, Members::Known(ids) if ids.is_subset(&self.acknowledged))
    }

    fn may_be_early(&self, now: Moment) -> bool {
        let settled_epoch = self.committed.is_some_and(|(commit, _)| now >= commit.early_from);
        self.early && (settled_epoch || self.rules.breaks(Mutant::EarlyInNewEpoch))
    }

    fn receipt(&self, now: Moment) -> Receipt {
        let (revision, waited) = self
            .committed
            .map_or((Revision::default(), 0), |(c, since)| (c.revision, now.since(since)));
        let edges_confirmed = match &self.members {
            Members::Known(ids) => ids.intersection(&self.acknowledged).count(),
            _ => 0,
        };
        Receipt { revision, edges_confirmed, waited }
    }
}

/// Since when this process has seen the epoch that it sees. One for each authority.
#[derive(Clone, Copy, Debug, Default)]
pub struct EpochWatch {
    seen: Option<(Epoch, Moment)>,
}

impl EpochWatch {
    /// What it has seen.
    #[cfg(test)]
    pub(crate) fn seen(&self) -> Option<(Epoch, Moment)> {
        self.seen
    }

    /// An epoch was read at `now`; the moment from which a revoke may return early. `proved`: the
    /// database says that some service has watched this very epoch for a whole wait.
    pub fn early_from(
        &mut self,
        now: Moment,
        epoch: Epoch,
        proved: bool,
        bounds: &Bounds,
    ) -> Moment {
        if proved {
            return now;
        }
        match self.seen {
            Some((seen, since)) if seen == epoch => since.plus(bounds.wait()),
            _ => {
                self.seen = Some((epoch, now));
                now.plus(bounds.wait())
            }
        }
    }
}

#[cfg(test)]
mod tests;
