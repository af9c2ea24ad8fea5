//! One signing key: its public half, which is published, and its private half, which signs.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::error::{KeyRejected, Unspecified};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::algorithm::KeyAlgorithm;
use crate::fingerprint::Fingerprint;

/// How the public half of an RSA key with 2,048 bits begins in DER (RFC 8017 §A.1.1), before its modulus, and ends: every
/// key that is made here has the exponent 65,537.
const RSA_BEGINS: [u8; 9] = [0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00];
const RSA_ENDS: [u8; 5] = [0x02, 0x03, 0x01, 0x00, 0x01];
/// That exponent, as a JWK says it.
const EXPONENT: &str = "AQAB";
/// Before the two coordinates of a point that is written in full (SEC 1 §2.3.3).
const IN_FULL: u8 = 4;

/// The public half.
pub struct PublicKey {
    algorithm: KeyAlgorithm,
    text: String,
    thumbprint: [u8; 32],
    kid: String,
    pub(crate) decoding: DecodingKey,
}

/// The private half. It is never shown.
pub struct PrivateKey(Pair);

enum Pair {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rs256(Box<RsaKeyPair>),
}

/// A key that was just made.
pub struct NewKey {
    /// Its public half.
    pub public: PublicKey,
    /// Its private half in PKCS#8, to be sealed.
    pub private: Zeroizing<Vec<u8>>,
}

/// Why a key cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The library refused.
    #[error("the library made nothing of it")]
    Library(#[from] Unspecified),
    /// It is no private key of that algorithm.
    #[error("no private key of its algorithm")]
    Private(#[from] KeyRejected),
    /// It is no public key of that algorithm.
    #[error("no public key of its algorithm")]
    Public,
}

/// What a thumbprint is made from (RFC 7638 §3.2): the required members alone, by their names' order.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kty")]
enum Jwk {
    #[serde(rename = "EC")]
    Ec { crv: String, x: String, y: String },
    #[serde(rename = "OKP")]
    Okp { crv: String, x: String },
    #[serde(rename = "RSA")]
    Rsa { e: String, n: String },
}

impl PublicKey {
    /// Of the text that it was kept as.
    ///
    /// # Errors
    /// [`KeyError::Public`] where that is none of a key of this algorithm.
    pub fn of(algorithm: KeyAlgorithm, text: &str) -> Result<Self, KeyError> {
        let jwk = serde_json::from_str(text).map_err(|_form| KeyError::Public)?;
        let decoding = match (algorithm, &jwk) {
            (KeyAlgorithm::Es256, Jwk::Ec { crv, x, y }) if crv == "P-256" => {
                DecodingKey::from_ec_components(x, y)
            }
            (KeyAlgorithm::EdDsa, Jwk::Okp { crv, x }) if crv == "Ed25519" => {
                DecodingKey::from_ed_components(x)
            }
            (KeyAlgorithm::Rs256, Jwk::Rsa { e, n }) => DecodingKey::from_rsa_components(n, e),
            _ => return Err(KeyError::Public),
        };
        let decoding = decoding.map_err(|_form| KeyError::Public)?;
        let text = jwk.text();
        let thumbprint: [u8; 32] = Sha256::digest(&text).into();
        let kid = URL_SAFE_NO_PAD.encode(thumbprint);
        Ok(Self { algorithm, text, thumbprint, kid, decoding })
    }

    /// How it signs.
    #[must_use]
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// The public half in the form that the thumbprint is made from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The thumbprint.
    #[must_use]
    pub fn thumbprint(&self) -> &[u8; 32] {
        &self.thumbprint
    }

    /// The thumbprint in base64url: what headers and the published set call it.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// What the database knows it by as a signer.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of_key(&self.thumbprint)
    }
}

impl Jwk {
    /// Its canonical text. Every value is of letters, digits, `-` and `_`.
    fn text(&self) -> String {
        match self {
            Self::Ec { crv, x, y } => {
                format!(r#"{{"crv":"{crv}","kty":"EC","x":"{x}","y":"{y}"}}"#)
            }
            Self::Okp { crv, x } => format!(r#"{{"crv":"{crv}","kty":"OKP","x":"{x}"}}"#),
            Self::Rsa { e, n } => format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#),
        }
    }
}

impl NewKey {
    /// Makes one. The library draws its own randomness: it takes no other for keys.
    ///
    /// # Errors
    /// [`KeyError`] where the library makes none.
    pub fn make(algorithm: KeyAlgorithm) -> Result<Self, KeyError> {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (jwk, private) = match algorithm {
            KeyAlgorithm::Es256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
                let point = pair.public_key().as_ref();
                let (&form, coordinates) = point.split_first().ok_or(KeyError::Public)?;
                let (x, y) = coordinates.split_at_checked(32).ok_or(KeyError::Public)?;
                if form != IN_FULL || y.len() != 32 {
                    return Err(KeyError::Public);
                }
                let jwk = Jwk::Ec { crv: "P-256".to_owned(), x: encode(x), y: encode(y) };
                (jwk, pair.to_pkcs8v1()?.as_ref().to_vec())
            }
            KeyAlgorithm::EdDsa => {
                let pair = Ed25519KeyPair::generate()?;
                let x = encode(pair.public_key().as_ref());
                (Jwk::Okp { crv: "Ed25519".to_owned(), x }, pair.to_pkcs8v1()?.as_ref().to_vec())
            }
            KeyAlgorithm::Rs256 => {
                // It takes a tenth of a second or so, once in months: nobody is given a thread for that.
                let pair = RsaKeyPair::generate(KeySize::Rsa2048)?;
                let public = pair.public_key().as_ref();
                let modulus = public.strip_prefix(&RSA_BEGINS).and_then(|rest| {
                    rest.strip_suffix(&RSA_ENDS).filter(|modulus| modulus.len() == 256)
                });
                let n = encode(modulus.ok_or(KeyError::Public)?);
                let der: Pkcs8V1Der<'_> = pair.as_der()?;
                (Jwk::Rsa { e: EXPONENT.to_owned(), n }, der.as_ref().to_vec())
            }
        };
        let private = Zeroizing::new(private);
        Ok(Self { public: PublicKey::of(algorithm, &jwk.text())?, private })
    }
}

impl PrivateKey {
    /// Of what was kept of it in PKCS#8.
    ///
    /// # Errors
    /// [`KeyError::Private`] where that is no key of this algorithm.
    pub fn of(algorithm: KeyAlgorithm, private: &[u8]) -> Result<Self, KeyError> {
        Ok(Self(match algorithm {
            KeyAlgorithm::Es256 => {
                Pair::Es256(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, private)?)
            }
            KeyAlgorithm::EdDsa => Pair::EdDsa(Ed25519KeyPair::from_pkcs8(private)?),
            KeyAlgorithm::Rs256 => Pair::Rs256(Box::new(RsaKeyPair::from_pkcs8(private)?)),
        }))
    }

    /// Signs.
    ///
    /// # Errors
    /// [`KeyError::Library`] where the library does not.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        Ok(match &self.0 {
            Pair::Es256(pair) => pair.sign(&SystemRandom::new(), message)?.as_ref().to_vec(),
            Pair::EdDsa(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)?;
                signature
            }
        })
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewKey").field("public", &self.public).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_by_the_thumbprint_of_the_standard() {
        // RFC 7638 §3.1, and RFC 8037 §A.3.
        let rsa = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCi\
            FV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0\
            zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csF\
            Cur-kEgU8awapJzKnqDKgw";
        let rsa = format!(r#"{{"kty":"RSA","n":"{rsa}","e":"AQAB"}}"#);
        let okp =
            r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        for (algorithm, text, kid) in [
            (KeyAlgorithm::Rs256, rsa.as_str(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"),
            (KeyAlgorithm::EdDsa, okp, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"),
        ] {
            let key = PublicKey::of(algorithm, text).unwrap();
            assert_eq!(key.kid(), kid);
            assert_eq!(PublicKey::of(algorithm, key.text()).unwrap().kid(), kid);
            for other in KeyAlgorithm::ALL.into_iter().filter(|other| *other != algorithm) {
                assert!(PublicKey::of(other, text).is_err(), "{other:?}");
            }
        }
    }

    #[test]
    fn a_key_signs_what_its_public_half_verifies_and_shows_nothing() {
        for algorithm in KeyAlgorithm::ALL {
            let made = NewKey::make(algorithm).unwrap();
            let private = PrivateKey::of(algorithm, &made.private).unwrap();
            let signature = URL_SAFE_NO_PAD.encode(private.sign(b"a.b").unwrap());
            let verify = |message: &[u8]| {
                let key = &made.public.decoding;
                jsonwebtoken::crypto::verify(&signature, message, key, algorithm.read_as()).unwrap()
            };
            assert!(verify(b"a.b"), "{algorithm:?}");
            assert!(!verify(b"a.c"), "{algorithm:?}");
            assert_eq!(format!("{private:?}"), "[redacted]");
            assert!(!format!("{made:?}").contains(&format!("{:?}", &made.private[..8])));
            for other in KeyAlgorithm::ALL.into_iter().filter(|other| *other != algorithm) {
                assert!(PrivateKey::of(other, &made.private).is_err(), "{other:?}");
            }
        }
    }
}
