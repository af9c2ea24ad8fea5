//! Access tokens: JWT (RFC 7519) signed with HS256, checked as RFC 8725 asks.
//!
//! The algorithm comes from here and never from the token. A token only names a session; whether that
//! session still stands is the database's to say, and so is whether tokens of its signer are accepted
//! ([`signer`](crate::signer)).

use std::iter;

use hmac::digest::InvalidLength;
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use latchkey_contract::identity::MAX_TOKEN;
use latchkey_contract::{Scopes, Secret, SessionId, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// What a fingerprint is made of besides secret, issuer and audience. No token begins like this, so that none has
/// a fingerprint for its signature.
const FINGERPRINT: &[u8] = b"latchkey: who signs access tokens";

/// How tokens are made.
#[derive(Clone, Debug)]
pub struct Config {
    /// The key of the signature.
    pub secret: Secret,
    /// A further secret, whose tokens are taken for genuine, too. It signs nothing.
    pub previous: Option<Secret>,
    /// The `iss` claim.
    pub issuer: String,
    /// The `aud` claim.
    pub audience: String,
    /// Seconds from `iat` to `exp`.
    pub lifetime_seconds: i64,
}

/// What the database knows a signer by: a secret, with the issuer and the audience that its tokens have.
///
/// It is the first half of an HMAC under that secret, so it leads back to it by guessing alone. Guessing is as dear
/// as with any token, which is such an HMAC of a known text, too, and as with the hash of one in `sessions`: a
/// row of fingerprints helps nobody who has the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 16]);

/// Makes and reads tokens.
pub struct Tokens {
    own: Fingerprint,
    encoding: EncodingKey,
    /// Those whose tokens are read; the first signs.
    signers: Vec<Signer>,
    validation: Validation,
    issuer: String,
    audience: String,
    lifetime_seconds: i64,
}

struct Signer {
    fingerprint: Fingerprint,
    decoding: DecodingKey,
}

/// What a genuine token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedClaims {
    /// Who signed it.
    pub signer: Fingerprint,
    /// The user in `sub`.
    pub user: UserId,
    /// The session in `jti`.
    pub session: SessionId,
    /// The moment in `exp`.
    pub expires_at: Timestamp,
    /// The moment in `nbf`, if there is one.
    pub not_before: Option<Timestamp>,
}

/// Why a text is no token that can be read here.
#[derive(Debug, PartialEq, Eq)]
pub enum Unread {
    /// It was not made here, or not for this use.
    Invalid,
    /// It has the form of one, but is of no signer of this process: secret, issuer and audience.
    OtherSigner,
}

/// Every claim, each of exactly this type; all but `nbf` are required.
#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    jti: String,
    iat: i64,
    exp: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<i64>,
    /// What was asked for at the login, where something was (RFC 9068 §2.2.3): for whoever reads the token. What it may
    /// do is its session's to say.
    #[serde(default, skip_serializing_if = "Option::is_none", skip_deserializing)]
    scope: Option<String>,
}

impl Tokens {
    /// Takes the configuration.
    ///
    /// # Errors
    /// Where no fingerprint can be made of a secret.
    pub fn new(config: &Config) -> Result<Self, InvalidLength> {
        let signer = |secret: &Secret| {
            let fingerprint = fingerprint(secret, &config.issuer, &config.audience)?;
            Ok(Signer {
                fingerprint,
                decoding: DecodingKey::from_secret(secret.expose().as_bytes()),
            })
        };
        let first = signer(&config.secret)?;
        let own = first.fingerprint;
        let further = config.previous.iter().map(signer);
        let signers = iter::once(Ok(first)).chain(further).collect::<Result<_, _>>()?;
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[&config.issuer]);
        validation.set_audience(&[&config.audience]);
        validation.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
        // Times are compared below, with the service's own clock and no leeway.
        validation.validate_exp = false;
        Ok(Self {
            own,
            encoding: EncodingKey::from_secret(config.secret.expose().as_bytes()),
            signers,
            validation,
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            lifetime_seconds: config.lifetime_seconds,
        })
    }

    /// Who signs here.
    #[must_use]
    pub fn signer(&self) -> Fingerprint {
        self.own
    }

    /// Whose tokens are read here; the first one signs.
    #[must_use]
    pub fn signers(&self) -> Vec<Fingerprint> {
        self.signers.iter().map(|signer| signer.fingerprint).collect()
    }

    /// Whether a signer's tokens are read here.
    #[must_use]
    pub fn reads(&self, signer: Fingerprint) -> bool {
        self.signers.iter().any(|own| own.fingerprint == signer)
    }

    /// Seconds that a token lives.
    #[must_use]
    pub fn lifetime_seconds(&self) -> i64 {
        self.lifetime_seconds
    }

    /// When a token made at `now` expires.
    #[must_use]
    pub fn expiry(&self, now: Timestamp) -> Timestamp {
        Timestamp(now.seconds().saturating_add(self.lifetime_seconds) * Timestamp::SECOND)
    }

    /// Makes the token of a session that was opened at `now`, narrowed to `scope` where there is one.
    ///
    /// # Errors
    /// Where it cannot be signed.
    pub fn sign(
        &self,
        user: UserId,
        session: SessionId,
        now: Timestamp,
        scope: Option<&Scopes>,
    ) -> Result<Secret, jsonwebtoken::errors::Error> {
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            sub: user.to_string(),
            jti: session.to_string(),
            iat: now.seconds(),
            exp: self.expiry(now).seconds(),
            nbf: None,
            scope: scope.map(|scope| scope.as_text().to_owned()),
        };
        encode(&Header::new(Algorithm::HS256), &claims, &self.encoding).map(Secret::new)
    }

    /// Reads a token whose signature, issuer and audience are right. Its time may be over, and its signer may not be
    /// accepted any more.
    ///
    /// # Errors
    /// [`Unread`]; which of the reasons of a forgery it was is nobody's business.
    pub fn read(&self, token: &Secret) -> Result<VerifiedClaims, Unread> {
        if token.expose().len() > MAX_TOKEN {
            return Err(Unread::Invalid);
        }
        for signer in &self.signers {
            match decode::<Claims>(token.expose(), &signer.decoding, &self.validation) {
                Ok(read) => {
                    return verified(&read.claims, signer.fingerprint).ok_or(Unread::Invalid);
                }
                Err(error) if may_be_another_s(error.kind()) => {}
                Err(_reason) => return Err(Unread::Invalid),
            }
        }
        Err(Unread::OtherSigner)
    }
}

/// Whether a signer that this process does not hold may have made the token: with another secret, or with the same
/// one for another issuer or audience.
fn may_be_another_s(fault: &ErrorKind) -> bool {
    matches!(
        fault,
        ErrorKind::InvalidSignature | ErrorKind::InvalidIssuer | ErrorKind::InvalidAudience
    )
}

fn verified(claims: &Claims, signer: Fingerprint) -> Option<VerifiedClaims> {
    let not_before = match claims.nbf {
        Some(nbf) => Some(Timestamp(nbf.checked_mul(Timestamp::SECOND)?)),
        None => None,
    };
    Some(VerifiedClaims {
        signer,
        user: UserId(claims.sub.parse().ok()?),
        session: claims.jti.parse().ok()?,
        expires_at: Timestamp(claims.exp.checked_mul(Timestamp::SECOND)?),
        not_before,
    })
}

fn fingerprint(
    secret: &Secret,
    issuer: &str,
    audience: &str,
) -> Result<Fingerprint, InvalidLength> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes())?;
    mac.update(FINGERPRINT);
    for part in [issuer, audience] {
        // With their lengths, so that no other two texts are the same.
        mac.update(&part.len().to_be_bytes());
        mac.update(part.as_bytes());
    }
    let mac: [u8; 32] = mac.finalize().into_bytes().into();
    let mut first = [0; 16];
    first.copy_from_slice(&mac[..16]);
    Ok(Fingerprint(first))
}

#[cfg(test)]
mod tests;
