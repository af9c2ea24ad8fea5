//! Secrets that are made of `SECRET_KEY`, each for one purpose (HKDF-SHA-256, RFC 5869).

use hkdf::{Hkdf, InvalidLength};
use latchkey_contract::Secret;
use sha2::Sha256;
use zeroize::Zeroizing;

/// What is made of `secret` for the purpose that `label` names.
///
/// # Errors
/// Never: 32 bytes can be made of any secret.
pub(crate) fn of(secret: &Secret, label: &str) -> Result<Zeroizing<[u8; 32]>, InvalidLength> {
    let mut made = Zeroizing::new([0; 32]);
    let all = Hkdf::<Sha256>::new(None, secret.expose().as_bytes());
    all.expand(label.as_bytes(), made.as_mut_slice())?;
    Ok(made)
}
