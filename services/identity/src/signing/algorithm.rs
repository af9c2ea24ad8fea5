//! The signatures of keys that anybody can check (RFC 7518 §3, RFC 8037 §3.1).

use jsonwebtoken::Algorithm;

/// How a signing key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyAlgorithm {
    /// ECDSA on P-256.
    Es256,
    /// Ed25519, by the name that libraries know.
    EdDsa,
    /// RSA with 2,048 bits: where nothing else is verified.
    Rs256,
}

impl KeyAlgorithm {
    /// Each.
    pub const ALL: [Self; 3] = [Self::Es256, Self::EdDsa, Self::Rs256];

    /// By its name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// As headers of tokens, rows and settings say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
        }
    }

    /// The same, as tokens are read.
    #[must_use]
    pub(crate) const fn read_as(self) -> Algorithm {
        match self {
            Self::Es256 => Algorithm::ES256,
            Self::EdDsa => Algorithm::EdDSA,
            Self::Rs256 => Algorithm::RS256,
        }
    }
}
