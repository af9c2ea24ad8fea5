//! Locks that outlive a panic. What was locked may be half-written then: it is begun anew, and nobody relies on it.

use std::sync::{Mutex, MutexGuard};

/// Locks `mutex`. Where somebody panicked with the lock, `begin_anew` makes of what is there what it was at the
/// beginning, once, and one line says so.
#[expect(clippy::disallowed_methods, reason = "this is the place that makes it whole")]
pub fn lock_or_begin_anew<'a, T>(
    mutex: &'a Mutex<T>,
    what: &'static str,
    begin_anew: impl FnOnce(&mut T),
) -> MutexGuard<'a, T> {
    mutex.lock().unwrap_or_else(|poisoned| {
        let mut guard = poisoned.into_inner();
        begin_anew(&mut guard);
        mutex.clear_poison();
        tracing::error!(what, "a panic interrupted a change: what was held in memory is discarded");
        guard
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_panic_left_is_begun_anew_once() {
        let mutex = Mutex::new(vec![1]);
        let torn = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut half = mutex.lock().unwrap();
            half.push(2);
            panic!("a panic of a test");
        }));
        assert!(torn.is_err() && mutex.is_poisoned());
        lock_or_begin_anew(&mutex, "a test", Vec::clear).push(3);
        assert_eq!(*lock_or_begin_anew(&mutex, "a test", Vec::clear), [3]);
        assert!(!mutex.is_poisoned());
    }
}
