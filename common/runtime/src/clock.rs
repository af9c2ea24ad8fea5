//! Time as an argument: the only file that reads the system's clocks (the one of leases through `latchkey_os`).

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where a service reads the time. Clones show the same time.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The machine's wall clock.
    #[default]
    System,
    /// A clock that a test moves, in milliseconds since 1970.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// A clock that stands at `millis` (milliseconds since 1970) until it is moved.
    #[must_use]
    pub fn manual(millis: i64) -> Self {
        Self::Manual(Arc::new(AtomicI64::new(millis)))
    }

    /// The time, in milliseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn unix_millis(&self) -> i64 {
        match self {
            Self::System => system_millis(),
            Self::Manual(millis) => millis.load(Ordering::SeqCst),
        }
    }

    /// A clock for leases, in nanoseconds since the machine started: it goes on while the machine is
    /// suspended and cannot be set. A manual clock shows the machine's too: moving the wall clock must
    /// not move a lease.
    #[must_use]
    pub fn lease_nanos(&self) -> u64 {
        u64::try_from(latchkey_os::lease_clock().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Moves a manual clock by `millis`; the system's clock stays as it is.
    pub fn advance(&self, millis: i64) {
        if let Self::Manual(now) = self {
            now.fetch_add(millis, Ordering::SeqCst);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the place where the clock is read")]
fn system_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_that_is_moved_leaves_the_clock_of_leases() {
        const HOUR: i64 = 3_600_000;
        let clock = Clock::manual(0);
        let before = clock.lease_nanos();
        for step in [HOUR, -2 * HOUR] {
            clock.advance(step);
            let since = clock.lease_nanos().checked_sub(before);
            assert!(since.is_some_and(|nanos| nanos < 3_600_000_000_000), "{since:?}");
        }
        assert!(before > 0);
    }
}
