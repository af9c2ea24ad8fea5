//! True time, the queue of what happens, the bus, and the faults.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use latchkey_contract::lease::{
    Acknowledge, Invalidate, Joined, MemberResult, Renewed, Revision, SharedTag, Tag,
};
use latchkey_contract::{Owner, Timestamp, UserId};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::edge::Edge;
use super::oracle::Oracle;
use super::service::{Db, Service};
use crate::bounds::{Bounds, Moment};
use crate::cache::Weigh;
use crate::keeper::Ask;
use crate::rules::Rules;
use crate::shard::ReadView;
use crate::verdict::{CacheableVerdict, Kept, Question, Reply};

pub(super) const MS: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1_000 * MS;
/// How long faults happen, and how long it goes on without.
const TROUBLE: u64 = 12 * SECOND;
const QUIET: u64 = 15 * SECOND;
/// In the quiet time, when whoever died is found out, and when nobody is waited for in vain any more.
const CLEANED: [u64; 2] = [TROUBLE + SECOND, TROUBLE + 5 * SECOND];
pub(super) const SETTLED: u64 = TROUBLE + 13 * SECOND;
const EDGES: usize = 3;
const SERVICES: usize = 2;
pub(super) const OWNERS: i64 = 6;
/// Tags of another kind, so to say.
pub(super) const OTHERS: i64 = 9;

pub(super) fn owner(number: i64) -> SharedTag {
    SharedTag::Owner(Owner::User(UserId(number)))
}

pub(super) fn other(number: i64) -> SharedTag {
    owner(100 + number)
}

/// What is said of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// It is good, and stands for itself; it has this owner, and hangs on this other tag.
    Valid(u32, SharedTag, SharedTag),
    Revoked,
    /// Its owner is disabled.
    Disabled(SharedTag),
    Unknown,
}

impl Weigh for Says {
    fn heap_bytes(&self) -> usize {
        0
    }
}

impl CacheableVerdict for Says {
    fn kept(&self) -> Kept {
        match self {
            Self::Valid(..) => Kept::AsGood,
            Self::Revoked => Kept::AsFact,
            Self::Disabled(_) | Self::Unknown => Kept::AsRefusal,
        }
    }

    /// Nothing expires, however the wall clocks step.
    fn holds_at(&self, _: Timestamp) -> bool {
        true
    }

    fn tags(&self) -> impl Iterator<Item = SharedTag> {
        let (first, second) = match *self {
            Self::Valid(_, owner, other) => (Some(owner), Some(other)),
            Self::Disabled(owner) => (Some(owner), None),
            Self::Revoked | Self::Unknown => (None, None),
        };
        first.into_iter().chain(second)
    }
}

/// A clock that starts anywhere and runs up to 1 % fast or slow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drifting {
    offset: u64,
    /// Millionths of the true rate.
    rate: u64,
}

impl Drifting {
    fn new(rng: &mut SmallRng) -> Self {
        let rate = *[990_000, 1_000_000, 1_010_000, rng.random_range(990_000..=1_010_000)]
            .get(rng.random_range(0..4_usize))
            .unwrap();
        Self { offset: rng.random_range(0..1_000 * SECOND), rate }
    }

    pub(super) fn read(&self, now: u64) -> Moment {
        Moment(self.offset + now * self.rate / 1_000_000)
    }

    /// The true time at which it shows `at`, or just after.
    pub(super) fn when(&self, at: Moment) -> u64 {
        at.0.saturating_sub(self.offset) * 1_000_000 / self.rate + 2
    }
}

#[derive(Clone, Debug)]
pub(super) enum Event {
    KeeperTimer(usize),
    Request {
        edge: usize,
        credential: u32,
    },
    /// The second step of a reader that was stopped between.
    Finish {
        edge: usize,
        life: u32,
        credential: u32,
        view: ReadView,
        began: u64,
    },
    /// One who waits for a shared reply looks at it.
    Judge {
        edge: usize,
        life: u32,
        credential: u32,
        question: Question,
        reply: Reply<Says>,
    },
    Timeout {
        edge: usize,
        credential: u32,
        nonce: u64,
    },
    ToService {
        edge: usize,
        letter: Letter,
    },
    ToEdge {
        edge: usize,
        letter: Letter,
    },
    ToRevokers(Acknowledge),
    Revoke(Tag<u32>),
    /// An owner is disabled, or enabled again.
    Enable(i64, bool),
    RevokerTimer(u64),
    CleanUp(u64),
    Sweep(usize),
    Fault,
    Heal(usize),
    Issue,
}

#[derive(Clone, Debug)]
pub(super) enum Letter {
    Ask(Ask),
    Joined(u64, Joined),
    Renewed(u64, MemberResult<Renewed<u32>>),
    AskVerify { question: Question, credential: u32 },
    Verified { question: Question, credential: u32, answer: MemberResult<Reply<Says>> },
    Invalidate(Invalidate<u32>),
}

pub(super) struct World {
    pub(super) now: u64,
    pub(super) rng: SmallRng,
    pub(super) bounds: Bounds,
    pub(super) rules: Rules,
    pub(super) edges: Vec<Edge>,
    pub(super) services: Vec<Service>,
    pub(super) db: Db,
    pub(super) oracle: Oracle,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: std::collections::HashMap<u64, Event>,
    next_event: u64,
    loss: f64,
    pub(super) early: bool,
    pub(super) next_id: u64,
}

impl World {
    pub(super) fn new(seed: u64, rules: Rules) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let bounds = Bounds::default();
        let loss = *[0.0, 0.01, 0.1, 0.3].get(rng.random_range(0..4_usize)).unwrap();
        let early = rng.random_range(0..8) != 0;
        let edges =
            (0..EDGES).map(|_| Edge::new(Drifting::new(&mut rng), &bounds, rules)).collect();
        let services =
            (0..SERVICES).map(|_| Service::new(Drifting::new(&mut rng), &bounds, rules)).collect();
        let mut world = Self {
            now: 1,
            rng,
            bounds,
            rules,
            edges,
            services,
            db: Db::new(),
            oracle: Oracle::default(),
            queue: BinaryHeap::new(),
            events: std::collections::HashMap::new(),
            next_event: 0,
            loss,
            early,
            next_id: 0,
        };
        for edge in 0..EDGES {
            world.at(1, Event::KeeperTimer(edge));
        }
        for service in 0..SERVICES {
            world.at(SECOND, Event::Sweep(service));
        }
        for _ in 0..12 {
            world.db.issue();
        }
        world.plan();
        world
    }

    /// Everything that the outside does, by chance.
    fn plan(&mut self) {
        let end = TROUBLE + QUIET;
        for _ in 0..2_500 {
            let (at, edge) = (self.rng.random_range(0..end), self.rng.random_range(0..EDGES));
            // The latest credentials and those under revocation are asked for most.
            let credential = self.rng.random_range(0..60);
            self.at(at, Event::Request { edge, credential });
        }
        for _ in 0..40 {
            let at = self.rng.random_range(0..end);
            self.at(at, Event::Issue);
        }
        for _ in 0..30 {
            let at = self.rng.random_range(SECOND / 2..TROUBLE + 6 * SECOND);
            let credential = self.rng.random_range(0..52);
            let tag = match self.rng.random_range(0..24) {
                0..4 => Tag::Shared(owner(self.rng.random_range(0..OWNERS))),
                4..6 => Tag::Shared(other(self.rng.random_range(0..OTHERS))),
                _ => Tag::Credential(credential),
            };
            self.at(at, Event::Revoke(tag));
            if self.rng.random_bool(0.2) {
                self.at(at + 30 * MS, Event::Revoke(tag));
            }
            // Requests around it.
            for _ in 0..20 {
                let near = at + self.rng.random_range(0..3 * SECOND);
                let edge = self.rng.random_range(0..EDGES);
                self.at(near.saturating_sub(SECOND / 2), Event::Request { edge, credential });
            }
        }
        for (at, credential) in CLEANED.into_iter().chain([SETTLED + 1, SETTLED + MS]).zip(0..) {
            self.db.issue();
            self.at(at, Event::Revoke(Tag::Credential(credential)));
        }
        // Once in a while everything that there is, by a change that says so or that nobody can read.
        if self.rng.random_bool(0.3) {
            let at = self.rng.random_range(SECOND..TROUBLE + 6 * SECOND);
            let tag = if self.rng.random_bool(0.5) { Tag::All } else { Tag::Unknown(9) };
            self.at(at, Event::Revoke(tag));
        }
        for _ in 0..6 {
            let owner = self.rng.random_range(0..OWNERS);
            let at = self.rng.random_range(SECOND..TROUBLE + 2 * SECOND);
            let until = at + self.rng.random_range(0..4 * SECOND);
            self.at(at, Event::Enable(owner, false));
            self.at(until, Event::Enable(owner, true));
        }
        for _ in 0..self.rng.random_range(0..14) {
            let at = self.rng.random_range(0..TROUBLE);
            self.at(at, Event::Fault);
        }
    }

    pub(super) fn run(&mut self) {
        while let Some(Reverse((at, number))) = self.queue.pop() {
            self.now = self.now.max(at);
            let Some(event) = self.events.remove(&number) else { continue };
            if self.now > TROUBLE + QUIET {
                break;
            }
            self.happen(event);
        }
        self.check_recovery();
    }

    pub(super) fn at(&mut self, when: u64, event: Event) {
        self.queue.push(Reverse((when.max(self.now), self.next_event)));
        self.events.insert(self.next_event, event);
        self.next_event += 1;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::KeeperTimer(edge) => self.ring(edge),
            Event::Request { edge, credential } => self.request(edge, credential),
            Event::Finish { edge, life, credential, view, began } => {
                self.finish(edge, life, credential, view, began);
            }
            Event::Judge { edge, life, credential, question, reply } => {
                self.judge(edge, life, credential, question, reply);
            }
            Event::Timeout { edge, credential, nonce } => self.timeout(edge, credential, nonce),
            Event::ToService { edge, letter } => self.serve(edge, &letter),
            Event::ToEdge { edge, letter } => self.receive(edge, letter),
            Event::ToRevokers(a) => self.acknowledge(a),
            Event::Revoke(tag) => self.revoke(tag),
            Event::Enable(owner, enabled) => self.enable(owner, enabled),
            Event::RevokerTimer(id) => self.drive(id),
            Event::CleanUp(id) => self.clean_up(id),
            Event::Sweep(service) => self.sweep(service),
            Event::Fault => self.fault(),
            Event::Heal(edge) => self.edges[edge].cut_off = false,
            Event::Issue => self.db.issue(),
        }
    }

    /// Sends something, or loses it, or doubles it; it takes as long as it takes.
    pub(super) fn post(&mut self, edge: usize, event: &Event) {
        let is_calm = self.now > TROUBLE;
        if self.edges[edge].cut_off || (!is_calm && self.rng.random_bool(self.loss)) {
            return;
        }
        let copies = if !is_calm && self.rng.random_bool(0.05) { 2 } else { 1 };
        for _ in 0..copies {
            let delay = match self.rng.random_range(0..100) {
                0..3 if !is_calm => self.rng.random_range(0..4 * SECOND),
                3..6 if !is_calm => self.rng.random_range(0..200 * MS),
                _ => self.rng.random_range(MS / 10..3 * MS),
            };
            self.at(self.now + delay, event.clone());
        }
    }

    fn fault(&mut self) {
        let edge = self.rng.random_range(0..EDGES);
        let long = self.now + self.rng.random_range(0..6 * SECOND);
        match self.rng.random_range(0..8) {
            0 | 1 => self.edges[edge].stopped_until = long.min(TROUBLE),
            2 | 3 => {
                self.edges[edge].cut_off = true;
                self.at(long.min(TROUBLE), Event::Heal(edge));
            }
            4 => self.restart_edge(edge),
            5 => self.crash_service(),
            6 => self.edges[edge].wall_step = self.rng.random_range(-3_600_000..3_600_000),
            _ => {
                if self.rng.random_bool(0.3) {
                    self.db.fail_over();
                } else {
                    self.db.pruned = self.db.revision;
                }
            }
        }
    }

    /// After the quiet time everything works again: members, leases, answers.
    fn check_recovery(&mut self) {
        if !self.oracle.faults.is_empty() {
            return;
        }
        for at in 0..EDGES {
            let (now, edge) = (self.edges[at].clock.read(self.now), &self.edges[at]);
            if !edge.cache.is_live(now) {
                self.oracle.fault(format!("edge {at} has no lease after the quiet time"));
            }
            let behind = edge.keeper.revision().unwrap_or_default();
            if behind < Revision(self.db.revision.0 - 30) {
                self.oracle.fault(format!("edge {at} has not caught up"));
            }
        }
    }
}
