//! What services do: they answer edges, revoke, and clean up.

use latchkey_contract::lease::{Acknowledge, Invalidate, Invalidation, Joined, MemberResult, Tag};
use rand::RngExt;

use super::events::{Event, Letter, MS, SECOND};
use super::service::{Revoke, Service, What};
use super::world::{SETTLED, World};
use crate::authority::{self, Changes, MemberState};
use crate::janitor::{Row, Upkeep};
use crate::keeper::Ask;
use crate::revoker::{Commit, Revocation, Step};
use crate::verdict::Reply;

/// A member that has not renewed for so long is retired.
const QUIET: u64 = 10 * SECOND;

impl World {
    pub(super) fn serve(&mut self, edge: usize, letter: &Letter) {
        let answer = match *letter {
            Letter::Ask(Ask::Join { nonce, member }) => {
                self.db.members.entry(member).or_insert((MemberState::Member, self.now));
                Letter::Joined(nonce, Joined { epoch: self.db.epoch, revision: self.db.revision })
            }
            Letter::Ask(Ask::Renew { nonce, member, since }) => {
                if let Some((_, renewed_at)) = self.db.members.get_mut(&member) {
                    *renewed_at = self.now;
                }
                let newer = self.db.changes.iter().map(|(change, _)| *change);
                let rows = newer.filter(|change| change.revision > since).collect();
                let changes = Changes { rows, pruned: self.db.pruned };
                let snapshot = self.db.snapshot(member);
                let answer = authority::renew_by(self.rules, &snapshot, since, changes);
                Letter::Renewed(nonce, answer)
            }
            Letter::AskVerify { question, credential } => {
                let snapshot = self.db.snapshot(question.member);
                let verdict = self.db.verdict(credential);
                let answer = match authority::verify_by(self.rules, &snapshot, verdict) {
                    MemberResult::NotMember => MemberResult::NotMember,
                    MemberResult::Member((read_at, verdict)) => {
                        MemberResult::Member(Reply { read_at, verdict })
                    }
                };
                Letter::Verified { question, credential, answer }
            }
            _ => return,
        };
        self.post(edge, &Event::ToEdge { edge, letter: answer });
    }

    pub(super) fn revoke(&mut self, tag: Tag<u32>) {
        if matches!(tag, Tag::Credential(credential) if !self.db.exists(credential)) {
            return;
        }
        for credential in self.db.of(tag) {
            self.oracle.revoke_sent(credential, self.now);
        }
        self.begin(What::Revoke(tag));
    }

    pub(super) fn enable(&mut self, owner: i64, enabled: bool) {
        let setting = self.oracle.setting_sent(owner);
        self.begin(What::Set { owner, enabled, setting });
    }

    fn begin(&mut self, what: What) {
        self.oracle.revokes += 1;
        let core = Revocation::build(&self.bounds, self.early, self.rules);
        let service = self.rng.random_range(0..self.services.len());
        let id = self.next_id;
        self.next_id += 1;
        self.services[service].revokes.insert(id, Revoke { core, what, is_over: false, timer: 0 });
        self.drive(id);
    }

    fn home(&self, id: u64) -> Option<usize> {
        self.services.iter().position(|service| service.revokes.contains_key(&id))
    }

    /// Does what a revoke says, one step; the next step comes a moment later.
    pub(super) fn drive(&mut self, id: u64) {
        let Some(at) = self.home(id) else { return };
        let service = &mut self.services[at];
        let now = service.clock.read(self.now);
        let Some(revoke) = service.revokes.get_mut(&id) else { return };
        if revoke.is_over {
            return;
        }
        let soon = self.now + MS / 5;
        match revoke.core.next(now) {
            Step::Commit => {
                let (revision, already, is_confirmed) = self.db.commit(revoke.what);
                let epoch = self.db.epoch;
                let early_from = service.watch.early_from(now, epoch, false, &self.bounds);
                let commit = Commit { revision, epoch, already, is_confirmed, early_from };
                revoke.core.committed(now, commit);
                self.at(soon, Event::RevokerTimer(id));
            }
            Step::ReadMembers => {
                revoke.core.members(Some((self.db.epoch, self.db.members.keys().copied())));
                self.at(soon, Event::RevokerTimer(id));
            }
            Step::Publish => {
                revoke.core.published(now);
                if let Some((commit, _)) = revoke.core.committed {
                    let tag = revoke.what.tag();
                    let change = Invalidation { revision: commit.revision, tag };
                    let message = Invalidate { epoch: commit.epoch, change };
                    for edge in 0..self.edges.len() {
                        let letter = Letter::Invalidate(message);
                        self.post(edge, &Event::ToEdge { edge, letter });
                    }
                }
                self.at(soon, Event::RevokerTimer(id));
            }
            Step::Wait(until) => {
                let when = service.clock.when(until);
                if revoke.timer != when {
                    revoke.timer = when;
                    self.at(when, Event::RevokerTimer(id));
                }
            }
            Step::Return(receipt) => {
                revoke.is_over = true;
                let early = receipt.waited < self.bounds.wait();
                if self.early && !early && self.now > SETTLED + SECOND {
                    self.oracle.fault("slow, though every edge is well".to_owned());
                }
                let what = revoke.what;
                self.oracle.early += usize::from(early);
                self.oracle.late += usize::from(!early);
                // Of many: those that the change was about, not what was made since.
                match what {
                    What::Revoke(tag) => {
                        for credential in self.db.of(tag) {
                            let by = self.db.credentials[credential as usize].1;
                            if by.is_some_and(|revision| revision <= receipt.revision) {
                                self.oracle.revoke_returned(credential, self.now);
                            }
                        }
                    }
                    What::Set { owner, enabled, setting } => {
                        self.oracle.setting_returned(owner, setting, enabled, self.now);
                    }
                }
                let later = self.now + self.rng.random_range(0..100 * MS);
                self.at(later, Event::CleanUp(id));
            }
        }
    }

    pub(super) fn acknowledge(&mut self, a: Acknowledge) {
        let mut due = Vec::new();
        for service in &mut self.services {
            for (id, revoke) in &mut service.revokes {
                revoke.core.acknowledged(a.member, a.epoch, a.revision);
                due.push(*id);
            }
        }
        for id in due {
            self.drive(id);
        }
    }

    pub(super) fn clean_up(&mut self, id: u64) {
        let Some(at) = self.home(id) else { return };
        let service = &mut self.services[at];
        let now = service.clock.read(self.now);
        let Some(revoke) = service.revokes.remove(&id) else { return };
        let aftermath = revoke.core.aftermath(now);
        for member in aftermath.retire {
            if let Some((state, _)) = self.db.members.get_mut(&member) {
                *state = MemberState::Retired;
            }
        }
        for member in aftermath.delete {
            self.db.members.remove(&member);
        }
        let revision = revoke.core.committed.map(|(commit, _)| commit.revision);
        for (change, is_confirmed) in &mut self.db.changes {
            *is_confirmed |= aftermath.mark_confirmed && Some(change.revision) == revision;
        }
    }

    pub(super) fn crash_service(&mut self) {
        let at = self.rng.random_range(0..self.services.len());
        let (bounds, rules) = (self.bounds, self.rules);
        let service = &mut self.services[at];
        let clock = service.clock;
        let old = std::mem::replace(service, Service::new(clock, &bounds, rules));
        self.oracle.crashes += 1;
        // Whoever waited for an answer asks again, and finds another replica or this one restarted.
        for revoke in old.revokes.into_values().filter(|revoke| !revoke.is_over) {
            let again = match revoke.what {
                What::Revoke(tag) => Event::Revoke(tag),
                What::Set { owner, enabled, .. } => Event::Enable(owner, enabled),
            };
            let when = self.now + self.rng.random_range(MS..SECOND);
            self.at(when, again);
        }
    }

    pub(super) fn sweep(&mut self, at: usize) {
        let now = self.services[at].clock.read(self.now);
        self.services[at].watch.early_from(now, self.db.epoch, false, &self.bounds);
        let hasty = self.now < SETTLED - 8 * SECOND && self.rng.random_bool(0.02);
        let rows: Vec<Row> = self
            .db
            .members
            .iter()
            .map(|(member, (state, renewed_at))| Row {
                member: *member,
                state: *state,
                quiet: hasty || self.now - renewed_at > QUIET,
            })
            .collect();
        for upkeep in self.services[at].janitor.observe(now, &rows) {
            match upkeep {
                Upkeep::Retire(member) => {
                    if let Some((state, _)) = self.db.members.get_mut(&member) {
                        *state = MemberState::Retired;
                    }
                }
                Upkeep::Delete(member) => {
                    let is_retired = |row: &(MemberState, u64)| row.0 == MemberState::Retired;
                    if self.db.members.get(&member).is_some_and(is_retired) {
                        self.db.members.remove(&member);
                    }
                }
            }
        }
        self.at(self.now + SECOND, Event::Sweep(at));
    }
}
