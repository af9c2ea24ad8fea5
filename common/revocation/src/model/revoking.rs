//! What revokers and the janitor do.

use latchkey_contract::lease::{Invalidate, Invalidation, Revision};

use super::scenario::{ASKED, Model};
use super::world::{Message, Revoked, World, ends, small};
use crate::authority::MemberState;
use crate::bounds::{Bounds, Moment};
use crate::janitor::{Row, Upkeep};
use crate::revoker::{Commit, Step};
use crate::rules::Mutant;

impl Model {
    pub(super) fn advance(&self, next: &mut World, at: usize) {
        let now = next.now;
        let tag = next.revokers[at].tag;
        match next.revokers[at].core.next(now) {
            Step::Commit => self.commit(next, at, now),
            Step::ReadMembers => {
                let members: Vec<_> = next.db.members.iter().map(|(id, _)| *id).collect();
                let epoch = next.db.epoch;
                next.revoker(at).core.members(Some((epoch, members)));
            }
            Step::Publish => {
                next.revoker(at).core.published(now);
                if let Some((commit, _)) = next.revokers[at].core.committed {
                    let change = Invalidation { revision: commit.revision, tag };
                    let message = Invalidate { epoch: commit.epoch, change };
                    for edge in 0..small(next.edges.len()) {
                        next.send(Message::Invalidate { edge, message });
                    }
                }
            }
            Step::Wait(_) => {}
            Step::Return(_) => {
                for (returned, credential) in next.returned.iter_mut().zip(ASKED) {
                    *returned |= ends(tag, credential);
                }
                let aftermath = next.revokers[at].core.aftermath(now);
                next.revoker(at).aftermath = Some(aftermath);
            }
        }
    }

    fn commit(&self, next: &mut World, at: usize, now: Moment) {
        let tag = next.revokers[at].tag;
        let old = next.db.revoked.iter().find(|row| row.change.tag == tag).copied();
        let revision = match (old, next.revokers[at].number) {
            (Some(old), _) => old.change.revision,
            (None, Some(number)) => number,
            (None, None) => {
                let revision = Revision(next.db.revision.0 + 1);
                next.db().revision = revision;
                if self.rules.breaks(Mutant::PositionsFromSequence) {
                    next.revoker(at).number = Some(revision);
                    return;
                }
                revision
            }
        };
        if old.is_none() {
            let change = Invalidation { revision, tag };
            next.db().revoked.push(Revoked { change, is_confirmed: false });
        }
        let bounds = Bounds::ticks(self.scenario.lease, self.scenario.wait);
        let epoch = next.db.epoch;
        let early_from = next.watch.early_from(now, epoch, false, &bounds);
        let is_confirmed = old.is_some_and(|row| row.is_confirmed);
        let commit = Commit { revision, epoch, already: old.is_some(), is_confirmed, early_from };
        next.revoker(at).core.committed(now, commit);
    }
}

pub(super) fn clean_up(next: &mut World, at: usize) {
    let revoker = next.revokers.remove(at);
    let Some(aftermath) = &revoker.aftermath else { return };
    let db = next.db();
    for (id, state) in &mut db.members {
        if aftermath.retire.contains(id) {
            *state = MemberState::Retired;
        }
    }
    db.members.retain(|(id, _)| !aftermath.delete.contains(id));
    for row in &mut db.revoked {
        row.is_confirmed |= aftermath.mark_confirmed && row.change.tag == revoker.tag;
    }
}

pub(super) fn sweep(next: &mut World, quiet: Option<u8>) {
    let now = next.now;
    let rows: Vec<Row> = next
        .db
        .members
        .iter()
        .enumerate()
        .map(|(at, (id, state))| Row {
            member: *id,
            state: *state,
            quiet: quiet.map(usize::from) == Some(at),
        })
        .collect();
    let Some(janitor) = &mut next.janitor else { return };
    for upkeep in janitor.observe(now, &rows) {
        match upkeep {
            Upkeep::Retire(member) => {
                for (id, state) in &mut next.db().members {
                    if *id == member {
                        *state = MemberState::Retired;
                    }
                }
            }
            Upkeep::Delete(member) => {
                next.db()
                    .members
                    .retain(|(id, state)| *id != member || *state == MemberState::Member);
            }
        }
    }
}
