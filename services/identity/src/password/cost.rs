//! What a hash costs, and which costs the accounts' hashes have.
//!
//! After a change of settings the accounts' hashes are of two costs, and whoever has not logged in since has
//! the old one. So that the time of a refused login tells nothing, each pays every cost that is in use,
//! whoever's name it gives: an account's own hash, and one for nobody at each other cost.

use std::sync::{Arc, PoisonError, RwLock};

use argon2::{Algorithm, Argon2, Params, PasswordHash, Version};

use super::{Config, HashError};

/// KiB that one hash takes at most, whatever is stored: the most that can be configured.
pub const MAX_MEMORY_KIB: u32 = 1_048_576;
/// Costs that a login pays at most: the configured one and those of some changes before it.
const MAX_COSTS: usize = 4;

/// All that decides how long a hash takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cost {
    algorithm: Algorithm,
    version: Version,
    memory_kib: u32,
    iterations: u32,
    lanes: u32,
}

/// The costs that a login pays. Clones are of the same.
#[derive(Clone, Debug)]
pub(crate) struct Costs {
    configured: Cost,
    known: Arc<RwLock<Arc<[Cost]>>>,
}

impl Cost {
    /// The configured one.
    pub(super) fn configured(config: &Config) -> Self {
        Self {
            algorithm: Algorithm::Argon2id,
            version: Version::V0x13,
            memory_kib: config.memory_kib,
            iterations: config.iterations,
            lanes: config.parallelism,
        }
    }

    /// The one that a stored hash was made at.
    ///
    /// # Errors
    /// [`HashError`] where it is none of argon2's.
    pub(super) fn of(stored: &PasswordHash) -> Result<Self, HashError> {
        let params = Params::try_from(stored).map_err(HashError::new)?;
        let version = stored.version.map(Version::try_from).transpose().map_err(HashError::new)?;
        Ok(Self {
            algorithm: Algorithm::try_from(stored.algorithm.as_str()).map_err(HashError::new)?,
            version: version.unwrap_or_default(),
            memory_kib: params.m_cost(),
            iterations: params.t_cost(),
            lanes: params.p_cost(),
        })
    }

    /// The one that a hash begins with: `$argon2id$v=19$m=19456,t=2,p=1`.
    fn read(text: &str) -> Result<Self, HashError> {
        Self::of(&PasswordHash::new(text).map_err(HashError::new)?)
    }

    /// What makes hashes of so many bytes at this cost.
    ///
    /// # Errors
    /// [`HashError`] where argon2 does not take it, or it takes more memory than any that can be configured.
    pub(super) fn hasher(self, length: usize) -> Result<Argon2<'static>, HashError> {
        if self.memory_kib > MAX_MEMORY_KIB {
            return Err(HashError(format!("{} KiB for one hash are too many", self.memory_kib)));
        }
        let params = Params::new(self.memory_kib, self.iterations, self.lanes, Some(length))
            .map_err(HashError::new)?;
        Ok(Argon2::new(self.algorithm, self.version, params))
    }
}

impl Costs {
    /// The configured cost alone.
    pub(super) fn new(configured: Cost) -> Self {
        Self { configured, known: Arc::new(RwLock::new(Arc::new([configured]))) }
    }

    /// The configured one.
    pub(super) fn configured(&self) -> Cost {
        self.configured
    }

    /// All of them, in the order in which each login pays them.
    #[expect(clippy::disallowed_methods, reason = "each change is one assignment")]
    pub(super) fn known(&self) -> Arc<[Cost]> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has logins pay `cost` from now on too.
    pub(super) fn learn(&self, cost: Cost) {
        if self.known().contains(&cost) {
            return;
        }
        #[expect(clippy::disallowed_methods, reason = "each change is one assignment")]
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() < MAX_COSTS && !known.contains(&cost) {
            *known = known.iter().copied().chain([cost]).collect();
        }
    }

    /// Has logins pay the configured cost and those that these hashes begin with, and no other.
    #[expect(clippy::disallowed_methods, reason = "each change is one assignment")]
    pub(crate) fn set(&self, beginnings: &[String]) {
        let mut all = vec![self.configured];
        for beginning in beginnings {
            match Cost::read(beginning) {
                Ok(cost) if all.contains(&cost) => {}
                Ok(cost) if all.len() < MAX_COSTS => all.push(cost),
                Ok(_) => tracing::warn!(
                    max = MAX_COSTS,
                    "the stored password hashes have more different costs than a login pays: the time of a refused login may tell which names have an account"
                ),
                Err(error) => tracing::warn!(%error, "some password hashes cannot be read"),
            }
        }
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = all.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs() -> Costs {
        let config = Config { memory_kib: 19_456, iterations: 2, parallelism: 1 };
        Costs::new(Cost::configured(&config))
    }

    #[test]
    fn what_stored_hashes_cost_is_paid_beside_the_configured_cost() {
        let costs = costs();
        assert_eq!(costs.known().len(), 1);
        let stored =
            ["$argon2id$v=19$m=19456,t=2,p=1", "$argon2id$v=19$m=8192,t=1,p=1", "nonsense"];
        costs.set(&stored.map(str::to_owned));
        let known = costs.known();
        assert_eq!(known.len(), 2);
        assert_eq!((known[1].memory_kib, known[1].iterations, known[1].lanes), (8_192, 1, 1));
        // When the last old hash was renewed, nobody pays for it any more.
        costs.set(&[]);
        assert_eq!(*costs.known(), [costs.configured()]);
    }

    #[test]
    fn a_cost_that_is_met_is_paid_from_then_on_up_to_a_bound() {
        let costs = costs();
        for iterations in 2..12 {
            costs.learn(Cost { iterations, ..costs.configured() });
        }
        assert_eq!(costs.known().len(), MAX_COSTS);
        assert_eq!(
            costs.known()[..2],
            [2, 3].map(|n| Cost { iterations: n, ..costs.configured() })
        );
    }

    #[test]
    fn a_hash_that_would_take_all_memory_is_not_made() {
        let huge = Cost { memory_kib: MAX_MEMORY_KIB + 1, ..costs().configured() };
        assert!(huge.hasher(32).is_err());
        assert!(costs().configured().hasher(32).is_ok());
    }
}
