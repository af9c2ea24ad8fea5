//! The variables of exact revocation. They must be the same for every process of a cluster; a set that
//! would break the guarantee is refused at the start, and an edge with a longer lease is not taken in.

use latchkey_runtime::{ConfigError, Environment, Variable};

use crate::bounds::{Bounds, BoundsError, Settings as Times};

/// The longest lease, and the longest wait, in milliseconds: whoever revokes waits for the answer no longer
/// than `CHANGE_TIMEOUT` in the contract.
const MAX_LEASE: u64 = 7_000;
const MAX_WAIT: u64 = 8_000;

/// How long an edge relies on an answer.
pub const LEASE_MS: Variable = Variable {
    name: "LEASE_MS",
    default: "2000",
    help: "how long an edge may rely on an answer without hearing from its authority, in ms",
    accepted: "a whole number from 20 to 7000, the same for every process",
};
/// How often it renews.
pub const RENEWAL_MS: Variable = Variable {
    name: "RENEWAL_MS",
    default: "a quarter of LEASE_MS",
    help: "how often an edge renews its lease, in ms",
    accepted: "a whole number from 1 to half of LEASE_MS",
};
/// How long a revoke waits at most.
pub const REVOKE_WAIT_MS: Variable = Variable {
    name: "REVOKE_WAIT_MS",
    default: "LEASE_MS and a tenth, at least 50 ms more than the clocks demand",
    help: "how long a revoke waits for edges that do not confirm, in ms",
    accepted: "at least LEASE_MS * (1 + drift) / (1 - drift) + 50, at most 8000",
};
/// How far clocks may drift.
pub const CLOCK_DRIFT: Variable = Variable {
    name: "CLOCK_DRIFT",
    default: "10",
    help: "how far the rate of a machine's clock may be off, in thousandths",
    accepted: "a whole number from 0 to 100",
};
/// Whether a revoke may return before the whole wait.
pub const REVOKE_EARLY: Variable = Variable {
    name: "REVOKE_EARLY",
    default: "on",
    help: "a revoke returns as soon as every edge has confirmed; `off` always waits REVOKE_WAIT_MS",
    accepted: "on, off",
};

/// The variables of an authority.
pub const VARIABLES: &[&Variable] =
    &[&LEASE_MS, &RENEWAL_MS, &REVOKE_WAIT_MS, &CLOCK_DRIFT, &REVOKE_EARLY];

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
        let early = environment.switch(&REVOKE_EARLY, true)?;
        Ok(Self { bounds: bounds(environment)?, early })
    }
}

/// Lease, renewal and wait, checked against each other.
///
/// # Errors
/// [`ConfigError`] names the variable whose value breaks the proof.
pub fn bounds(environment: &Environment) -> Result<Bounds, ConfigError> {
    let lease = environment.number(&LEASE_MS, 2_000, Bounds::MIN_LEASE, MAX_LEASE)?;
    let drift = environment.number(&CLOCK_DRIFT, 10, 0, Bounds::MAX_DRIFT)?;
    let renewal = environment.number(&RENEWAL_MS, (lease / 4).max(1), 1, lease / 2)?;
    let shortest = (lease * (1_000 + drift)).div_ceil(1_000 - drift) + Bounds::MIN_MARGIN;
    let usual = shortest.max(lease + lease / 10);
    let wait = environment.number(&REVOKE_WAIT_MS, usual, 1, MAX_WAIT)?;
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
