//! What can happen next, and what comes of it.

use std::sync::Arc;

use latchkey_contract::lease::{Epoch, Invalidate, Revision};

use super::revoking::{clean_up, sweep};
use super::scenario::{ASKED, H, Model};
use super::world::{Edge, Message, Reading, Revoker, Small, Violation, WALL, World, member, small};
use crate::bounds::Bounds;
use crate::keeper::{Ask, State};
use crate::revoker::{Revocation, Step};
use crate::rules::Mutant;
use crate::shard::ReadView;

/// One thing that happens. Numbers are places in the world's lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Tick,
    Join(u8),
    Renew(u8),
    /// The edge asks about the credential in this place.
    Verify(u8, u8),
    /// The edge gives up a verification.
    GiveUp(u8, u8),
    Restart(u8),
    BeginReading(u8),
    Apply(u8),
    Deliver(u8),
    /// Deliver, and it stays: a double, or another who waits for the same reply.
    DeliverAndKeep(u8),
    Revoke(u8),
    Advance(u8),
    Crash(u8),
    CleanUp(u8),
    /// The janitor looks; the member in this place has been quiet.
    Sweep(Option<u8>),
    Prune,
    FailOver,
    Replicate,
}

impl Model {
    /// Everything that can happen in `world`.
    pub(super) fn actions(&self, world: &World, out: &mut Vec<Action>) {
        let scenario = &self.scenario;
        if !world.returned.contains(&true)
            && world.left.revokes == 0
            && world.revokers.iter().all(|r| r.is_over())
        {
            // Nothing will return any more, so nothing can be wrong.
            return;
        }
        out.push(Action::Tick);
        for (at, edge) in world.edges.iter().enumerate() {
            self.edge_actions(world, small(at), edge, out);
        }
        for (at, message) in world.net.iter().enumerate() {
            out.push(Action::Deliver(small(at)));
            let stays = matches!(**message, Message::Verified { .. } | Message::Invalidate { .. });
            if stays && scenario.doubles {
                out.push(Action::DeliverAndKeep(small(at)));
            }
        }
        let active = world.revokers.iter().filter(|r| r.aftermath.is_none()).count();
        if world.left.revokes > 0 && active < scenario.revokers {
            out.extend((0..scenario.tags.len()).map(|tag| Action::Revoke(small(tag))));
        }
        for (at, revoker) in world.revokers.iter().enumerate() {
            if revoker.aftermath.is_some() {
                out.push(Action::CleanUp(small(at)));
            } else if !matches!(revoker.core.next(world.now), Step::Wait(_)) {
                out.push(Action::Advance(small(at)));
            }
            if world.left.crashes > 0 {
                out.push(Action::Crash(small(at)));
            }
        }
        if world.janitor.is_some() {
            out.push(Action::Sweep(None));
            out.extend((0..world.db.members.len()).map(|m| Action::Sweep(Some(small(m)))));
        }
        if scenario.prunes && world.db.pruned < world.db.revision {
            out.push(Action::Prune);
        }
        if world.left.failovers > 0 {
            out.push(Action::FailOver);
        }
        if self.rules.breaks(Mutant::RenewFromStandby) {
            out.push(Action::Replicate);
        }
    }

    fn edge_actions(&self, world: &World, at: u8, edge: &Edge, out: &mut Vec<Action>) {
        let scenario = &self.scenario;
        let under_way = &edge.keeper.under_way;
        match edge.keeper.state {
            State::Out => {
                if world.left.joins > 0 && under_way.is_empty() {
                    out.push(Action::Join(at));
                }
            }
            State::In { .. } => {
                if under_way.len() < scenario.renewals {
                    out.push(Action::Renew(at));
                }
                if edge.asked.len() < scenario.questions {
                    let all = 0..scenario.credentials;
                    out.extend(all.map(|credential| Action::Verify(at, small(credential))));
                }
            }
        }
        out.extend((0..edge.asked.len()).map(|question| Action::GiveUp(at, small(question))));
        if world.left.restarts > 0 {
            out.push(Action::Restart(at));
        }
        if scenario.reader && world.returned[0] {
            out.push(Action::BeginReading(at));
        }
        if edge.unapplied.is_some() {
            out.push(Action::Apply(at));
        }
    }

    /// The world after `action`.
    pub(super) fn apply(&self, world: &World, action: Action) -> Result<World, Violation> {
        let mut next = world.clone();
        match action {
            Action::Tick => next.now = next.now.plus(1),
            Action::Deliver(at) => {
                let message = next.net.remove(usize::from(at));
                self.deliver(&mut next, &message, false)?;
            }
            Action::DeliverAndKeep(at) => {
                let message = Arc::clone(&next.net[usize::from(at)]);
                self.deliver(&mut next, &message, true)?;
            }
            Action::Revoke(tag) => {
                next.left.revokes -= 1;
                let bounds = Bounds::ticks(self.scenario.lease, self.scenario.wait);
                let core = Revocation::build(&bounds, self.scenario.early, self.rules);
                let tag = self.scenario.tags[usize::from(tag)];
                let revoker = Revoker { tag, core, number: None, aftermath: None };
                next.revokers.push(Arc::new(revoker));
            }
            Action::Advance(at) => self.advance(&mut next, usize::from(at)),
            Action::Crash(at) => {
                next.left.crashes -= 1;
                next.revokers.remove(usize::from(at));
            }
            Action::CleanUp(at) => clean_up(&mut next, usize::from(at)),
            Action::Sweep(quiet) => sweep(&mut next, quiet),
            Action::Prune => next.db().pruned = next.db.revision,
            Action::FailOver => {
                next.left.failovers -= 1;
                let db = next.db();
                db.epoch = Epoch { timeline: db.epoch.timeline + 1, ..db.epoch };
                db.members.clear();
            }
            Action::Replicate => next.standby = Some(Arc::clone(&next.db)),
            of_an_edge => self.apply_to_edge(&mut next, of_an_edge),
        }
        self.forget_dead_letters(&mut next);
        self.check(&next)?;
        Ok(next)
    }

    fn apply_to_edge(&self, next: &mut World, action: Action) {
        let now = next.now;
        match action {
            Action::Join(at) => self.join(next, at),
            Action::Renew(at) => {
                let keeper = &mut next.edge(at).keeper;
                if let State::In { membership, revision } = keeper.state
                    && let Ask::Renew { nonce, member, since } =
                        keeper.ask_to_renew(now, membership, revision)
                {
                    next.send(Message::AskRenew { edge: at, nonce, member, since });
                }
            }
            Action::Verify(at, credential) => {
                let (edge, credential) = (next.edge(at), ASKED[usize::from(credential)]);
                if let Some(question) = edge.cache.ask(now) {
                    edge.asked.push((question, credential));
                    next.send(Message::AskVerify { edge: at, question, credential });
                }
            }
            Action::GiveUp(at, question) => {
                next.edge(at).asked.remove(usize::from(question));
            }
            Action::Restart(at) => {
                next.left.restarts -= 1;
                next.edges[usize::from(at)] = Arc::new(Edge::new(&self.scenario, self.rules));
            }
            Action::BeginReading(at) => {
                let edge = next.edge(at);
                let view = edge.cache.view(now);
                let blind = ReadView { lease: Some(now), ..view };
                let found = edge.cache.look_with(&blind, &H, WALL, Revision(0));
                let saw_entry = is_good(found);
                edge.reading = Some(Reading { view, saw_entry });
            }
            Action::Apply(at) => {
                let edge = next.edge(at);
                if let Some(Invalidate { change, .. }) = edge.unapplied.take() {
                    let applied = edge.keeper.revision().unwrap_or_default();
                    edge.cache.invalidate(change.tag, change.revision, applied);
                }
            }
            _ => {}
        }
    }

    fn join(&self, next: &mut World, at: u8) {
        next.left.joins -= 1;
        let now = next.now;
        let id = if self.rules.breaks(Mutant::IdReused) {
            member(at)
        } else {
            next.next_member += 1;
            member(100 + next.next_member)
        };
        if let Ask::Join { nonce, member } = next.edge(at).keeper.ask_to_join(now, id) {
            next.send(Message::AskJoin { edge: at, nonce, member });
        }
    }

    /// Replies that no question waits for do nothing: they need not be told apart.
    fn forget_dead_letters(&self, next: &mut World) {
        if self.rules.breaks(Mutant::IdReused) {
            return;
        }
        let edges = &next.edges;
        let asks = |edge: u8, nonce: u64| {
            edges[usize::from(edge)].keeper.under_way.iter().any(|q| q.nonce == nonce)
        };
        next.net.retain(|message| match &**message {
            Message::Joined { edge, nonce, .. }
            | Message::AskRenew { edge, nonce, .. }
            | Message::HalfRenewed { edge, nonce, .. }
            | Message::Renewed { edge, nonce, .. } => asks(*edge, *nonce),
            Message::AskVerify { edge, question, .. }
            | Message::Verified { edge, question, .. } => {
                edges[usize::from(*edge)].asked.iter().any(|(asked, _)| asked == question)
            }
            _ => true,
        });
    }

    /// The invariant: after the return nobody accepts, whether by a look now or by one that began before.
    fn check(&self, world: &World) -> Result<(), Violation> {
        for edge in &world.edges {
            let view = edge.cache.view(world.now);
            for (credential, returned) in ASKED.iter().zip(world.returned) {
                let found = edge.cache.look_with(&view, credential, WALL, Revision(0));
                if returned && is_good(found) {
                    return Err(Violation::FromCache);
                }
            }
            let Some(reading) = edge.reading else { continue };
            let accepts = if self.rules.breaks(Mutant::EntryBeforeLease) {
                let lease = edge.cache.view(reading.view.now).lease;
                let live = lease.is_some_and(|l| reading.view.now.since(l) < self.scenario.lease);
                reading.saw_entry && live
            } else {
                is_good(edge.cache.look_with(&reading.view, &H, WALL, Revision(0)))
            };
            if accepts {
                return Err(Violation::ByReader);
            }
        }
        Ok(())
    }
}

fn is_good(found: Option<Small>) -> bool {
    matches!(found, Some(Small::Valid(_)))
}
