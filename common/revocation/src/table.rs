//! A bounded map. When it is full, an entry goes that was not looked up since the hand last passed it
//! (the clock algorithm), so a flood of entries that nobody asks for again evicts mostly itself.

use std::hash::{BuildHasher, Hash};

use hashbrown::HashTable;

/// What a value holds on the heap, for the bound in bytes.
pub trait Weigh {
    /// Bytes beyond its own size.
    fn heap_bytes(&self) -> usize;
}

#[derive(Clone)]
pub(crate) struct Table<K, T, S> {
    index: HashTable<u32>,
    /// All of them are full but the last.
    pages: Vec<Page<K, T>>,
    hand: usize,
    bytes: usize,
    max: usize,
    max_bytes: usize,
    hasher: S,
}

/// Entries that take memory together: the table grows by pages, and no entry moves for that.
#[derive(Clone)]
struct Page<K, T> {
    slots: Vec<Slot<K, T>>,
    /// A bit for each slot, where it was looked up since the hand last passed.
    used: u128,
}

#[derive(Clone)]
struct Slot<K, T> {
    key: K,
    value: T,
}

/// Slots of a page.
const PAGE: usize = u128::BITS as usize;

impl<K, T> Default for Page<K, T> {
    fn default() -> Self {
        Self { slots: Vec::with_capacity(PAGE), used: 0 }
    }
}

impl<K: Copy + Eq + Hash, T: Weigh, S: BuildHasher> Table<K, T, S> {
    /// What one entry takes beyond its slot: index buckets, at their sparsest.
    const INDEX_BYTES: usize = 12;

    /// An empty map of at most `max` entries that take at most `max_bytes`.
    pub(crate) fn new(max: usize, max_bytes: usize, hasher: S) -> Self {
        let max = max.min(u32::MAX as usize);
        let index = HashTable::new();
        Self { index, pages: Vec::new(), hand: 0, bytes: 0, max, max_bytes, hasher }
    }

    /// The entry, which now counts as used.
    pub(crate) fn get(&mut self, key: &K) -> Option<&mut T> {
        let at = self.find(key)?;
        let page = self.pages.get_mut(at / PAGE)?;
        page.used |= bit(at);
        page.slots.get_mut(at % PAGE).map(|slot| &mut slot.value)
    }

    /// Puts an entry in, in place of the last under this key. Where there is no room, others go.
    pub(crate) fn insert(&mut self, key: K, value: T) {
        self.remove(&key);
        let weight = Self::weight(&value);
        if self.max == 0 || weight > self.max_bytes {
            return;
        }
        while self.len() >= self.max || self.bytes + weight > self.max_bytes {
            if !self.evict() {
                break;
            }
        }
        let Ok(at) = u32::try_from(self.len()) else { return };
        let (pages, hasher) = (&self.pages, &self.hasher);
        let rehash = |at: &u32| slot(pages, *at as usize).map_or(0, |s| hasher.hash_one(s.key));
        self.index.insert_unique(hasher.hash_one(key), at, rehash);
        self.push(Slot { key, value });
        self.bytes += weight;
    }

    /// Takes an entry out, if there is one.
    pub(crate) fn remove(&mut self, key: &K) {
        if let Some(at) = self.find(key) {
            self.remove_at(at);
        }
    }

    /// Takes everything out and gives its memory back.
    pub(crate) fn clear(&mut self) {
        self.index = HashTable::new();
        self.pages = Vec::new();
        self.hand = 0;
        self.bytes = 0;
    }

    /// Entries.
    pub(crate) fn len(&self) -> usize {
        let last = self.pages.last().map_or(0, |page| page.slots.len());
        self.pages.len().saturating_sub(1) * PAGE + last
    }

    /// Bytes in use: slots, index, and what the values hold.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Every entry, in no order that means anything.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &T)> {
        self.pages.iter().flat_map(|page| &page.slots).map(|slot| (&slot.key, &slot.value))
    }

    fn weight(value: &T) -> usize {
        size_of::<Slot<K, T>>() + Self::INDEX_BYTES + value.heap_bytes()
    }

    fn find(&self, key: &K) -> Option<usize> {
        if self.pages.is_empty() {
            return None;
        }
        let is_it = |at: &u32| slot(&self.pages, *at as usize).is_some_and(|slot| slot.key == *key);
        self.index.find(self.hasher.hash_one(key), is_it).map(|at| *at as usize)
    }

    fn evict(&mut self) -> bool {
        // After one turn of the hand no entry counts as used.
        for _ in 0..=self.len() {
            if self.hand >= self.len() {
                self.hand = 0;
            }
            let Some(page) = self.pages.get_mut(self.hand / PAGE) else { return false };
            if page.used & bit(self.hand) == 0 {
                return self.remove_at(self.hand);
            }
            page.used &= !bit(self.hand);
            self.hand += 1;
        }
        false
    }

    fn push(&mut self, slot: Slot<K, T>) {
        let last = self.pages.pop_if(|page| page.slots.len() < PAGE);
        let mut page = last.unwrap_or_default();
        page.slots.push(slot);
        self.pages.push(page);
    }

    /// The last slot, and whether it was in use.
    fn pop(&mut self) -> Option<(Slot<K, T>, bool)> {
        let page = self.pages.last_mut()?;
        let slot = page.slots.pop()?;
        let mask = bit(page.slots.len());
        let was_used = page.used & mask != 0;
        page.used &= !mask;
        self.pages.pop_if(|page| page.slots.is_empty());
        Some((slot, was_used))
    }

    /// Takes the slot out; the last one moves into its place.
    fn remove_at(&mut self, at: usize) -> bool {
        let Some(gone) = slot(&self.pages, at) else { return false };
        let (hash, weight) = (self.hasher.hash_one(gone.key), Self::weight(&gone.value));
        if let Ok(entry) = self.index.find_entry(hash, |index| *index as usize == at) {
            entry.remove();
        }
        self.bytes = self.bytes.saturating_sub(weight);
        let Some((moved, was_used)) = self.pop() else { return false };
        let last = self.len();
        let place = self.pages.get_mut(at / PAGE).filter(|_| at != last);
        if let (Some(page), Ok(to)) = (place, u32::try_from(at)) {
            let hash = self.hasher.hash_one(moved.key);
            if let Some(index) = self.index.find_mut(hash, |index| *index as usize == last) {
                *index = to;
            }
            page.used = if was_used { page.used | bit(at) } else { page.used & !bit(at) };
            if let Some(slot) = page.slots.get_mut(at % PAGE) {
                *slot = moved;
            }
        }
        true
    }
}

fn slot<K, T>(pages: &[Page<K, T>], at: usize) -> Option<&Slot<K, T>> {
    pages.get(at / PAGE)?.slots.get(at % PAGE)
}

fn bit(at: usize) -> u128 {
    1 << (at % PAGE)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::hash::{BuildHasherDefault, DefaultHasher};

    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    type Seeded = BuildHasherDefault<DefaultHasher>;

    struct Heavy(u64, usize);

    impl Weigh for Heavy {
        fn heap_bytes(&self) -> usize {
            self.1
        }
    }

    #[test]
    fn it_holds_what_a_plain_map_holds_but_for_what_it_evicted() {
        /// Three pages, and a part of a fourth.
        const MOST: usize = 400;
        let mut rng = SmallRng::seed_from_u64(1);
        let mut table = Table::new(MOST, MOST * 200, Seeded::default());
        let mut plain = BTreeMap::new();
        for step in 0..200_000_u64 {
            let key: u32 = rng.random_range(0..1_000);
            match rng.random_range(0..10) {
                0..5 => {
                    table.insert(key, Heavy(step, rng.random_range(0..300)));
                    plain.insert(key, step);
                }
                5..7 => {
                    table.remove(&key);
                    plain.remove(&key);
                }
                _ => {
                    if let Some(found) = table.get(&key) {
                        assert_eq!(plain.get(&key), Some(&found.0));
                    }
                }
            }
            assert!(table.len() <= MOST && table.bytes() <= MOST * 200);
            if step % 50 == 0 {
                assert!(table.iter().all(|(key, value)| plain.get(key) == Some(&value.0)));
                assert_eq!(table.iter().count(), table.len());
                assert_eq!(table.index.len(), table.len());
                let last = table.pages.last().map_or(0, |page| page.used >> (page.slots.len() - 1));
                assert!(last < 2, "a slot that is not there is not in use");
            }
        }
        let weight: usize = table.iter().map(|(_, v)| Table::<u32, Heavy, Seeded>::weight(v)).sum();
        assert_eq!(table.bytes(), weight);
    }

    /// Whether each of these is there, when three were put in, `used` looked up, the first taken out, and two more
    /// put in.
    fn after_one_of_three_goes(used: &[char]) -> [bool; 4] {
        let mut table = Table::new(3, usize::MAX, Seeded::default());
        let insert = |table: &mut Table<char, Heavy, Seeded>, key| table.insert(key, Heavy(0, 0));
        for key in ['a', 'b', 'c'] {
            insert(&mut table, key);
        }
        for key in used {
            assert!(table.get(key).is_some());
        }
        table.remove(&'a');
        for key in ['d', 'e'] {
            insert(&mut table, key);
        }
        ['b', 'c', 'd', 'e'].map(|key| table.get(&key).is_some())
    }

    #[test]
    fn an_entry_that_moves_is_in_use_as_it_was() {
        // The last moves into the first one's place, where the hand is.
        assert_eq!(after_one_of_three_goes(&[]), [true, false, true, true]);
        assert_eq!(after_one_of_three_goes(&['a']), [true, false, true, true]);
        assert_eq!(after_one_of_three_goes(&['c']), [false, true, true, true]);
        assert_eq!(after_one_of_three_goes(&['a', 'c']), [false, true, true, true]);
        assert_eq!(after_one_of_three_goes(&['a', 'b']), [true, false, true, true]);
    }

    #[test]
    fn what_fits_exactly_is_kept_and_what_never_fits_is_not() {
        type Small = Table<u32, Heavy, Seeded>;
        let weight = Small::weight(&Heavy(0, 8));
        assert_eq!(weight, size_of::<Slot<u32, Heavy>>() + 12 + 8);
        for (max, max_bytes, kept) in [
            (9, weight, 1),
            (9, weight - 1, 0),
            (9, 3 * weight, 3),
            (9, 3 * weight - 1, 2),
            (0, 999, 0),
        ] {
            let mut table = Small::new(max, max_bytes, Seeded::default());
            for key in 0..5 {
                table.insert(key, Heavy(0, 8));
            }
            assert_eq!((table.len(), table.bytes()), (kept, kept * weight), "{max_bytes}");
            table.clear();
            assert_eq!((table.len(), table.bytes()), (0, 0));
        }
    }

    #[test]
    fn a_heavy_entry_takes_the_place_of_as_many_as_it_needs() {
        type Small = Table<u32, Heavy, Seeded>;
        let light = Small::weight(&Heavy(0, 0));
        let mut table = Small::new(9, 5 * light, Seeded::default());
        for key in 0..5 {
            table.insert(key, Heavy(0, 0));
        }
        table.insert(9, Heavy(0, 2 * light));
        assert!(table.get(&9).is_some());
        assert_eq!((table.len(), table.bytes()), (3, 5 * light));
    }

    #[test]
    fn an_entry_in_use_outlives_a_flood() {
        let mut table = Table::new(400, usize::MAX, Seeded::default());
        for key in 0..200 {
            table.insert(key, Heavy(0, 0));
        }
        for flood in 1_000..100_000_u32 {
            table.insert(flood, Heavy(0, 0));
            assert!(table.get(&(flood % 200)).is_some(), "{flood}");
        }
    }
}
