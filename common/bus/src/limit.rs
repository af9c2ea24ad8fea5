//! The bound on work in flight. Full means "overloaded" at once: there is no queue behind it.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many requests are worked on at the same time at most.
#[derive(Clone)]
pub struct Limit {
    permits: Arc<Semaphore>,
    max: u32,
}

/// The right to work on one request; given back when dropped.
pub struct Permit {
    _held: OwnedSemaphorePermit,
}

impl Limit {
    /// A bound of `max` requests at the same time.
    #[must_use]
    pub fn new(max: u32) -> Self {
        Self { permits: Arc::new(Semaphore::new(max as usize)), max }
    }

    /// How many permits there are.
    #[must_use]
    pub fn max(&self) -> u32 {
        self.max
    }

    /// How many permits are taken at this moment.
    #[must_use]
    pub fn taken(&self) -> u32 {
        let free = u32::try_from(self.permits.available_permits()).unwrap_or(u32::MAX);
        self.max.saturating_sub(free)
    }

    /// A permit, or `None` at once where all are taken.
    #[must_use]
    pub fn try_enter(&self) -> Option<Permit> {
        let held = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        Some(Permit { _held: held })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_limit_refuses_at_once_and_a_returned_permit_counts_again() {
        let limit = Limit::new(2);
        let first = limit.try_enter();
        let second = limit.try_enter();
        assert!(first.is_some() && second.is_some());
        assert!(limit.try_enter().is_none());
        assert_eq!((limit.taken(), limit.max()), (2, 2));
        drop(first);
        assert_eq!(limit.taken(), 1);
        assert!(limit.try_enter().is_some());
    }
}
