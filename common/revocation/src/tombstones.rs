//! A bounded memory of what was invalidated, and at which position. When it is full the oldest goes,
//! and its position is handed out, so that the floor can rise to it.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash};

use latchkey_contract::lease::Position;

#[derive(Clone)]
pub(crate) struct Tombstones<K, S> {
    positions: HashMap<K, Position, S>,
    order: VecDeque<K>,
    most: usize,
}

impl<K: Copy + Eq + Hash, S: BuildHasher> Tombstones<K, S> {
    /// An empty memory of at most `most`.
    pub(crate) fn new(most: usize, hasher: S) -> Self {
        Self { positions: HashMap::with_hasher(hasher), order: VecDeque::new(), most }
    }

    /// The last position at which `key` was invalidated, as far as is remembered.
    pub(crate) fn get(&self, key: &K) -> Option<Position> {
        if self.order.is_empty() { None } else { self.positions.get(key).copied() }
    }

    /// Remembers an invalidation. The greater position stays. What is answered is forgotten in turn.
    pub(crate) fn set(&mut self, key: K, position: Position) -> Option<Position> {
        if let Some(old) = self.positions.get_mut(&key) {
            *old = position.max(*old);
            return None;
        }
        self.positions.insert(key, position);
        self.order.push_back(key);
        if self.order.len() <= self.most {
            return None;
        }
        self.order.pop_front().and_then(|oldest| self.positions.remove(&oldest))
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.positions.clear();
        self.order.clear();
    }

    /// Every tombstone, oldest first.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, Position)> {
        self.order.iter().filter_map(|key| Some((*key, self.get(key)?)))
    }
}
