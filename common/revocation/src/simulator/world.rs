//! True time, the queue of what happens, and the bus. What the outside does is planned at the beginning.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use latchkey_contract::lease::Tag;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::edge::Edge;
use super::events::{Drifting, Event, MS, OTHERS, OWNERS, SECOND, other, owner};
use super::oracle::Oracle;
use super::service::{Db, Service};
use crate::bounds::Bounds;
use crate::rules::Rules;

/// How long faults happen, and how long it goes on without.
pub(super) const TROUBLE: u64 = 12 * SECOND;
pub(super) const QUIET: u64 = 15 * SECOND;
/// In the quiet time, when whoever died is found out, and when nobody is waited for in vain any more.
const CLEANED: [u64; 2] = [TROUBLE + SECOND, TROUBLE + 5 * SECOND];
pub(super) const SETTLED: u64 = TROUBLE + 13 * SECOND;
pub(super) const EDGES: usize = 3;
const SERVICES: usize = 2;

pub(super) struct World {
    pub(super) now: u64,
    pub(super) rng: SmallRng,
    pub(super) bounds: Bounds,
    pub(super) rules: Rules,
    pub(super) edges: Vec<Edge>,
    pub(super) services: Vec<Service>,
    pub(super) db: Db,
    pub(super) oracle: Oracle,
    pub(super) queue: BinaryHeap<Reverse<(u64, u64)>>,
    pub(super) events: std::collections::HashMap<u64, Event>,
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

    pub(super) fn at(&mut self, when: u64, event: Event) {
        self.queue.push(Reverse((when.max(self.now), self.next_event)));
        self.events.insert(self.next_event, event);
        self.next_event += 1;
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
}
