//! Access tokens: JWT (RFC 7519) signed with HS256 or with a signing key, checked as RFC 8725 asks.
//!
//! The algorithm comes from the signer that the header names, and never from the token. A token only names a session; whether that
//! session still stands is the database's to say, and so is whether tokens of its signer are accepted
//! ([`signer`](crate::signer)).

use std::iter;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::digest::InvalidLength;
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode,
};
use latchkey_contract::identity::MAX_TOKEN;
use latchkey_contract::{Scopes, Secret, SessionId, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use crate::fingerprint::Fingerprint;
use crate::signing::algorithm::KeyAlgorithm;
use crate::signing::set::{CannotSign, Keys};

/// What a fingerprint is made of besides secret, issuer and audience. No token begins like this, so that none has
/// a fingerprint for its signature.
const FINGERPRINT: &[u8] = b"latchkey: who signs access tokens";
/// What the `kid` of a secret is made of besides.
const KID: &[u8] = b"latchkey-hs";
/// Characters of a `kid` at most; no signer has a longer one.
const MAX_KID: usize = 64;
/// What tokens of signing keys say that they are (RFC 9068 §2.1).
const ACCESS_TOKEN: &str = "at+jwt";
/// The client that they were issued to (RFC 9068 §2.2): whoever logs in does so here.
const CLIENT: &str = "latchkey";

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

/// Makes and reads tokens.
pub struct Tokens {
    own: Fingerprint,
    header: Header,
    encoding: EncodingKey,
    /// Those whose tokens are read; the first signs.
    signers: Vec<Signer>,
    keys: Keys,
    validation: Validation,
    issuer: String,
    audience: String,
    lifetime_seconds: i64,
}

struct Signer {
    fingerprint: Fingerprint,
    /// What its tokens' headers call it. Tokens of releases before this one do not say it.
    kid: String,
    decoding: DecodingKey,
}

/// A token that was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The token.
    pub token: Secret,
    /// Who signed it.
    pub signer: Fingerprint,
}

/// What a genuine token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedClaims {
    /// Who signed it.
    pub signer: Fingerprint,
    /// The user in `sub`.
    pub user: UserId,
    /// The session in `sid`, or in `jti` where there is no `sid`.
    pub session: SessionId,
    /// What this one token was narrowed to.
    pub scope: Option<Scopes>,
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
    /// It names a signing key that this process does not know, by this thumbprint.
    OtherKey([u8; 32]),
}

/// A token to be.
#[derive(Clone, Copy, Debug)]
pub struct NewToken<'a> {
    /// Whose it is.
    pub user: UserId,
    /// Its session.
    pub session: SessionId,
    /// What it is told by from the session's other tokens. `None`: it is the one of a session that has one, by its
    /// session, as releases before sessions had several have it.
    pub id: Option<[u8; 16]>,
    /// Now.
    pub issued_at: Timestamp,
    /// What it is narrowed to.
    pub scope: Option<&'a Scopes>,
}

/// Every claim, each of exactly this type; all but `nbf`, `sid` and `scope` are required.
#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    jti: String,
    /// The session, where it is not in `jti`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
    iat: i64,
    exp: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<i64>,
    /// What was asked for, where something was (RFC 9068 §2.2.3). It may do no more; what of it, is its session's to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    /// In tokens that anybody can check, for whoever does.
    #[serde(default, skip_serializing_if = "Option::is_none", skip_deserializing)]
    client_id: Option<&'static str>,
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
                kid: kid_of(secret),
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
        let header = Header { kid: Some(kid_of(&config.secret)), ..Header::new(Algorithm::HS256) };
        Ok(Self {
            own,
            header,
            encoding: EncodingKey::from_secret(config.secret.expose().as_bytes()),
            signers,
            keys: Keys::new(
                iter::once(&config.secret).chain(&config.previous).cloned().collect(),
                own,
            ),
            validation,
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            lifetime_seconds: config.lifetime_seconds,
        })
    }

    /// The secret of this process: what it has to be named by to serve.
    #[must_use]
    pub fn signer(&self) -> Fingerprint {
        self.own
    }

    /// The signing keys, as far as this process knows them.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The secrets whose tokens are read here; the first one signs.
    #[must_use]
    pub fn signers(&self) -> Vec<Fingerprint> {
        self.signers.iter().map(|signer| signer.fingerprint).collect()
    }

    /// Whether a secret's tokens are read here.
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

    /// Makes a token.
    ///
    /// # Errors
    /// [`CannotSign`]
    pub fn sign(&self, token: &NewToken<'_>) -> Result<Signed, CannotSign> {
        let NewToken { user, session, id, issued_at, scope } = token;
        let known = self.keys.known();
        let client_id = known.algorithm.is_some().then_some(CLIENT);
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            sub: user.to_string(),
            jti: id.map_or(*session, SessionId).to_string(),
            sid: id.map(|_| session.to_string()),
            iat: issued_at.seconds(),
            exp: self.expiry(*issued_at).seconds(),
            nbf: None,
            scope: scope.map(|scope| scope.as_text().to_owned()),
            client_id,
        };
        let Some(algorithm) = known.algorithm else {
            let token = encode(&self.header, &claims, &self.encoding)?;
            return Ok(Signed { token: Secret::new(token), signer: self.own });
        };
        let (public, private) = known.signing(algorithm, *issued_at)?;
        let kid = Some(public.kid().to_owned());
        let typ = Some(ACCESS_TOKEN.to_owned());
        let header = Header { kid, typ, ..Header::new(algorithm.read_as()) };
        let mut token = format!("{}.{}", encoded(&header)?, encoded(&claims)?);
        let signature = private.sign(token.as_bytes())?;
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(signature));
        Ok(Signed { token: Secret::new(token), signer: public.fingerprint() })
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
        let header = header(token)?;
        let kid = header.kid;
        let by_key = KeyAlgorithm::ALL.into_iter().find(|it| it.read_as() == header.alg);
        if let Some(algorithm) = by_key {
            let is_access_token = header.typ.as_deref() == Some(ACCESS_TOKEN);
            return self.read_by_key(
                token,
                algorithm,
                &kid.filter(|_| is_access_token).ok_or(Unread::Invalid)?,
            );
        }
        if header.alg != Algorithm::HS256 {
            return Err(Unread::Invalid);
        }
        let is_named = |signer: &&Signer| kid.as_ref().is_none_or(|kid| signer.kid == *kid);
        for signer in self.signers.iter().filter(is_named) {
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

    /// Reads a token with the one key that its header names, if that signs as the header says.
    fn read_by_key(
        &self,
        token: &Secret,
        algorithm: KeyAlgorithm,
        kid: &str,
    ) -> Result<VerifiedClaims, Unread> {
        let known = self.keys.known();
        let Some(key) = known.by_kid(kid) else {
            // No other text is the name of a key.
            let thumbprint = URL_SAFE_NO_PAD.decode(kid).map_err(|_form| Unread::Invalid)?;
            let thumbprint = thumbprint.try_into().map_err(|_length| Unread::Invalid)?;
            return Err(Unread::OtherKey(thumbprint));
        };
        let public = &key.halves.public;
        if public.algorithm() != algorithm {
            return Err(Unread::Invalid);
        }
        let mut validation = self.validation.clone();
        validation.algorithms = vec![algorithm.read_as()];
        let read = decode::<Claims>(token.expose(), &public.decoding, &validation);
        let read = read.map_err(|_reason| Unread::Invalid)?;
        verified(&read.claims, public.fingerprint()).ok_or(Unread::Invalid)
    }
}

/// A part of a token.
fn encoded(part: &impl Serialize) -> Result<String, jsonwebtoken::errors::Error> {
    Ok(URL_SAFE_NO_PAD.encode(serde_json::to_vec(part)?))
}

/// The header of a token, of which signer and algorithm are looked at, and no address or key. What it calls critical has to
/// be understood (RFC 7515 §4.1.11), and nothing is.
fn header(token: &Secret) -> Result<Header, Unread> {
    let header = decode_header(token.expose()).map_err(|_form| Unread::Invalid)?;
    let too_long = header.kid.as_ref().is_some_and(|kid| kid.len() > MAX_KID);
    if header.crit.is_some() || too_long { Err(Unread::Invalid) } else { Ok(header) }
}

/// How a header names a secret: by 64 bits of a hash of it.
fn kid_of(secret: &Secret) -> String {
    let hash: [u8; 32] =
        Sha256::new().chain_update(KID).chain_update(secret.expose()).finalize().into();
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    format!("{:016x}", u64::from_be_bytes(first))
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
    // Both have that form, whichever it is.
    let mut session = claims.jti.parse().ok()?;
    if let Some(sid) = &claims.sid {
        session = sid.parse().ok()?;
    }
    Some(VerifiedClaims {
        signer,
        user: UserId(claims.sub.parse().ok()?),
        session,
        scope: claims.scope.as_deref().map(Scopes::parse).transpose().ok()?,
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
mod key_tests;
#[cfg(test)]
mod tests;
