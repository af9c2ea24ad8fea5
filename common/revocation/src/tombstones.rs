//! A bounded memory of what was invalidated, and at which position. When it is full the oldest has to go: first
//! the floor rises to its position, then it is taken out.

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
    /// An empty memory of at most `most`, and at least one.
    pub(crate) fn new(most: usize, hasher: S) -> Self {
        Self { positions: HashMap::with_hasher(hasher), order: VecDeque::new(), most }
    }

    /// The last position at which `key` was invalidated, as far as is remembered.
    pub(crate) fn get(&self, key: &K) -> Option<Position> {
        if self.order.is_empty() { None } else { self.positions.get(key).copied() }
    }

    /// Remembers an invalidation. The greater position stays.
    pub(crate) fn set(&mut self, key: K, position: Position) {
        if let Some(old) = self.positions.get_mut(&key) {
            *old = position.max(*old);
            return;
        }
        self.positions.insert(key, position);
        self.order.push_back(key);
    }

    /// The position of the one that has to go before `key` is remembered, if one has.
    pub(crate) fn oldest_if_full(&self, key: &K) -> Option<Position> {
        if self.order.len() < self.most.max(1) || self.positions.contains_key(key) {
            return None;
        }
        self.order.front().and_then(|oldest| self.positions.get(oldest)).copied()
    }

    /// Takes out what has to go before `key` is remembered, if it may; its position.
    pub(crate) fn evict(&mut self, key: &K, may: impl Fn(Position) -> bool) -> Option<Position> {
        let position = self.oldest_if_full(key).filter(|position| may(*position))?;
        self.order.pop_front().and_then(|oldest| self.positions.remove(&oldest));
        Some(position)
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
