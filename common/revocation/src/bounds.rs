//! Lease, renewal and wait, and the relations between them that the proof needs.

/// A reading of a clock that goes on while the machine is suspended (`CLOCK_BOOTTIME`), in nanoseconds.
/// Readings of two processes are never compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    /// Nanoseconds in one millisecond.
    pub const MILLISECOND: u64 = 1_000_000;

    /// How long ago `earlier` was; 0 where it was not.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This moment and `span` nanoseconds.
    #[must_use]
    pub fn plus(self, span: u64) -> Self {
        Self(self.0.saturating_add(span))
    }
}

/// The times of the protocol, in nanoseconds. Every process of a cluster must be given the same ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    lease: u64,
    renewal: u64,
    wait: u64,
    repeat: u64,
}

/// What is configured, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long an edge may rely on an answer, from the moment it sent the question (L).
    pub lease: u64,
    /// How often an edge renews (R).
    pub renewal: u64,
    /// How long a revoker waits at most (W).
    pub wait: u64,
    /// How far the rate of a clock may be off, in thousandths (ρ).
    pub drift: u64,
}

/// A set of times that would break the proof, or that could not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BoundsError {
    /// The drift is no small fraction.
    #[error("the drift must be at most {max} thousandths", max = Bounds::MAX_DRIFT)]
    Drift,
    /// The lease is too short or too long to be of use.
    #[error("the lease must be {min} to {max} ms", min = Bounds::MIN_LEASE, max = Bounds::MAX_LEASE)]
    Lease,
    /// A lease would run out between two renewals.
    #[error("the renewal must be at least 1 ms and at most half of the lease")]
    Renewal,
    /// A revoke could return while an edge still relies on an older answer.
    #[error(
        "the wait must be at least lease * (1 + drift) / (1 - drift) + {} ms = {min} ms",
        Bounds::MIN_MARGIN
    )]
    WaitTooShort {
        /// The shortest wait for this lease and drift, in milliseconds.
        min: u64,
    },
    /// A revoke with a dead edge would take longer than anybody waits for an answer.
    #[error("the wait must be at most {} ms", Bounds::MAX_WAIT)]
    WaitTooLong,
}

impl Default for Settings {
    fn default() -> Self {
        Self { lease: 2_000, renewal: 500, wait: 2_200, drift: 10 }
    }
}

impl Default for Bounds {
    fn default() -> Self {
        let ms = Moment::MILLISECOND;
        Self { lease: 2_000 * ms, renewal: 500 * ms, wait: 2_200 * ms, repeat: 20 * ms }
    }
}

impl Bounds {
    /// The greatest drift, in thousandths.
    pub const MAX_DRIFT: u64 = 100;
    /// The shortest lease, in milliseconds.
    pub const MIN_LEASE: u64 = 20;
    /// The longest lease, in milliseconds.
    pub const MAX_LEASE: u64 = 60_000;
    /// What a wait is longer than the clocks alone demand, in milliseconds.
    pub const MIN_MARGIN: u64 = 50;
    /// The longest wait, in milliseconds.
    pub const MAX_WAIT: u64 = 120_000;
    /// The times between two publications of one invalidation, in milliseconds.
    const REPEAT: u64 = 20;

    /// Checks what is configured.
    ///
    /// # Errors
    /// [`BoundsError`] names the relation that does not hold.
    pub fn new(settings: Settings) -> Result<Self, BoundsError> {
        let Settings { lease, renewal, wait, drift } = settings;
        if drift > Self::MAX_DRIFT {
            return Err(BoundsError::Drift);
        }
        if !(Self::MIN_LEASE..=Self::MAX_LEASE).contains(&lease) {
            return Err(BoundsError::Lease);
        }
        if renewal == 0 || renewal > lease / 2 {
            return Err(BoundsError::Renewal);
        }
        let min = (lease * (1_000 + drift)).div_ceil(1_000 - drift) + Self::MIN_MARGIN;
        if wait < min {
            return Err(BoundsError::WaitTooShort { min });
        }
        if wait > Self::MAX_WAIT {
            return Err(BoundsError::WaitTooLong);
        }
        let ms = Moment::MILLISECOND;
        let repeat = Self::REPEAT * ms;
        Ok(Self { lease: lease * ms, renewal: renewal * ms, wait: wait * ms, repeat })
    }

    /// How long an edge may rely on an answer (L).
    #[must_use]
    pub fn lease(&self) -> u64 {
        self.lease
    }

    /// How often an edge renews (R).
    #[must_use]
    pub fn renewal(&self) -> u64 {
        self.renewal
    }

    /// How long a revoker waits at most, and a janitor before it deletes (W).
    #[must_use]
    pub fn wait(&self) -> u64 {
        self.wait
    }

    /// How often a revoker repeats an invalidation to those that are silent.
    #[must_use]
    pub fn repeat(&self) -> u64 {
        self.repeat
    }

    /// Times in the ticks of a model, unchecked.
    #[cfg(test)]
    pub(crate) fn ticks(lease: u64, wait: u64) -> Self {
        Self { lease, renewal: 1, wait, repeat: 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_pass_their_own_check() {
        let bounds = Bounds::default();
        assert_eq!(Bounds::new(Settings::default()), Ok(bounds));
        let times = [bounds.lease(), bounds.renewal(), bounds.wait(), bounds.repeat()];
        let ms = times.map(|time| time / Moment::MILLISECOND);
        assert_eq!(ms, [2_000, 500, 2_200, 20]);
        assert_eq!((Moment(3).plus(4), Moment(7).since(Moment(3))), (Moment(7), 4));
        assert_eq!(Moment(3).since(Moment(7)), 0);
    }

    #[test]
    fn each_set_that_breaks_a_relation_is_refused_by_its_name() {
        let good = Settings::default();
        let cases = [
            (Settings { drift: 101, ..good }, BoundsError::Drift),
            (Settings { lease: 19, renewal: 1, ..good }, BoundsError::Lease),
            (Settings { lease: 60_001, ..good }, BoundsError::Lease),
            (Settings { renewal: 0, ..good }, BoundsError::Renewal),
            (Settings { renewal: 1_001, ..good }, BoundsError::Renewal),
            (Settings { wait: 2_090, ..good }, BoundsError::WaitTooShort { min: 2_091 }),
            (Settings { wait: 1_000, ..good }, BoundsError::WaitTooShort { min: 2_091 }),
            (Settings { wait: 120_001, ..good }, BoundsError::WaitTooLong),
        ];
        for (settings, error) in cases {
            assert_eq!(Bounds::new(settings), Err(error), "{settings:?}");
        }
        assert!(Bounds::new(Settings { wait: 2_091, ..good }).is_ok());
    }
}
