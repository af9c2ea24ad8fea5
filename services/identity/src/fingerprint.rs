//! What the database knows a signer by.

/// What the database knows a signer by: a secret, with the issuer and the audience that its tokens have; or a signing
/// key, of whose thumbprint it is the first half.
///
/// That of a secret is the first half of an HMAC under it, so it leads back to it by guessing alone. Guessing is as dear
/// as with any token, which is such an HMAC of a known text, too, and as with the hash of one in `sessions`: a
/// row of fingerprints helps nobody who has the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 16]);

impl Fingerprint {
    /// Of a signing key, by the thumbprint of its public half.
    #[must_use]
    pub fn of_key(thumbprint: &[u8; 32]) -> Self {
        let mut first = [0; 16];
        first.copy_from_slice(&thumbprint[..16]);
        Self(first)
    }
}
