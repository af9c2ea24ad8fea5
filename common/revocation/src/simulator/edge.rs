//! An edge of the simulation.

use std::collections::BTreeMap;
use std::hash::{BuildHasherDefault, DefaultHasher};

use super::events::{Drifting, Says};
use crate::bounds::Bounds;
use crate::cache::{Cache, Capacity};
use crate::keeper::Keeper;
use crate::rules::Rules;
use crate::verdict::Question;

const CAPACITY: Capacity =
    Capacity { shards: 4, entries: 64, bytes: 1 << 20, refusals: 32, tombstones: 16, tags: 3 };

pub(super) struct Edge {
    pub(super) clock: Drifting,
    pub(super) keeper: Keeper,
    pub(super) cache: Cache<u32, Says, BuildHasherDefault<DefaultHasher>>,
    /// Questions under way, one for each credential, and how many wait for each.
    pub(super) flights: BTreeMap<u32, Flight>,
    /// When the keeper's one timer rings.
    pub(super) timer: u64,
    /// Counts restarts: what a process had in hand is gone with it.
    pub(super) life: u32,
    pub(super) stopped_until: u64,
    pub(super) cut_off: bool,
    /// Milliseconds that its wall clock is off.
    pub(super) wall_step: i64,
}

pub(super) struct Flight {
    pub(super) question: Question,
    pub(super) waiting: usize,
    pub(super) again: u8,
}

impl Edge {
    pub(super) fn new(clock: Drifting, bounds: &Bounds, rules: Rules) -> Self {
        Self {
            clock,
            keeper: Keeper::build(bounds, rules),
            cache: Cache::build(bounds, CAPACITY, BuildHasherDefault::default(), rules),
            flights: BTreeMap::new(),
            timer: 0,
            life: 0,
            stopped_until: 0,
            cut_off: false,
            wall_step: 0,
        }
    }
}
