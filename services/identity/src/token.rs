//! Access tokens: JWT (RFC 7519) signed with HS256, checked as RFC 8725 asks.
//!
//! The algorithm comes from here and never from the token. A token only names a session; whether that
//! session still stands is the database's to say.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use latchkey_contract::identity::MAX_TOKEN;
use latchkey_contract::{Secret, SessionId, Timestamp, UserId};
use serde::{Deserialize, Serialize};

/// How tokens are made.
#[derive(Clone, Debug)]
pub struct Config {
    /// The key of the signature.
    pub secret: Secret,
    /// The `iss` claim.
    pub issuer: String,
    /// The `aud` claim.
    pub audience: String,
    /// Seconds from `iat` to `exp`.
    pub lifetime_seconds: i64,
}

/// Makes and reads tokens.
pub struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    issuer: String,
    audience: String,
    lifetime_seconds: i64,
}

/// What a genuine token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The user in `sub`.
    pub user: UserId,
    /// The session in `jti`.
    pub session: SessionId,
    /// The moment in `exp`.
    pub expires_at: Timestamp,
    /// The moment in `nbf`, if there is one.
    pub not_before: Option<Timestamp>,
}

/// A token that was not made here, or not for this use.
#[derive(Debug, PartialEq, Eq)]
pub struct Forged;

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
}

impl Tokens {
    /// Takes the configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let secret = config.secret.expose().as_bytes();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[&config.issuer]);
        validation.set_audience(&[&config.audience]);
        validation.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
        // Times are compared below, with the service's own clock and no leeway.
        validation.validate_exp = false;
        Self {
            encoding: EncodingKey::from_secret(secret),
            decoding: DecodingKey::from_secret(secret),
            validation,
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            lifetime_seconds: config.lifetime_seconds,
        }
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

    /// Makes the token of a session that was opened at `now`.
    ///
    /// # Errors
    /// Where it cannot be signed.
    pub fn sign(
        &self,
        user: UserId,
        session: SessionId,
        now: Timestamp,
    ) -> Result<Secret, jsonwebtoken::errors::Error> {
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            sub: user.to_string(),
            jti: session.to_string(),
            iat: now.seconds(),
            exp: self.expiry(now).seconds(),
            nbf: None,
        };
        encode(&Header::new(Algorithm::HS256), &claims, &self.encoding).map(Secret::new)
    }

    /// Reads a token whose signature, issuer and audience are right. Its time may be over.
    ///
    /// # Errors
    /// [`Forged`] for anything else; which of the reasons it was is nobody's business.
    pub fn read(&self, token: &Secret) -> Result<Claimed, Forged> {
        if token.expose().len() > MAX_TOKEN {
            return Err(Forged);
        }
        let claims = decode::<Claims>(token.expose(), &self.decoding, &self.validation)
            .map_err(|_reason| Forged)?
            .claims;
        let user: i64 = claims.sub.parse().map_err(|_not_a_number| Forged)?;
        let session = claims.jti.parse().map_err(|_not_an_id| Forged)?;
        let expires_at = claims.exp.checked_mul(Timestamp::SECOND).ok_or(Forged)?;
        let not_before = match claims.nbf {
            Some(nbf) => Some(Timestamp(nbf.checked_mul(Timestamp::SECOND).ok_or(Forged)?)),
            None => None,
        };
        let (user, expires_at) = (UserId(user), Timestamp(expires_at));
        Ok(Claimed { user, session, expires_at, not_before })
    }
}

#[cfg(test)]
mod tests;
