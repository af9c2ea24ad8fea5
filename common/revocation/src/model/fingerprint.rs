//! Which states are the same: times count by their age, as far as it makes a difference, and nonces by
//! the question that waits for them. So the model runs on for ever in a finite number of states.

use latchkey_contract::Owner;
use latchkey_contract::lease::{Epoch, MemberId, MemberResult, Missed, Revision, SharedTag, Tag};

use super::scenario::Model;
use super::world::{Edge, Hasher, Message, Small, World};
use crate::authority::MemberState;
use crate::bounds::Moment;
use crate::keeper::State;
use crate::revoker::Members;
use crate::rules::Mutant;
use crate::shard::Shard;
use crate::verdict::Reply;

/// Messages under way at most.
const MAX_LETTERS: usize = 64;

/// Writes a state as bytes.
pub(super) struct Scribe<'a> {
    pub(super) out: &'a mut Vec<u8>,
    now: Moment,
    /// Ages beyond are all the same.
    oldest: u64,
    raw_nonces: bool,
    raw_counts: bool,
}

/// 64 bits that stand for a state.
pub(super) fn fingerprint(model: &Model, world: &World, out: &mut Vec<u8>) -> u64 {
    out.clear();
    let oldest = model.scenario.lease.max(model.scenario.wait);
    let raw_nonces = model.rules.breaks(Mutant::IdReused);
    let raw_counts = model.rules.breaks(Mutant::SeenIsRevision);
    let mut scribe = Scribe { out, now: world.now, oldest, raw_nonces, raw_counts };
    scribe.world(world);
    hash(out)
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 29;
    }
    hash.wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ (hash >> 32)
}

impl Scribe<'_> {
    fn byte(&mut self, value: impl TryInto<u8>) {
        self.out.push(value.try_into().unwrap_or(u8::MAX));
    }

    fn age(&mut self, at: Moment) {
        self.byte(self.now.since(at).min(self.oldest));
    }

    fn revision(&mut self, at: Revision) {
        self.byte(at.0);
    }

    fn epoch(&mut self, epoch: Epoch) {
        self.byte(epoch.timeline);
    }

    fn member(&mut self, id: MemberId) {
        self.byte(id.0[0]);
    }

    fn tag(&mut self, tag: Tag<u8>) {
        match tag {
            Tag::Credential(credential) => self.byte(credential),
            Tag::Shared(tag) => self.shared_tag(tag),
            Tag::All => self.byte(200_u8),
            Tag::Unknown(_) => self.byte(201_u8),
        }
    }

    fn shared_tag(&mut self, tag: SharedTag) {
        match tag {
            SharedTag::Owner(Owner::User(owner)) => self.byte(owner.0 + 100),
            SharedTag::Session(session) => session.0.into_iter().for_each(|byte| self.byte(byte)),
        }
    }

    fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            None => self.byte(254_u8),
            Some(value) => {
                self.byte(253_u8);
                write(self, value);
            }
        }
    }

    fn world(&mut self, world: &World) {
        let left = world.left;
        for count in [left.revokes, left.crashes, left.restarts, left.joins, left.failovers] {
            self.byte(count);
        }
        for returned in world.returned {
            self.byte(u8::from(returned));
        }
        for edge in &world.edges {
            self.edge(edge);
        }
        self.db(&world.db);
        self.option(world.standby.as_deref(), Scribe::db);
        for revoker in &world.revokers {
            self.byte(250_u8);
            self.tag(revoker.tag);
            self.option(revoker.number, Scribe::revision);
            self.option(revoker.core.committed, |s, (commit, since)| {
                s.age(since);
                s.revision(commit.revision);
                s.epoch(commit.epoch);
                s.byte(u8::from(commit.already) + 2 * u8::from(commit.is_confirmed));
                s.byte(commit.early_from.since(s.now));
            });
            match &revoker.core.members {
                Members::Unread => self.byte(0_u8),
                Members::Unknown => self.byte(1_u8),
                Members::Known(ids) => {
                    self.byte(2_u8);
                    for id in ids {
                        self.member(*id);
                    }
                }
            }
            self.byte(252_u8);
            revoker.core.acknowledged.iter().for_each(|id| self.member(*id));
            self.option(revoker.core.published, |s, at| s.byte(s.now.since(at).min(1)));
            self.option(revoker.aftermath.as_ref(), |s, aftermath| {
                aftermath.retire.iter().for_each(|id| s.member(*id));
                s.byte(251_u8);
                aftermath.delete.iter().for_each(|id| s.member(*id));
            });
        }
        self.byte(249_u8);
        self.option(world.janitor.as_ref(), |s, janitor| {
            for (id, since) in janitor.seen() {
                s.member(*id);
                s.age(*since);
            }
        });
        self.option(world.watch.seen(), |s, (epoch, since)| {
            s.epoch(epoch);
            s.age(since);
        });
        self.net(world);
    }

    fn net(&mut self, world: &World) {
        let start = self.out.len();
        let mut letters = [0; MAX_LETTERS];
        for (message, letter) in world.net.iter().zip(&mut letters) {
            self.message(world, message);
            *letter = hash(&self.out[start..]);
            self.out.truncate(start);
        }
        assert!(world.net.len() <= MAX_LETTERS);
        let letters = &mut letters[..world.net.len()];
        letters.sort_unstable();
        for letter in letters {
            self.out.extend(letter.to_le_bytes());
        }
    }

    fn db(&mut self, db: &super::world::Db) {
        self.epoch(db.epoch);
        self.revision(db.revision);
        self.revision(db.pruned);
        for row in &db.revoked {
            self.revision(row.change.revision);
            self.tag(row.change.tag);
            self.byte(u8::from(row.is_confirmed));
        }
        self.byte(248_u8);
        for (id, state) in &db.members {
            self.member(*id);
            self.byte(u8::from(*state == MemberState::Member));
        }
        self.byte(247_u8);
    }

    fn edge(&mut self, edge: &Edge) {
        match edge.keeper.state {
            State::Out => self.byte(0_u8),
            State::In { membership, revision } => {
                self.byte(1_u8);
                self.member(membership.member);
                self.epoch(membership.epoch);
                self.revision(revision);
            }
        }
        for question in &edge.keeper.under_way {
            self.byte(2_u8 + u8::from(question.joins.is_some()));
            self.age(question.sent);
            if self.raw_nonces {
                self.byte(question.nonce);
            }
        }
        for (question, credential) in &edge.asked {
            self.byte(4_u8);
            self.byte(*credential);
            self.age(question.sent);
            if self.raw_nonces {
                self.byte(question.nonce);
            }
        }
        if self.raw_nonces {
            self.byte(edge.keeper.next_nonce);
        }
        self.option(edge.cache.view(self.now).lease, Scribe::age);
        self.option(edge.reading, |s, reading| {
            s.age(reading.view.now);
            s.option(reading.view.lease, |s, at| {
                s.byte(reading.view.now.since(at).min(s.oldest));
            });
            s.byte(u8::from(reading.saw_entry));
        });
        self.option(edge.unapplied, |s, message| s.revision(message.change.revision));
        let (applied, floor, tombstones) = edge.cache.shared_tags().inspect();
        edge.cache.inspect(|shard| self.shard(shard, applied));
        if self.raw_counts {
            self.byte(applied);
        }
        self.revision(floor);
        for (tag, at) in tombstones {
            self.shared_tag(tag);
            self.revision(at);
        }
        self.byte(242_u8);
    }

    fn shard(&mut self, shard: &Shard<u8, Small, Hasher>, applied: u64) {
        self.revision(shard.floor);
        self.byte(u8::from(shard.membership.is_some()));
        for table in [&shard.entries, &shard.refusals] {
            for (credential, entry) in table.iter() {
                self.byte(*credential);
                self.byte(u8::from(entry.verdict == Small::Revoked));
                // Nothing else of a fact matters.
                if entry.verdict != Small::Revoked {
                    self.age(entry.stamp);
                    self.revision(entry.read_at);
                    // Which count does not matter, but whether it is the present one.
                    let seen = if self.raw_counts { entry.seen } else { applied - entry.seen };
                    self.byte(if self.raw_counts { seen } else { seen.min(1) });
                }
            }
            self.byte(246_u8);
        }
        for (credential, at) in shard.tombstones.iter() {
            self.byte(credential);
            self.revision(at);
        }
        self.byte(244_u8);
    }

    fn nonce(&mut self, edge: &Edge, nonce: u64) {
        let place = edge.keeper.under_way.iter().position(|question| question.nonce == nonce);
        self.byte(if self.raw_nonces { nonce } else { place.map_or(99, |p| p as u64) });
    }

    fn message(&mut self, world: &World, message: &Message) {
        let to = |edge: &u8| &*world.edges[usize::from(*edge)];
        match message {
            Message::AskJoin { edge, nonce, member } => {
                self.out.extend([0, *edge]);
                self.nonce(to(edge), *nonce);
                self.member(*member);
            }
            Message::Joined { edge, nonce, answer } => {
                self.out.extend([1, *edge]);
                self.nonce(to(edge), *nonce);
                self.epoch(answer.epoch);
                self.revision(answer.revision);
            }
            Message::AskRenew { edge, nonce, member, since } => {
                self.out.extend([2, *edge]);
                self.nonce(to(edge), *nonce);
                self.member(*member);
                self.revision(*since);
            }
            Message::HalfRenewed { edge, nonce, half: answer }
            | Message::Renewed { edge, nonce, answer } => {
                self.byte(3 + u8::from(matches!(message, Message::Renewed { .. })));
                self.byte(*edge);
                self.nonce(to(edge), *nonce);
                self.renewed(answer);
            }
            Message::AskVerify { edge, question, credential } => {
                self.out.extend([5, *edge, *credential]);
                self.question(to(edge), question);
            }
            Message::Verified { edge, question, credential, answer } => {
                self.out.extend([6, *edge, *credential]);
                self.question(to(edge), question);
                self.verified(answer);
            }
            Message::Invalidate { edge, message } => {
                self.out.extend([7, *edge]);
                self.epoch(message.epoch);
                self.revision(message.change.revision);
                self.tag(message.change.tag);
            }
            Message::Acknowledge(acknowledge) => {
                self.byte(8_u8);
                self.member(acknowledge.member);
                self.epoch(acknowledge.epoch);
                self.revision(acknowledge.revision);
            }
        }
    }

    fn question(&mut self, edge: &Edge, question: &crate::Question) {
        let place = edge.asked.iter().position(|(asked, _)| asked == question);
        self.byte(if self.raw_nonces { question.nonce } else { place.map_or(99, |p| p as u64) });
        self.member(question.member);
        if self.raw_nonces {
            self.age(question.sent);
        }
    }

    fn renewed(&mut self, answer: &MemberResult<latchkey_contract::lease::Renewed<u8>>) {
        let MemberResult::Member(renewed) = answer else { return self.byte(0_u8) };
        self.byte(1_u8);
        self.epoch(renewed.epoch);
        self.revision(renewed.revision);
        match &renewed.missed {
            Missed::TooMany => self.byte(2_u8),
            Missed::These(changes) => {
                for change in changes {
                    self.revision(change.revision);
                    self.tag(change.tag);
                }
            }
        }
    }

    fn verified(&mut self, answer: &MemberResult<Reply<Small>>) {
        let MemberResult::Member(reply) = answer else { return self.byte(0_u8) };
        self.byte(1_u8);
        self.epoch(reply.read_at.epoch);
        self.revision(reply.read_at.revision);
        self.byte(u8::from(matches!(reply.verdict, Small::Valid(_))));
    }
}
