//! A bounded memory of what was invalidated, and at which revision. When it is full the oldest has to go: first
//! the floor rises to its revision, then it is taken out.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash};

use latchkey_contract::lease::Revision;

#[derive(Clone)]
pub(crate) struct Tombstones<K, S> {
    revisions: HashMap<K, Revision, S>,
    order: VecDeque<K>,
    max: usize,
}

impl<K: Copy + Eq + Hash, S: BuildHasher> Tombstones<K, S> {
    /// An empty memory of at most `max`, and at least one.
    pub(crate) fn new(max: usize, hasher: S) -> Self {
        Self { revisions: HashMap::with_hasher(hasher), order: VecDeque::new(), max }
    }

    /// The last revision at which `key` was invalidated, as far as is remembered.
    pub(crate) fn get(&self, key: &K) -> Option<Revision> {
        if self.order.is_empty() { None } else { self.revisions.get(key).copied() }
    }

    /// Remembers an invalidation. The greater revision stays.
    pub(crate) fn set(&mut self, key: K, revision: Revision) {
        if let Some(old) = self.revisions.get_mut(&key) {
            *old = revision.max(*old);
            return;
        }
        self.revisions.insert(key, revision);
        self.order.push_back(key);
    }

    /// The revision of the one that has to go before `key` is remembered, if one has.
    pub(crate) fn oldest_if_full(&self, key: &K) -> Option<Revision> {
        if self.order.len() < self.max.max(1) || self.revisions.contains_key(key) {
            return None;
        }
        self.order.front().and_then(|oldest| self.revisions.get(oldest)).copied()
    }

    /// Takes out what has to go before `key` is remembered, if it may; its revision.
    pub(crate) fn evict(&mut self, key: &K, may: impl Fn(Revision) -> bool) -> Option<Revision> {
        let revision = self.oldest_if_full(key).filter(|revision| may(*revision))?;
        self.order.pop_front().and_then(|oldest| self.revisions.remove(&oldest));
        Some(revision)
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.revisions.clear();
        self.order.clear();
    }

    /// Every tombstone, oldest first.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, Revision)> {
        self.order.iter().filter_map(|key| Some((*key, self.get(key)?)))
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasherDefault, DefaultHasher};

    use super::*;

    #[test]
    fn what_is_forgotten_makes_room_again() {
        let mut tombstones = Tombstones::new(2, BuildHasherDefault::<DefaultHasher>::default());
        for key in [1, 2] {
            tombstones.set(key, Revision(key));
        }
        assert_eq!(tombstones.oldest_if_full(&3), Some(Revision(1)));
        tombstones.clear();
        assert_eq!((tombstones.oldest_if_full(&3), tombstones.iter().count()), (None, 0));
        tombstones.set(2, Revision(1));
        assert_eq!((tombstones.get(&1), tombstones.get(&2)), (None, Some(Revision(1))));
    }
}
