//! The single memory steps of changes, of uses of an entry and of a reply, in every order: the very steps that
//! production takes ([`SharedTags`]), interleaved. Changes take no lock that uses take, so they come between any two
//! steps of a use; uses and replies of one entry take turns, by its shard's lock.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher as _};

use latchkey_contract::lease::{Revision, SharedTag};

use super::scenario::shared;
use super::world::{Hasher, Small, tags_of};
use crate::rules::{Mutant, Rules};
use crate::tags::{ApplyStep, Change, JudgeStep, Judgement, SharedTags};
use crate::verdict::CacheableVerdict;

/// The entry is this credential's.
const ENTRY: Small = Small::Valid(0);
/// Uses of the entry, besides the one reply.
const USES: usize = 2;

/// A change: of one of the entry's tags, of one that it has not, or of everything; and its revision.
#[derive(Clone, Copy, Debug)]
enum Of {
    First(i64),
    Second(i64),
    Other(i64),
    YetAnother(i64),
    All(i64),
}

/// What happens, besides uses and a reply.
const STAGES: &[(&[Of], usize)] = &[
    (&[Of::First(1)], 2),
    (&[Of::First(1), Of::Second(2)], 4),
    (&[Of::First(2), Of::Second(1)], 4),
    (&[Of::Second(1), Of::Other(2)], 4),
    (&[Of::Second(2), Of::Second(1)], 4),
    (&[Of::First(1), Of::Other(2)], 1),
    (&[Of::First(2), Of::Other(1)], 1),
    (&[Of::First(1), Of::Other(2), Of::YetAnother(3)], 1),
    (&[Of::All(1)], 2),
    (&[Of::All(2), Of::First(1)], 2),
    (&[Of::All(1), Of::First(2), Of::Other(3)], 1),
];

/// Each mutant that is about the order of single steps.
const MUTANTS: &[Mutant] = &[
    Mutant::FirstTagOnly,
    Mutant::CountAfterAcknowledgement,
    Mutant::CountBeforeTombstone,
    Mutant::TagEvictionKeepsFloor,
    Mutant::TagEvictionBeforeFloor,
    Mutant::FloorBeforeTags,
    Mutant::SeenReadAfterLookUp,
    Mutant::SeenIsRevision,
    Mutant::ReplyByCredentialAlone,
    Mutant::AllKeepsEntries,
    Mutant::AllDoesNotCount,
];

impl Of {
    fn tag(self) -> Option<SharedTag> {
        match self {
            Self::First(_) => Some(tags_of(0)[0]),
            Self::Second(_) => Some(tags_of(0)[1]),
            Self::Other(_) => Some(shared(7)),
            Self::YetAnother(_) => Some(shared(8)),
            Self::All(_) => None,
        }
    }

    fn revision(self) -> Revision {
        match self {
            Self::First(at)
            | Self::Second(at)
            | Self::Other(at)
            | Self::YetAnother(at)
            | Self::All(at) => Revision(at),
        }
    }

    /// Whether what was read at `read_at` is wrong once this is acknowledged.
    fn ends(self, read_at: Revision) -> bool {
        let is_its = self.tag().is_none_or(|tag| ENTRY.tags().any(|own| own == tag));
        is_its && self.revision() > read_at
    }
}

/// One who decides by the entry, or by a reply, under the shard's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Deciding {
    is_reply: bool,
    read_at: Revision,
    /// The next of its steps.
    step: usize,
    /// How many changes were acknowledged when it began, as bits.
    after: u32,
}

struct World {
    tags: SharedTags<Hasher>,
    /// Each change, and the next of its steps.
    changes: Vec<(Of, Change, usize)>,
    /// When it was read, and the count up to which it was looked at.
    entry: Option<(Revision, u64)>,
    deciding: Option<(Deciding, Judgement)>,
    uses: usize,
    /// When the reply was read.
    reply: Option<Revision>,
}

impl Clone for World {
    fn clone(&self) -> Self {
        let Self { tags, changes, entry, deciding, uses, reply } = self;
        let (tags, changes) = (tags.copy(), changes.clone());
        Self { tags, changes, entry: *entry, deciding: *deciding, uses: *uses, reply: *reply }
    }
}

/// Somebody accepts after the acknowledgement of a change that ended it.
struct Accepted;

impl World {
    fn new(rules: Rules, (changes, room): (&[Of], usize), read: Revision, reply: Revision) -> Self {
        let tags = SharedTags::new(room, rules, Hasher::default());
        let seen = tags.applied();
        let change = |of: &Of| (*of, Change::of(of.tag(), of.revision()), 0);
        Self {
            tags,
            changes: changes.iter().map(change).collect(),
            entry: Some((read, seen)),
            deciding: None,
            uses: USES,
            reply: Some(reply),
        }
    }

    /// The changes that are acknowledged, as bits.
    fn acknowledged(&self, rules: Rules) -> u32 {
        let is_over = |(of, _, next): &(Of, Change, usize)| {
            let order = ApplyStep::order(rules, of.tag().is_none());
            order.iter().take(*next).any(|step| *step == ApplyStep::Acknowledge)
        };
        let bits = self.changes.iter().enumerate().filter(|(_, change)| is_over(change));
        bits.fold(0, |bits, (at, _)| bits | 1 << at)
    }

    /// An accept of what was read then, by one who began after these changes were acknowledged.
    fn accept(&self, read_at: Revision, after: u32) -> Result<(), Accepted> {
        let ended = |(at, (of, ..)): (usize, &(Of, Change, usize))| {
            after & (1 << at) != 0 && of.ends(read_at)
        };
        if self.changes.iter().enumerate().any(ended) { Err(Accepted) } else { Ok(()) }
    }

    /// Every world that one step leads to.
    fn after(&self, rules: Rules) -> Result<Vec<Self>, Accepted> {
        let mut worlds = Vec::new();
        for at in 0..self.changes.len() {
            let (of, _, next) = self.changes[at];
            if let Some(step) = ApplyStep::order(rules, of.tag().is_none()).get(next) {
                let mut world = self.clone();
                let (_, change, next) = &mut world.changes[at];
                world.tags.apply_step(*step, change);
                *next += 1;
                worlds.push(world);
            }
        }
        if let Some((deciding, judgement)) = self.deciding {
            worlds.push(self.go_on(rules, deciding, judgement)?);
            return Ok(worlds);
        }
        if let Some((read_at, seen)) = self.entry.filter(|_| self.uses > 0) {
            let mut world = self.clone();
            world.uses -= 1;
            let after = self.acknowledged(rules);
            if world.tags.is_seen(seen) {
                self.accept(read_at, after)?;
            } else {
                let deciding = Deciding { is_reply: false, read_at, step: 0, after };
                world.deciding = Some((deciding, Judgement::default()));
            }
            worlds.push(world);
        }
        if let Some(read_at) = self.reply {
            let mut world = self.clone();
            world.reply = None;
            let after = self.acknowledged(rules);
            if rules.breaks(Mutant::ReplyByCredentialAlone) {
                self.accept(read_at, after)?;
                world.entry = Some((read_at, world.tags.applied()));
            } else {
                let deciding = Deciding { is_reply: true, read_at, step: 0, after };
                world.deciding = Some((deciding, Judgement::default()));
            }
            worlds.push(world);
        }
        Ok(worlds)
    }

    fn go_on(
        &self,
        rules: Rules,
        mut deciding: Deciding,
        mut judgement: Judgement,
    ) -> Result<Self, Accepted> {
        let mut world = self.clone();
        let order = JudgeStep::order(rules);
        let Deciding { is_reply, read_at, step, after } = deciding;
        world.tags.judge_step(order[step], &mut judgement, &ENTRY, read_at);
        deciding.step += 1;
        if deciding.step < order.len() {
            world.deciding = Some((deciding, judgement));
            return Ok(world);
        }
        world.deciding = None;
        match judgement.result() {
            Ok(seen) => {
                self.accept(read_at, after)?;
                world.entry = Some((read_at, seen));
            }
            Err(_) if is_reply => {}
            Err(_) => world.entry = None,
        }
        Ok(world)
    }

    /// 64 bits that tell this state from others.
    fn key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.tags.inspect().hash(&mut hasher);
        for (_, change, next) in &self.changes {
            (change.evicted(), next).hash(&mut hasher);
        }
        (self.entry, self.deciding, self.uses, self.reply).hash(&mut hasher);
        hasher.finish()
    }
}

/// The states there are, or the first in which somebody accepts what he must not.
fn explore(rules: Rules, start: World) -> Result<usize, Accepted> {
    let mut seen = HashSet::new();
    let mut open = vec![start];
    while let Some(world) = open.pop() {
        if seen.insert(world.key()) {
            open.extend(world.after(rules)?);
        }
    }
    Ok(seen.len())
}

/// Every stage, with what an entry and a reply can have been read at: everything, or some of it where there are
/// many orders.
fn explore_all(rules: Rules) -> Result<usize, Accepted> {
    let mut states = 0;
    for (changes, room) in STAGES {
        let max = changes.iter().map(|of| of.revision().0).max().unwrap();
        let (reads, replies): (Vec<_>, Vec<_>) = if changes.len() > 2 {
            (vec![0, 1], vec![0, max - 1])
        } else {
            ((0..=max).collect(), (0..=max).collect())
        };
        for read in reads {
            for reply in &replies {
                let (read, reply) = (Revision(read), Revision(*reply));
                states += explore(rules, World::new(rules, (*changes, *room), read, reply))?;
            }
        }
    }
    Ok(states)
}

#[test]
fn no_interleaving_of_single_steps_accepts_after_the_acknowledgement() {
    let Ok(states) = explore_all(Rules::default()) else { panic!("an order breaks the promise") };
    println!("memory: {states} states, no violation");
}

#[test]
fn every_other_order_of_the_steps_is_caught() {
    let missed: Vec<_> =
        MUTANTS.iter().filter(|mutant| explore_all(Rules::broken(**mutant)).is_ok()).collect();
    assert!(missed.is_empty(), "the model does not see {missed:?}");
    println!("memory: {} of {} mutants caught", MUTANTS.len(), MUTANTS.len());
}
