//! Private halves at rest: AES-256-GCM under a key that HKDF-SHA-256 makes of `SECRET_KEY` and the key's name.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use hkdf::Hkdf;
use latchkey_contract::Secret;
use sha2::Sha256;
use zeroize::Zeroizing;

/// What the derived key is for.
const PURPOSE: &[u8] = b"latchkey: a signing key at rest";
/// The first byte of what is sealed like this.
const FORM: u8 = 1;

/// Seals `private` of the key `kid`. The nonce is random, and used once.
///
/// # Errors
/// Where the library does not do it.
pub(crate) fn seal(
    secret: &Secret,
    kid: &str,
    private: &[u8],
    nonce: [u8; NONCE_LEN],
) -> Result<Vec<u8>, Unspecified> {
    let mut held = Zeroizing::new(private.to_vec());
    let tag = key(secret, kid)?.seal_in_place_separate_tag(
        Nonce::assume_unique_for_key(nonce),
        Aad::from(kid.as_bytes()),
        &mut held,
    )?;
    let mut sealed = vec![FORM];
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(&held);
    sealed.extend_from_slice(tag.as_ref());
    Ok(sealed)
}

/// Opens what was sealed with this secret; `None`: it was not, or is damaged.
pub(crate) fn open(secret: &Secret, kid: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (&form, rest) = sealed.split_first()?;
    let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>()?;
    if form != FORM {
        return None;
    }
    let mut held = Zeroizing::new(text.to_vec());
    let key = key(secret, kid).ok()?;
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let length = key.open_in_place(nonce, Aad::from(kid.as_bytes()), &mut held).ok()?.len();
    held.truncate(length);
    Some(held)
}

fn key(secret: &Secret, kid: &str) -> Result<LessSafeKey, Unspecified> {
    let mut bytes = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(Some(kid.as_bytes()), secret.expose().as_bytes())
        .expand(PURPOSE, bytes.as_mut_slice())
        .map_err(|_length| Unspecified)?;
    UnboundKey::new(&AES_256_GCM, bytes.as_slice()).map(LessSafeKey::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_opened_with_its_secret_and_name_and_with_no_bit_changed() {
        let secret = |text: &str| Secret::new(text.repeat(4));
        let own = secret("own-own-own");
        let sealed = seal(&own, "kid", b"private", [7; NONCE_LEN]).unwrap();
        assert!(!sealed.windows(7).any(|part| part == b"private"));
        assert_eq!(open(&own, "kid", &sealed).unwrap().as_slice(), b"private");
        assert!(open(&secret("other"), "kid", &sealed).is_none());
        assert!(open(&own, "another", &sealed).is_none());
        for at in 0..sealed.len() {
            for bit in 0..8 {
                let mut changed = sealed.clone();
                changed[at] ^= 1 << bit;
                assert!(open(&own, "kid", &changed).is_none(), "{at} {bit}");
            }
            assert!(open(&own, "kid", &sealed[..at]).is_none(), "{at}");
        }
    }
}
