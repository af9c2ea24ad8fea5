//! Randomness as an argument: the only file that asks for random bytes.

use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Where a service takes random bytes from: keys, session ids, salts.
#[derive(Clone, Debug, Default)]
pub enum Entropy {
    /// The operating system, through a cryptographically secure generator.
    #[default]
    System,
    /// A generator that a test can repeat.
    Seeded(Arc<Mutex<StdRng>>),
}

impl Entropy {
    /// A source that gives the same bytes for the same `seed`.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self::Seeded(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// Fills `bytes`.
    pub fn fill(&self, bytes: &mut [u8]) {
        match self {
            #[expect(clippy::disallowed_methods, reason = "this is the place that asks")]
            Self::System => rand::rng().fill_bytes(bytes),
            Self::Seeded(rng) => {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "a generator gives numbers in whatever state a panic left it"
                )]
                rng.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(bytes);
            }
        }
    }

    /// So many random bytes.
    #[must_use]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }
}
