//! The rules of an edge's memory, over one shard of it. The caller holds the shard's lock, so what is
//! checked here still holds when it is acted on.

use std::hash::{BuildHasher, Hash};

use latchkey_contract::lease::{Epoch, MemberId, Position, Subject};
use latchkey_contract::{Timestamp, UserId};

use crate::bounds::Moment;
use crate::cache::{Found, Question, Reply, Ruling, Taken, Why};
use crate::rules::{Mutant, Rules};
use crate::table::{Table, Weigh};
use crate::tombstones::Tombstones;

/// What one shard holds at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShardCapacity {
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
    pub(crate) facts: usize,
    pub(crate) tombstones: usize,
    pub(crate) owners: usize,
}

/// Whose answers a shard holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tenure {
    pub(crate) member: MemberId,
    pub(crate) epoch: Epoch,
}

/// What a reader saw before it looks: it is taken after the request arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    pub(crate) now: Moment,
    pub(crate) lease: Option<Moment>,
    pub(crate) applied: Position,
}

/// A positive answer.
#[derive(Clone, Debug)]
pub(crate) struct Entry<V> {
    pub(crate) value: V,
    pub(crate) owner: UserId,
    /// When its question was sent.
    pub(crate) stamp: Moment,
    pub(crate) expires_at: Timestamp,
    /// The last change that the answer knew of.
    pub(crate) position: Position,
}

/// A negative answer that stays true: no lease is needed to rely on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    Revoked,
    Unknown,
}

#[derive(Clone)]
pub(crate) struct Shard<C, V, S> {
    pub(crate) rules: Rules,
    pub(crate) tenure: Option<Tenure>,
    /// Replies from before it are not taken: a tombstone that would speak against them may be gone.
    pub(crate) floor: Position,
    pub(crate) entries: Table<C, Entry<V>, S>,
    /// Apart from the entries, so that a flood of unknown keys evicts nothing valid.
    pub(crate) facts: Table<C, Fact, S>,
    pub(crate) credentials: Tombstones<C, S>,
    pub(crate) owners: Tombstones<UserId, S>,
}

impl<V: Weigh> Weigh for Entry<V> {
    fn heap_bytes(&self) -> usize {
        self.value.heap_bytes()
    }
}

impl Weigh for Fact {
    fn heap_bytes(&self) -> usize {
        0
    }
}

impl<C, V, S> Shard<C, V, S>
where
    C: Copy + Eq + Hash,
    V: Weigh,
    S: BuildHasher + Clone,
{
    /// A shard of nobody: it takes nothing.
    pub(crate) fn new(capacity: ShardCapacity, rules: Rules, hasher: &S) -> Self {
        Self {
            rules,
            tenure: None,
            floor: Position::default(),
            entries: Table::new(capacity.entries, capacity.bytes, hasher.clone()),
            facts: Table::new(capacity.facts, usize::MAX, hasher.clone()),
            credentials: Tombstones::new(capacity.tombstones, hasher.clone()),
            owners: Tombstones::new(capacity.owners, hasher.clone()),
        }
    }

    /// Forgets everything; from now on it is `tenure`'s, and takes replies from `floor` on.
    pub(crate) fn begin(&mut self, tenure: Option<Tenure>, floor: Position) {
        self.tenure = tenure;
        self.floor = floor;
        self.entries.clear();
        self.facts.clear();
        self.credentials.clear();
        self.owners.clear();
    }

    /// Takes out what `subject` names and remembers that. `applied` is the position up to which the
    /// edge has applied everything (P).
    pub(crate) fn invalidate(&mut self, subject: Subject<C>, at: Position, applied: Position) {
        let bury = !self.rules.breaks(Mutant::AcknowledgeWithoutTombstone);
        let forgotten = match subject {
            Subject::Credential(credential) => {
                self.entries.remove(&credential);
                if bury { self.credentials.set(credential, at) } else { None }
            }
            Subject::Owner(owner) => {
                self.entries.retain(|entry| entry.owner != owner);
                if bury { self.owners.set(owner, at) } else { None }
            }
        };
        if let Some(forgotten) = forgotten
            && !self.rules.breaks(Mutant::EvictionKeepsFloor)
        {
            self.raise(forgotten.max(applied));
        }
    }

    /// Takes out every positive answer: changes up to `position` are not known one by one.
    pub(crate) fn drop_all(&mut self, position: Position) {
        self.entries.clear();
        if !self.rules.breaks(Mutant::DropKeepsFloor) {
            self.raise(position);
        }
    }

    /// What is known of a credential, for a reader that saw `sight`.
    pub(crate) fn look(
        &mut self,
        credential: &C,
        sight: &Sight,
        wall: Timestamp,
        revision: Position,
        span: u64,
    ) -> Found<V>
    where
        V: Clone,
    {
        let rules = self.rules;
        if let Some(entry) = self.entries.get(credential) {
            let live = is_live(rules, sight.now, sight.lease, span)
                || is_live(rules, sight.now, Some(entry.stamp), span);
            let recent = entry.position.max(sight.applied) >= revision;
            return if live && recent && wall < entry.expires_at {
                Found::Valid(entry.value.clone())
            } else {
                Found::Ask
            };
        }
        // They stay true, but who asks for a revision is to learn where it has not been reached.
        if sight.applied < revision {
            return Found::Ask;
        }
        match self.facts.get(credential) {
            Some(Fact::Revoked) => Found::Revoked,
            Some(Fact::Unknown) => Found::Unknown,
            None => Found::Ask,
        }
    }

    /// Judges a reply, and keeps what may be kept of it.
    pub(crate) fn take(
        &mut self,
        question: &Question,
        credential: C,
        reply: Reply<V>,
        now: Moment,
        wall: Timestamp,
        span: u64,
    ) -> Taken<V>
    where
        V: Clone,
    {
        if let Some(why) = self.objection(question, credential, &reply, now, span) {
            return Taken::Again(why);
        }
        let position = reply.read_at.position;
        match reply.ruling {
            Ruling::Valid { value, owner, expires_at } => {
                if wall >= expires_at {
                    return Taken::Again(Why::Expired);
                }
                let stamp =
                    if self.rules.breaks(Mutant::StampAtReceipt) { now } else { question.sent };
                self.facts.remove(&credential);
                let entry = Entry { value: value.clone(), owner, stamp, expires_at, position };
                self.entries.insert(credential, entry);
                Taken::Accept(value)
            }
            Ruling::Revoked => self.refuse(credential, Some(Fact::Revoked)),
            Ruling::Unknown => self.refuse(credential, Some(Fact::Unknown)),
            Ruling::NotNow => self.refuse(credential, None),
        }
    }

    /// Why a reply may not be relied on, if it may not.
    fn objection(
        &self,
        question: &Question,
        credential: C,
        reply: &Reply<V>,
        now: Moment,
        span: u64,
    ) -> Option<Why> {
        let Some(tenure) = self.tenure.filter(|tenure| tenure.member == question.member) else {
            return Some(Why::OtherMember);
        };
        if reply.read_at.epoch != tenure.epoch {
            return Some(Why::OtherEpoch);
        }
        if now.since(question.sent) >= span && !self.rules.breaks(Mutant::NoBoundOnAge) {
            return Some(Why::TooOld);
        }
        if reply.read_at.position < self.floor {
            return Some(Why::BelowFloor);
        }
        let by_credential = self.credentials.get(&credential);
        let by_owner = match &reply.ruling {
            Ruling::Valid { owner, .. } => self.owners.get(owner),
            _ => None,
        };
        let is_newer = |at: Position| at > reply.read_at.position;
        let buried = by_credential.is_some_and(is_newer)
            && !self.rules.breaks(Mutant::IgnoreTombstone)
            || by_owner.is_some_and(is_newer) && !self.rules.breaks(Mutant::IgnoreOwnerTombstone);
        buried.then_some(Why::Invalidated)
    }

    fn refuse(&mut self, credential: C, fact: Option<Fact>) -> Taken<V> {
        self.entries.remove(&credential);
        if let Some(fact) = fact {
            self.facts.insert(credential, fact);
        }
        Taken::Refuse
    }

    fn raise(&mut self, floor: Position) {
        self.floor = self.floor.max(floor);
    }
}

/// Whether what was granted at `stamp` may be relied on at `now`.
fn is_live(rules: Rules, now: Moment, stamp: Option<Moment>, span: u64) -> bool {
    stamp.is_some_and(|stamp| now.since(stamp) < span) || rules.breaks(Mutant::LeaseOff)
}
