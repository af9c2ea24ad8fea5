//! The variables of the memory.

use latchkey_revocation::bounds::Settings;
use latchkey_revocation::config as revocation;
use latchkey_revocation::{Bounds, BoundsError, Capacity};
use latchkey_runtime::config::{Number, Preset, Switch};
use latchkey_runtime::{ConfigError, Environment, Table, Variable};

/// Whether verdicts are remembered.
pub const CACHE: Variable<Switch> = Variable {
    name: "CACHE",
    kind: Switch,
    default: Preset::Value("on"),
    help: "verdicts are remembered under a lease; `off` asks for each request",
};
/// How many.
pub const CACHE_ENTRIES: Variable<Number<usize>> = Variable {
    name: "CACHE_ENTRIES",
    kind: Number { min: 64, max: 100_000_000, note: "" },
    default: Preset::Value("1000000"),
    help: "credentials of each kind that are remembered at most",
};
/// How much memory they take.
pub const CACHE_MIB: Variable<Number<usize>> = Variable {
    name: "CACHE_MIB",
    kind: Number { min: 1, max: 65_536, note: "" },
    default: Preset::Value("192"),
    help: "memory for remembered credentials of each kind at most, in MiB",
};

/// The fault tests' own: with it answers are used without a lease, and they must notice.
#[cfg(debug_assertions)]
const TEST_WITHOUT_LEASE: Variable<Switch> = Variable {
    name: "LATCHKEY_TEST_WITHOUT_LEASE",
    kind: Switch,
    default: Preset::Value("off"),
    help: "answers are used without a lease: wrong, and not in release builds",
};

/// The memory's variables.
#[must_use]
pub fn table() -> Table {
    Table::new("Memory", &[&CACHE, &CACHE_ENTRIES, &CACHE_MIB])
}

/// What is remembered.
#[derive(Clone, Copy, Debug)]
pub struct MemoryConfig {
    /// Whether anything is.
    pub enabled: bool,
    /// Lease and renewal.
    pub bounds: Bounds,
    /// How much at most, of each kind of credential.
    pub capacity: Capacity,
    /// Whether it is used without a lease, which is wrong. Not in release builds.
    #[cfg(debug_assertions)]
    pub without_lease: bool,
}

impl MemoryConfig {
    /// A memory of so many credentials of each kind, in so many bytes, under a lease of so many
    /// milliseconds.
    ///
    /// # Errors
    /// [`BoundsError`] where the lease is too short or too long to be of use.
    pub fn new(lease: u64, entries: usize, bytes: usize) -> Result<Self, BoundsError> {
        // Only whoever revokes waits, or has to reckon with other clocks.
        let wait = lease.saturating_add(Bounds::MIN_MARGIN);
        let times = Settings { lease, renewal: (lease / 4).max(1), wait, drift: 0 };
        Ok(Self {
            enabled: true,
            bounds: Bounds::new(times)?,
            capacity: Capacity { entries, bytes, ..Capacity::default() },
            #[cfg(debug_assertions)]
            without_lease: false,
        })
    }

    /// Reads the variables.
    ///
    /// # Errors
    /// [`ConfigError`] names the first variable that cannot be used.
    pub fn read(environment: &Environment) -> Result<Self, ConfigError> {
        let (entries, mebibytes) =
            (environment.read(&CACHE_ENTRIES)?, environment.read(&CACHE_MIB)?);
        Ok(Self {
            enabled: environment.read(&CACHE)?,
            bounds: revocation::bounds(environment)?,
            capacity: Capacity { entries, bytes: mebibytes << 20, ..Capacity::default() },
            #[cfg(debug_assertions)]
            without_lease: environment.read(&TEST_WITHOUT_LEASE)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[(&str, &str)]) -> Result<MemoryConfig, ConfigError> {
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        MemoryConfig::read(&Environment::of(values))
    }

    #[test]
    fn what_is_not_said_is_as_usual_and_what_is_said_is_taken() {
        let usual = read(&[]).unwrap();
        assert!(usual.enabled && !usual.without_lease);
        assert_eq!((usual.capacity, usual.bounds), (Capacity::default(), Bounds::default()));
        let said = [("CACHE", "off"), ("CACHE_ENTRIES", "100"), ("CACHE_MIB", "3")];
        let said = read(&said).unwrap();
        let capacity = Capacity { entries: 100, bytes: 3 * 1_024 * 1_024, ..Capacity::default() };
        assert_eq!((said.enabled, said.capacity), (false, capacity));
        for wrong in [("CACHE_ENTRIES", "63"), ("CACHE_MIB", "0"), ("CACHE_MIB", "65537")] {
            assert!(read(&[wrong]).is_err(), "{wrong:?}");
        }
    }
}
