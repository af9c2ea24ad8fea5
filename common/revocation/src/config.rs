//! The variables of exact revocation. They must be the same for every process of a cluster; a set that
//! would break the guarantee is refused at the start, and an edge with a longer lease is not taken in.

use latchkey_runtime::config::{Number, Preset, Switch};
use latchkey_runtime::{ConfigError, Environment, Table, Variable};

use crate::bounds::{Bounds, BoundsError, Settings as Times};

/// The longest lease in milliseconds. It and the longest wait: whoever revokes waits for the answer no longer than
/// `CHANGE_TIMEOUT` in the contract.
const MAX_LEASE: u64 = 7_000;
/// The longest wait in milliseconds: whoever waits so long need not know how processes are configured.
pub const MAX_WAIT: u64 = 8_000;

/// How long an edge relies on an answer.
pub const LEASE_MS: Variable<Number<u64>> = Variable {
    name: "LEASE_MS",
    kind: Number { min: Bounds::MIN_LEASE, max: MAX_LEASE, note: "the same for every process" },
    default: Preset::Value("2000"),
    help: "how long an edge may rely on an answer without hearing from its authority, in ms",
};
/// How often it renews.
pub const RENEWAL_MS: Variable<Number<u64>> = Variable {
    name: "RENEWAL_MS",
    kind: Number { min: 1, max: MAX_LEASE / 2, note: "at most half of LEASE_MS" },
    default: Preset::Described("a quarter of LEASE_MS"),
    help: "how often an edge renews its lease, in ms",
};
/// How long a revoke waits at most.
pub const REVOKE_WAIT_MS: Variable<Number<u64>> = Variable {
    name: "REVOKE_WAIT_MS",
    kind: Number {
        min: 1,
        max: MAX_WAIT,
        note: "at least LEASE_MS * (1 + drift) / (1 - drift) + 50",
    },
    default: Preset::Described("LEASE_MS and a tenth, at least 50 ms more than the clocks demand"),
    help: "how long a revoke waits for edges that do not confirm, in ms",
};
/// How far clocks may drift.
pub const CLOCK_DRIFT: Variable<Number<u64>> = Variable {
    name: "CLOCK_DRIFT",
    kind: Number { min: 0, max: Bounds::MAX_DRIFT, note: "" },
    default: Preset::Value("10"),
    help: "how far the rate of a machine's clock may be off, in thousandths",
};
/// Whether a revoke may return before the whole wait.
pub const REVOKE_EARLY: Variable<Switch> = Variable {
    name: "REVOKE_EARLY",
    kind: Switch,
    default: Preset::Value("on"),
    help: "a revoke returns as soon as every edge has confirmed; `off` always waits REVOKE_WAIT_MS",
};

const TITLE: &str = "Exact revocation";

/// The variables of an authority.
#[must_use]
pub fn table() -> Table {
    Table::new(TITLE, &[&LEASE_MS, &RENEWAL_MS, &REVOKE_WAIT_MS, &CLOCK_DRIFT, &REVOKE_EARLY])
}

/// The variables of an edge.
#[must_use]
pub fn table_of_bounds() -> Table {
    Table::new(TITLE, &[&LEASE_MS, &RENEWAL_MS, &REVOKE_WAIT_MS, &CLOCK_DRIFT])
}

/// How an authority waits.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Lease, renewal and wait.
    pub bounds: Bounds,
    /// Whether a revoke may return before the whole wait.
    pub early: bool,
}

impl Settings {
    /// Reads the variables.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable whose value breaks the proof.
    pub fn read(environment: &Environment) -> Result<Self, ConfigError> {
        let early = environment.read(&REVOKE_EARLY)?;
        Ok(Self { bounds: bounds(environment)?, early })
    }
}

/// Lease, renewal and wait, checked against each other.
///
/// # Errors
/// [`ConfigError`] names the variable whose value breaks the proof.
pub fn bounds(environment: &Environment) -> Result<Bounds, ConfigError> {
    let (lease, drift) = (environment.read(&LEASE_MS)?, environment.read(&CLOCK_DRIFT)?);
    let renewal = environment.find(&RENEWAL_MS)?.unwrap_or((lease / 4).max(1));
    if renewal > lease / 2 {
        let fault = format!("\"{renewal}\" cannot be used with LEASE_MS={lease}");
        return Err(RENEWAL_MS.wrong(fault));
    }
    let shortest = (lease * (1_000 + drift)).div_ceil(1_000 - drift) + Bounds::MIN_MARGIN;
    let usual = shortest.max(lease + lease / 10);
    let wait = environment.find(&REVOKE_WAIT_MS)?.unwrap_or(usual);
    if wait > MAX_WAIT {
        let fault = format!(
            "a lease of {lease} ms and a drift of {drift} thousandths demand a wait of {wait} ms, \
             and nobody waits for longer than {MAX_WAIT} ms"
        );
        return Err(LEASE_MS.wrong(fault));
    }
    Bounds::new(Times { lease, renewal, wait, drift }).map_err(|error| {
        let variable = match error {
            BoundsError::Drift => &CLOCK_DRIFT,
            BoundsError::Lease => &LEASE_MS,
            BoundsError::Renewal => &RENEWAL_MS,
            BoundsError::WaitTooShort { .. } | BoundsError::WaitTooLong => &REVOKE_WAIT_MS,
        };
        variable.wrong(error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::Moment;

    fn read(values: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::read(&Environment::of(values))
    }

    #[test]
    fn what_is_not_said_follows_from_the_lease() {
        for (lease, renewal, wait) in
            [("2000", 500, 2_200), ("1000", 250, 1_100), ("100", 25, 153), ("7000", 1_750, 7_700)]
        {
            let settings = read(&[("LEASE_MS", lease)]).unwrap();
            let bounds = settings.bounds;
            let ms = Moment::MILLISECOND;
            assert_eq!((bounds.renewal() / ms, bounds.wait() / ms), (renewal, wait), "{lease}");
            assert_eq!(bounds.lease() / ms, lease.parse::<u64>().unwrap());
            assert!(settings.early);
        }
        assert_eq!(read(&[]).unwrap().bounds, Bounds::default());
        assert!(!read(&[("REVOKE_EARLY", "off")]).unwrap().early);
        assert!(read(&[("REVOKE_WAIT_MS", "8000")]).is_ok());
        assert!(read(&[("RENEWAL_MS", "1000")]).is_ok());
    }

    #[test]
    fn what_would_break_the_proof_is_refused_by_its_variable() {
        for (values, variable) in [
            (&[("REVOKE_WAIT_MS", "2090")][..], "REVOKE_WAIT_MS"),
            (&[("REVOKE_WAIT_MS", "8001")], "REVOKE_WAIT_MS"),
            (&[("LEASE_MS", "7000"), ("CLOCK_DRIFT", "100")], "LEASE_MS"),
            (&[("LEASE_MS", "7001")], "LEASE_MS"),
            (&[("RENEWAL_MS", "1001")], "RENEWAL_MS"),
            (&[("CLOCK_DRIFT", "101")], "CLOCK_DRIFT"),
        ] {
            let refused = read(values).unwrap_err().to_string();
            assert!(refused.contains(variable), "{values:?}: {refused}");
        }
        let refused = read(&[("RENEWAL_MS", "1001")]).unwrap_err().to_string();
        assert!(refused.contains(r#""1001" cannot be used"#), "it says which value: {refused}");
    }
}
