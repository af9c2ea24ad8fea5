//! Makes and checks hashes, in memory that the caller keeps.

use std::hint::black_box;

use argon2::password_hash::phc::{Output, ParamsString, Salt};
use argon2::{Argon2, Block, PasswordHash};
use latchkey_contract::Secret;
use latchkey_runtime::Entropy;

use super::cost::{Cost, Costs};
use super::{Checked, HashError};

/// Bytes of a salt (RFC 9106 §3.1).
const SALT_LENGTH: usize = 16;
/// Bytes of a hash.
const HASH_LENGTH: usize = 32;
/// Blocks (KiB) that are asked of the system at least. glibc gives a piece of its own only for what is larger
/// than 32 MiB, and only such a piece goes back to the system when it is freed, whatever was freed before. What
/// is asked for and not written takes no memory.
const OWN_PIECE: usize = 33 * 1_024;

/// Does the work; shared by the workers.
pub(super) struct Hasher {
    pub(super) costs: Costs,
    entropy: Entropy,
}

/// One worker's memory for hashes, kept from one to the next.
#[derive(Default)]
pub(super) struct Memory {
    blocks: Vec<Block>,
}

impl Memory {
    fn blocks(&mut self, count: usize) -> Result<&mut [Block], HashError> {
        if self.blocks.len() < count {
            // Anew: growing would hold the old memory beside the new one.
            self.give_back();
            let mut blocks = Vec::new();
            blocks.try_reserve_exact(count.max(OWN_PIECE)).map_err(HashError::new)?;
            blocks.resize(count, Block::new());
            self.blocks = blocks;
        }
        Ok(&mut self.blocks[..count])
    }

    /// Where it is.
    #[cfg(test)]
    pub(super) fn place(&self) -> usize {
        self.blocks.as_ptr().addr()
    }

    /// Gives the memory back to the system.
    pub(super) fn give_back(&mut self) {
        self.blocks = Vec::new();
    }
}

impl Hasher {
    pub(super) fn new(costs: Costs, entropy: Entropy) -> Result<Self, HashError> {
        // Whether argon2 takes what is configured.
        costs.configured().hasher(HASH_LENGTH)?;
        Ok(Self { costs, entropy })
    }

    /// A PHC string for a new password, at the configured cost.
    pub(super) fn hash(&self, password: &Secret, memory: &mut Memory) -> Result<String, HashError> {
        let argon2 = self.costs.configured().hasher(HASH_LENGTH)?;
        let salt = Salt::new(&self.salt()).map_err(HashError::new)?;
        let mut hash = [0; HASH_LENGTH];
        fill(&argon2, password, &salt, &mut hash, memory)?;
        let hash = PasswordHash {
            algorithm: argon2::ARGON2ID_IDENT,
            version: Some(argon2::Version::V0x13.into()),
            params: ParamsString::try_from(argon2.params()).map_err(HashError::new)?,
            salt: Some(salt),
            hash: Some(Output::new(&hash).map_err(HashError::new)?),
        };
        Ok(hash.to_string())
    }

    /// Whether a password is the one of a stored hash.
    pub(super) fn check(
        &self,
        password: &Secret,
        stored: &str,
        memory: &mut Memory,
    ) -> Result<Checked, HashError> {
        let stored = PasswordHash::new(stored).map_err(HashError::new)?;
        let cost = Cost::of(&stored)?;
        let right = matches(cost, password, &stored, memory)?;
        Ok(Checked { right, outdated: cost != self.costs.configured() })
    }

    /// The same for a name that may be nobody's: it takes as long for every name.
    pub(super) fn check_anybody(
        &self,
        password: &Secret,
        stored: Option<&str>,
        memory: &mut Memory,
    ) -> Result<Checked, HashError> {
        let stored = stored.map(PasswordHash::new).transpose().map_err(HashError::new)?;
        let mut own = stored.as_ref().map(Cost::of).transpose()?;
        if let Some(cost) = own {
            self.costs.learn(cost);
        }
        let outdated = own.is_some_and(|cost| cost != self.costs.configured());
        let mut right = false;
        for cost in self.costs.known().iter() {
            match &stored {
                Some(stored) if own == Some(*cost) => {
                    right = matches(*cost, password, stored, memory)?;
                    own = None;
                }
                _ => {
                    let mut hash = [0; HASH_LENGTH];
                    let argon2 = cost.hasher(HASH_LENGTH)?;
                    fill(&argon2, password, &self.salt(), &mut hash, memory)?;
                    black_box(hash);
                }
            }
        }
        // One more than are remembered.
        if let (Some(cost), Some(stored)) = (own, &stored) {
            right = matches(cost, password, stored, memory)?;
        }
        Ok(Checked { right, outdated })
    }

    fn salt(&self) -> [u8; SALT_LENGTH] {
        self.entropy.bytes()
    }
}

/// Makes the same hash again and compares, in constant time.
fn matches(
    cost: Cost,
    password: &Secret,
    stored: &PasswordHash,
    memory: &mut Memory,
) -> Result<bool, HashError> {
    let (Some(salt), Some(expected)) = (&stored.salt, &stored.hash) else {
        return Err(HashError("a hash without its salt or its end".to_owned()));
    };
    let mut room = [0; Output::MAX_LENGTH];
    let made = room.get_mut(..expected.len()).unwrap_or_default();
    fill(&cost.hasher(expected.len())?, password, salt, made, memory)?;
    Ok(Output::new(made).map_err(HashError::new)? == *expected)
}

fn fill(
    argon2: &Argon2<'_>,
    password: &Secret,
    salt: &[u8],
    hash: &mut [u8],
    memory: &mut Memory,
) -> Result<(), HashError> {
    let blocks = memory.blocks(argon2.params().block_count())?;
    let password = password.expose().as_bytes();
    argon2.hash_password_into_with_memory(password, salt, hash, blocks).map_err(HashError::new)
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
    use argon2::{Algorithm, Params, Version};

    use super::*;
    use crate::password::Config;

    fn hasher(memory_kib: u32, iterations: u32) -> Hasher {
        let config = Config { memory_kib, iterations, parallelism: 1 };
        Hasher::new(Costs::new(Cost::configured(&config)), Entropy::System).unwrap()
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn its_hashes_are_those_of_the_library_and_the_other_way_round() {
        let (hasher, mut memory) = (hasher(1_024, 2), Memory::default());
        let hash = hasher.hash(&secret("correct horse"), &mut memory).unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=1024,t=2,p=1$"), "{hash}");
        assert!(Argon2::default().verify_password(b"correct horse", hash.as_str()).is_ok());
        assert!(Argon2::default().verify_password(b"another", hash.as_str()).is_err());
        // Kinds, versions, sizes and lanes that others chose, after each other in the same memory.
        for (algorithm, version, params) in [
            (Algorithm::Argon2id, Version::V0x13, Params::new(2_048, 1, 1, None).unwrap()),
            (Algorithm::Argon2i, Version::V0x10, Params::new(64, 3, 2, Some(16)).unwrap()),
            (Algorithm::Argon2d, Version::V0x13, Params::new(512, 1, 4, Some(64)).unwrap()),
        ] {
            let library = Argon2::new(algorithm, version, params);
            let hash: PasswordHash =
                library.hash_password_with_salt(b"pass", b"another salt").unwrap();
            let hash = hash.to_string();
            for (password, right) in [("pass", true), ("Pass", false), ("", false)] {
                let expected = Checked { right, outdated: true };
                let password = secret(password);
                assert_eq!(hasher.check(&password, &hash, &mut memory).unwrap(), expected);
                let checked = hasher.check_anybody(&password, Some(&hash), &mut memory);
                assert_eq!(checked.unwrap(), expected);
            }
        }
        assert!(!hasher.check_anybody(&secret("pass"), None, &mut memory).unwrap().right);
    }

    #[test]
    fn every_name_pays_every_cost_that_was_met() {
        let (old, new, mut memory) = (hasher(64, 1), hasher(128, 2), Memory::default());
        let stored = old.hash(&secret("right"), &mut memory).unwrap();
        assert_eq!(new.costs.known().len(), 1);
        let checked = new.check_anybody(&secret("right"), Some(&stored), &mut memory).unwrap();
        assert_eq!(checked, Checked { right: true, outdated: true });
        assert_eq!(new.costs.known().len(), 2);
    }

    #[test]
    fn memory_is_kept_and_given_back() {
        let mut memory = Memory::default();
        let first = memory.blocks(1_024).unwrap().as_ptr();
        assert_eq!(memory.blocks(512).unwrap().as_ptr(), first);
        assert_eq!(memory.blocks(1_024).unwrap().as_ptr(), first);
        assert!(memory.blocks.capacity() >= OWN_PIECE);
        assert_eq!(memory.blocks(2_048).unwrap().len(), 2_048);
        memory.give_back();
        assert_eq!(memory.blocks.capacity(), 0);
    }

    #[test]
    fn what_is_no_hash_is_an_error() {
        let (hasher, mut memory) = (hasher(64, 1), Memory::default());
        for bad in ["", "x", "$argon2id$v=19$m=64,t=1,p=1", "$scrypt$ln=1$c2FsdHNhbHQ$aGFzaGhhc2g"]
        {
            assert!(hasher.check(&secret("x"), bad, &mut memory).is_err(), "{bad}");
        }
        let huge = "$argon2id$v=19$m=4194304,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA";
        assert!(hasher.check(&secret("x"), huge, &mut memory).is_err());
    }
}
