//! One value for all that were granted the same: most keys of an installation hold one of a handful of sets of scopes.
//! Answers are passed through here once, when they arrive; what is remembered is not looked at again.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, Weak};

use latchkey_contract::Grants;
use latchkey_runtime::lock::lock_or_begin_anew;
use smol_str::SmolStr;

/// Values that are known at most; a further one is everybody's own.
const MAX: usize = 65_536;
/// Values that come before those that nobody holds any more are looked for.
const FEW: usize = 64;
/// Who holds a value before the next one is not charged for it. An entry that was not charged may be the last to hold it:
/// so whoever wants to take more memory than is counted has to fill in this many that are.
const CHARGED: usize = 8;

/// The values that somebody holds.
#[derive(Default)]
pub(crate) struct Interner(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// By its hash, which nobody else can foresee. Of two with one hash the last is known.
    values: HashMap<u64, Weak<Grants>>,
    hashes: RandomState,
    /// How many there were when they were last looked through.
    held: usize,
    /// How many came since that were not known.
    since: usize,
}

impl Interner {
    /// The same value, as others hold it, if they do; and the bytes of the heap that whoever holds it now is charged for.
    pub(crate) fn share(&self, grants: Arc<Grants>) -> (Arc<Grants>, usize) {
        let mut known = lock_or_begin_anew(&self.0, "what credentials were granted", |known| {
            known.values.clear();
        });
        let shared = known.share(grants);
        drop(known);
        let is_charged = Arc::strong_count(&shared) <= CHARGED;
        let bytes = if is_charged { heap_bytes(&shared) } else { 0 };
        (shared, bytes)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.lock().unwrap().values.len()
    }
}

impl Known {
    fn share(&mut self, grants: Arc<Grants>) -> Arc<Grants> {
        let hash = self.hashes.hash_one(&*grants);
        if let Some(held) = self.values.get(&hash).and_then(Weak::upgrade)
            && held == grants
        {
            return held;
        }
        self.since += 1;
        // So whoever comes pays for a look or two, however many are known.
        if self.since > self.held.max(FEW) {
            self.values.retain(|_, value| value.strong_count() > 0);
            self.values.shrink_to(FEW);
            (self.held, self.since) = (self.values.len(), 0);
        }
        if self.values.len() < MAX {
            self.values.insert(hash, Arc::downgrade(&grants));
        }
        grants
    }
}

/// What it takes on the heap, with the two counters before it.
fn heap_bytes(grants: &Grants) -> usize {
    let texts = [&grants.environment, &grants.external_id].into_iter().flatten();
    let texts = texts.filter(|text| text.is_heap_allocated()).map(SmolStr::len);
    2 * size_of::<usize>()
        + size_of::<Grants>()
        + grants.scopes.as_text().len()
        + grants.metadata.as_text().len()
        + grants.allowed_ips.heap_bytes()
        + texts.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use latchkey_contract::AllowedIps;
    use latchkey_contract::scope::Scopes;

    use super::*;

    fn of(scopes: &str) -> Arc<Grants> {
        Arc::new(Grants { scopes: Scopes::parse(scopes).unwrap(), ..Grants::default() })
    }

    #[test]
    fn who_was_granted_the_same_holds_the_same_value_and_nobody_else_does() {
        let known = Interner::default();
        let (one, _) = known.share(of("orders:read"));
        let (same, _) = known.share(of("orders:read"));
        let (other, _) = known.share(of("orders:write"));
        let allowed_ips = AllowedIps::of(["10.0.0.0/8"]).unwrap();
        let near = Grants { allowed_ips, ..(*of("orders:read")).clone() };
        let (near, _) = known.share(Arc::new(near));
        assert!(Arc::ptr_eq(&one, &same));
        assert!(!Arc::ptr_eq(&one, &other) && !Arc::ptr_eq(&one, &near));
        assert_eq!((&*other, known.len()), (&*of("orders:write"), 3));
    }

    #[test]
    fn what_nobody_holds_any_more_is_forgotten_before_there_is_much_of_it() {
        let known = Interner::default();
        let (held, _) = known.share(of("held"));
        for number in 0..10 * FEW {
            drop(known.share(of(&number.to_string())));
            assert!(known.len() <= 2 * FEW, "{}", known.len());
        }
        let (same, _) = known.share(of("held"));
        assert!(Arc::ptr_eq(&held, &same), "it is held");
        // What is ended and comes back is a value like any other.
        let (one, _) = known.share(of("1"));
        let (same, _) = known.share(of("1"));
        assert!(Arc::ptr_eq(&one, &same));
    }

    #[test]
    fn there_are_no_more_than_so_many_whoever_holds_them() {
        let known = Interner::default();
        let held: Vec<_> = (0..MAX + FEW).map(|n| known.share(of(&n.to_string())).0).collect();
        assert_eq!(known.len(), MAX);
        let (same, bytes) = known.share(of("0"));
        assert!(Arc::ptr_eq(&held[0], &same) && bytes > 0);
        let (last, bytes) = known.share(of(&(MAX + 1).to_string()));
        assert!(!Arc::ptr_eq(&held[MAX + 1], &last) && bytes > 0, "it is its own, and charged for");
    }

    #[test]
    fn the_first_few_are_charged_for_what_they_hold_and_whoever_holds_much_for_all_of_it() {
        let known = Interner::default();
        let (short, long) =
            ("a", (0..64).map(|n| format!("{n:032}")).collect::<Vec<_>>().join(" "));
        let share = |scopes: &str| known.share(of(scopes));
        let held: Vec<_> = (0..2 * CHARGED).map(|_| share(short)).collect();
        let base = 2 * size_of::<usize>() + size_of::<Grants>();
        for (place, (_, bytes)) in held.iter().enumerate() {
            assert_eq!(*bytes, if place < CHARGED { base + 1 } else { 0 }, "{place}");
        }
        assert_eq!(share(&long).1, base + long.len());
    }
}
