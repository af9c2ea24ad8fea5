//! Walks through every state of a model, or as many as the bound allows.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use super::fingerprint::fingerprint;
use super::scenario::Model;
use super::step::Action;
use super::world::{Violation, World};

/// What an exploration has seen.
#[derive(Debug)]
pub(super) struct Explored {
    pub(super) states: usize,
    pub(super) transitions: usize,
    /// Whether there is nothing beyond.
    pub(super) complete: bool,
    /// The actions that lead to the first violation, if there is one.
    pub(super) violation: Option<(Violation, Vec<Action>)>,
}

/// In which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The shortest way to a violation comes first.
    Breadth,
    /// Takes less memory.
    Depth,
}

/// Fingerprints are hashes already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// Explores at most `max` states.
pub(super) fn explore(model: &Model, order: Order, max: usize) -> Explored {
    let mut seen: HashSet<u64, BuildHasherDefault<AsItIs>> = HashSet::default();
    let mut came_from: Vec<(u32, Action)> = vec![(0, Action::Tick)];
    let mut bytes = Vec::new();
    let mut actions = Vec::new();
    let start = World::new(&model.scenario, model.rules);
    seen.insert(fingerprint(model, &start, &mut bytes));
    let mut open = VecDeque::from([(0_u32, start)]);
    let mut transitions = 0;
    let mut complete = true;
    loop {
        let next = match order {
            Order::Breadth => open.pop_front(),
            Order::Depth => open.pop_back(),
        };
        let Some((at, world)) = next else { break };
        actions.clear();
        model.actions(&world, &mut actions);
        for action in &actions {
            transitions += 1;
            let after = match model.apply(&world, *action) {
                Ok(after) => after,
                Err(violation) => {
                    let mut way = vec![*action];
                    let mut at = at;
                    while at != 0 {
                        let (before, action) = came_from[at as usize];
                        way.push(action);
                        at = before;
                    }
                    way.reverse();
                    let violation = Some((violation, way));
                    return Explored { states: seen.len(), transitions, complete, violation };
                }
            };
            if !seen.insert(fingerprint(model, &after, &mut bytes)) {
                continue;
            }
            if came_from.len() >= max {
                complete = false;
                continue;
            }
            let number = u32::try_from(came_from.len()).unwrap();
            came_from.push((at, *action));
            open.push_back((number, after));
        }
        if !complete {
            break;
        }
    }
    Explored { states: seen.len(), transitions, complete, violation: None }
}
