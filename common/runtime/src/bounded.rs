//! A bounded table that is never swept. Whoever keeps something for each client, member or the like in
//! memory uses it.
//!
//! While there is room, entries are added. Then a new one takes the place of one that says nothing any more,
//! for which a hand goes round the places, a few at a time: each call looks at so many entries at most, however
//! many there are and whatever they hold.

use std::collections::HashMap;
use std::hash::Hash;

/// Entries that are looked at for one that can go, in one call at most.
const PROBES: usize = 8;

/// A table of at most so many entries.
#[derive(Debug)]
pub struct Bounded<K, V> {
    places: HashMap<K, usize>,
    entries: Vec<(K, V)>,
    /// Where the next one that can go is looked for.
    hand: usize,
    capacity: usize,
}

impl<K: Copy + Eq + Hash, V> Bounded<K, V> {
    /// An empty table of at most `capacity` entries.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { places: HashMap::new(), entries: Vec::new(), hand: 0, capacity }
    }

    /// The entry of `key`.
    pub fn find(&mut self, key: &K) -> Option<&mut V> {
        let place = *self.places.get(key)?;
        self.entries.get_mut(place).map(|(_, value)| value)
    }

    /// Puts in an entry that [`find`](Self::find) has just not found, where there is room or one is found
    /// that `can_go`; `false` where neither is so.
    pub fn insert(&mut self, key: K, value: V, can_go: impl Fn(&V) -> bool) -> bool {
        if self.entries.len() < self.capacity {
            self.places.insert(key, self.entries.len());
            self.entries.push((key, value));
            return true;
        }
        for _ in 0..PROBES {
            let place = self.hand;
            self.hand = (place + 1) % self.capacity.max(1);
            if let Some(entry) = self.entries.get_mut(place).filter(|(_, old)| can_go(old)) {
                self.places.remove(&entry.0);
                self.places.insert(key, place);
                *entry = (key, value);
                return true;
            }
        }
        false
    }

    /// Every entry's value.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.iter_mut().map(|(_, value)| value)
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_full_table_gives_the_place_of_an_entry_that_can_go() {
        let mut table = Bounded::new(3);
        assert!((0..3).all(|key| table.insert(key, key, |_| false)));
        assert!(!table.insert(3, 3, |_| false));
        assert_eq!(table.find(&3), None);
        assert!(table.insert(3, 3, |value| *value == 1));
        assert_eq!(table.find(&1), None);
        assert_eq!(table.find(&3), Some(&mut 3));
        assert!([0, 2].iter().all(|key| table.find(key) == Some(&mut { *key })));
        assert_eq!(table.len(), 3);
    }

    #[test]
    fn a_table_of_nothing_takes_nothing() {
        let mut table = Bounded::new(0);
        assert!(!table.insert(1, 1, |_| true));
        assert!(table.is_empty());
    }

    #[test]
    fn few_entries_are_looked_at_in_one_call_and_all_of_them_in_turn() {
        let (mut table, looked) = (Bounded::new(1_000), Cell::new(0));
        assert!((0..1_000).all(|key| table.insert(key, key == 900, |_| false)));
        let mut calls = 0;
        loop {
            looked.set(0);
            let can_go = |value: &bool| {
                looked.set(looked.get() + 1);
                *value
            };
            calls += 1;
            let taken = table.insert(1_000, false, can_go);
            assert!(looked.get() <= PROBES, "{}", looked.get());
            if taken {
                break;
            }
        }
        assert!(calls <= 1_000 / PROBES, "{calls}");
    }
}
