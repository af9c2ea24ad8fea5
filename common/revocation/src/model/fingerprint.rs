//! Which states are the same: times count by their age, as far as it makes a difference, and nonces by
//! the question that waits for them. So the model runs on for ever in a finite number of states.

use latchkey_contract::lease::{Epoch, MemberId, Missed, Position, Standing, Subject};

use super::step::Model;
use super::world::{Edge, Message, World};
use crate::authority::MemberState;
use crate::bounds::Moment;
use crate::cache::{Reply, Ruling};
use crate::keeper::State;
use crate::revoker::Members;
use crate::rules::Mutant;
use crate::shard::Fact;

/// Messages under way at most.
const MAX_LETTERS: usize = 64;

/// Writes a state as bytes.
pub(super) struct Scribe<'a> {
    pub(super) out: &'a mut Vec<u8>,
    now: Moment,
    /// Ages beyond are all the same.
    oldest: u64,
    raw_nonces: bool,
}

/// 64 bits that stand for a state.
pub(super) fn fingerprint(model: &Model, world: &World, out: &mut Vec<u8>) -> u64 {
    out.clear();
    let oldest = model.scenario.lease.max(model.scenario.wait);
    let raw_nonces = model.rules.breaks(Mutant::IdReused);
    let mut scribe = Scribe { out, now: world.now, oldest, raw_nonces };
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

    fn position(&mut self, at: Position) {
        self.byte(at.0);
    }

    fn epoch(&mut self, epoch: Epoch) {
        self.byte(epoch.timeline);
    }

    fn member(&mut self, id: MemberId) {
        self.byte(id.0[0]);
    }

    fn subject(&mut self, subject: Subject<u8>) {
        match subject {
            Subject::Credential(credential) => self.byte(credential),
            Subject::Owner(owner) => self.byte(owner.0 + 100),
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
        self.byte(u8::from(world.returned));
        for edge in &world.edges {
            self.edge(edge);
        }
        self.db(&world.db);
        self.option(world.standby.as_deref(), Scribe::db);
        for revoker in &world.revokers {
            self.byte(250_u8);
            self.subject(revoker.subject);
            self.option(revoker.number, Scribe::position);
            self.option(revoker.core.committed, |s, (commit, since)| {
                s.age(since);
                s.position(commit.position);
                s.epoch(commit.epoch);
                s.byte(u8::from(commit.already) + 2 * u8::from(commit.settled));
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
        self.position(db.position);
        self.position(db.pruned);
        for row in &db.revoked {
            self.position(row.change.position);
            self.subject(row.change.subject);
            self.byte(u8::from(row.settled));
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
            State::In { tenure, position } => {
                self.byte(1_u8);
                self.member(tenure.member);
                self.epoch(tenure.epoch);
                self.position(position);
            }
        }
        for question in &edge.keeper.under_way {
            self.byte(2_u8 + u8::from(question.joins.is_some()));
            self.age(question.sent);
            if self.raw_nonces {
                self.byte(question.nonce);
            }
        }
        for question in &edge.asked {
            self.byte(4_u8);
            self.age(question.sent);
            if self.raw_nonces {
                self.byte(question.nonce);
            }
        }
        if self.raw_nonces {
            self.byte(edge.keeper.next_nonce);
        }
        self.option(edge.cache.sight(self.now).lease, Scribe::age);
        self.option(edge.reading, |s, reading| {
            s.age(reading.sight.now);
            s.option(reading.sight.lease, |s, at| {
                s.byte(reading.sight.now.since(at).min(s.oldest));
            });
            s.byte(u8::from(reading.saw_entry));
        });
        self.option(edge.unapplied, |s, message| s.position(message.change.position));
        edge.cache.inspect(|shard| self.shard(shard));
    }

    fn shard(
        &mut self,
        shard: &crate::shard::Shard<u8, super::world::Small, super::world::Hasher>,
    ) {
        self.position(shard.floor);
        self.byte(u8::from(shard.tenure.is_some()));
        for (credential, entry) in shard.entries.iter() {
            self.byte(*credential);
            self.age(entry.stamp);
        }
        self.byte(246_u8);
        for (credential, fact) in shard.facts.iter() {
            self.byte(*credential);
            self.byte(u8::from(*fact == Fact::Revoked));
        }
        self.byte(245_u8);
        for (credential, at) in shard.credentials.iter() {
            self.byte(credential);
            self.position(at);
        }
        self.byte(244_u8);
        for (owner, at) in shard.owners.iter() {
            self.byte(owner.0);
            self.position(at);
        }
        self.byte(243_u8);
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
                self.position(answer.position);
            }
            Message::AskRenew { edge, nonce, member, since } => {
                self.out.extend([2, *edge]);
                self.nonce(to(edge), *nonce);
                self.member(*member);
                self.position(*since);
            }
            Message::HalfRenewed { edge, nonce, half: answer }
            | Message::Renewed { edge, nonce, answer } => {
                self.byte(3 + u8::from(matches!(message, Message::Renewed { .. })));
                self.byte(*edge);
                self.nonce(to(edge), *nonce);
                self.renewed(answer);
            }
            Message::AskVerify { edge, question } => {
                self.out.extend([5, *edge]);
                self.question(to(edge), question);
            }
            Message::Verified { edge, question, answer } => {
                self.out.extend([6, *edge]);
                self.question(to(edge), question);
                self.verified(answer);
            }
            Message::Invalidate { edge, message } => {
                self.out.extend([7, *edge]);
                self.epoch(message.epoch);
                self.position(message.change.position);
                self.subject(message.change.subject);
            }
            Message::Acknowledge(acknowledge) => {
                self.byte(8_u8);
                self.member(acknowledge.member);
                self.epoch(acknowledge.epoch);
                self.position(acknowledge.position);
            }
        }
    }

    fn question(&mut self, edge: &Edge, question: &crate::Question) {
        let place = edge.asked.iter().position(|asked| asked == question);
        self.byte(if self.raw_nonces { question.nonce } else { place.map_or(99, |p| p as u64) });
        self.member(question.member);
        if self.raw_nonces {
            self.age(question.sent);
        }
    }

    fn renewed(&mut self, answer: &Standing<latchkey_contract::lease::Renewed<u8>>) {
        let Standing::Member(renewed) = answer else { return self.byte(0_u8) };
        self.byte(1_u8);
        self.epoch(renewed.epoch);
        self.position(renewed.position);
        match &renewed.missed {
            Missed::TooMany => self.byte(2_u8),
            Missed::These(changes) => {
                for change in changes {
                    self.position(change.position);
                    self.subject(change.subject);
                }
            }
        }
    }

    fn verified(&mut self, answer: &Standing<Reply<super::world::Small>>) {
        let Standing::Member(reply) = answer else { return self.byte(0_u8) };
        self.byte(1_u8);
        self.epoch(reply.read_at.epoch);
        self.position(reply.read_at.position);
        self.byte(u8::from(matches!(reply.ruling, Ruling::Valid { .. })));
    }
}
