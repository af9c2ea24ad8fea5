//! Refresh tokens. The next one of each is derived from it and its session under a secret of the service: whoever shows
//! it again gets the same one, and none is stored in plain text.

use std::sync::Arc;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use latchkey_bus::Context;
use latchkey_contract::identity::{LoggedIn, NextRefresh, Refresh, Refreshed};
use latchkey_contract::{
    CredentialHash, Failure, Mark, RefreshToken, Refusal, Scopes, Secret, SessionId, Timestamp,
};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::asked::asked_for;
use crate::session::unsigned;
use crate::signer::NotNamed;
use crate::store::ceiling as ceilings;
use crate::store::refresh::{self as rows, Holder, Rotated, Rotation};
use crate::token::{Config, NewToken, Signed};
use crate::{Identity, NAME, derived};

/// What the secret is for.
const LABEL: &str = "refresh";
/// Refreshes of one session in a minute at most.
const MAX_A_MINUTE: i64 = 60;
/// When it is worth trying again beyond that, in milliseconds.
const RETRY_AFTER_MS: u64 = 10_000;

/// Makes refresh tokens.
pub struct RefreshTokens {
    /// Of the present secret, then of the one before.
    secrets: Vec<Zeroizing<[u8; 32]>>,
}

/// A token cannot be derived, which no secret and no token is the reason of.
#[derive(Debug, thiserror::Error)]
#[error("a refresh token cannot be derived")]
pub struct Underived;

impl RefreshTokens {
    /// Derives by the secrets of access tokens.
    ///
    /// # Errors
    /// [`Underived`]
    pub fn new(config: &Config) -> Result<Self, Underived> {
        let all = [Some(&config.secret), config.previous.as_ref()].into_iter().flatten();
        let secrets = all.map(|secret| derived::of(secret, LABEL).map_err(|_length| Underived));
        Ok(Self { secrets: secrets.collect::<Result<_, _>>()? })
    }

    /// The first token of a session that the login with this mark opens: a doubled login gets the same one.
    ///
    /// # Errors
    /// [`Underived`]
    pub fn first(&self, session: SessionId, mark: Mark) -> Result<RefreshToken, Underived> {
        derive(self.secrets.first().ok_or(Underived)?, &[b"login", &mark.0, &session.0])
    }

    /// The next token of a session.
    ///
    /// # Errors
    /// [`Underived`]
    pub fn next(&self, of: &RefreshToken, session: SessionId) -> Result<RefreshToken, Underived> {
        next_by(self.secrets.first().ok_or(Underived)?, of, session)
    }

    /// The next token where it was made before, maybe under the secret before. `None`: under neither.
    ///
    /// # Errors
    /// [`Underived`]
    pub fn again(
        &self,
        of: &RefreshToken,
        session: SessionId,
        made: CredentialHash,
    ) -> Result<Option<RefreshToken>, Underived> {
        for secret in &self.secrets {
            let next = next_by(secret, of, session)?;
            if next.hash() == made {
                return Ok(Some(next));
            }
        }
        Ok(None)
    }
}

fn next_by(
    secret: &Zeroizing<[u8; 32]>,
    of: &RefreshToken,
    session: SessionId,
) -> Result<RefreshToken, Underived> {
    derive(secret, &[of.expose().as_bytes(), &session.0])
}

fn derive(secret: &Zeroizing<[u8; 32]>, of: &[&[u8]]) -> Result<RefreshToken, Underived> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_slice()).map_err(|_length| Underived)?;
    for part in of {
        mac.update(part);
    }
    let seed = Zeroizing::new(<[u8; 32]>::from(mac.finalize().into_bytes()));
    let stream = Hkdf::<Sha256>::from_prk(seed.as_slice()).map_err(|_length| Underived)?;
    let (mut block, mut is_made) = (0_u8, true);
    let token = RefreshToken::generate(|bytes| {
        is_made &= stream.expand(&[block], bytes).is_ok();
        block = block.wrapping_add(1);
    });
    if is_made { Ok(token) } else { Err(Underived) }
}

/// Gives a session its next tokens.
pub(crate) async fn refresh(
    identity: Arc<Identity>,
    context: Context,
    request: Refresh,
) -> Result<Refreshed, Failure> {
    context.caller()?;
    let token = RefreshToken::parse(&request.token).map_err(|_form| Refusal::SessionEnded)?;
    let asked =
        asked_for(request.scope.as_deref()).map_err(|fault| Refusal::Invalid(vec![fault]))?;
    let holder = rows::find(&identity.db, token.hash()).await?.ok_or(Refusal::SessionEnded)?;
    let granted = holder.scope.as_deref().map(Scopes::parse).transpose()?;
    if let (Some(asked), Some(granted)) = (&asked, &granted)
        && asked.intersection(granted) != *asked
    {
        return beyond(&identity, &token, &holder, asked).await;
    }
    let next = identity.refresh_tokens.next(&token, holder.session)?;
    let scope = asked.or(granted);
    let now = identity.now();
    let (mut access_token, mut rotated) =
        rotate(&identity, (&token, &next), &holder, (request.mark, scope.as_ref(), now)).await?;
    if rotated == Rotated::NotNamed {
        // Its key may have been revoked since this process looked: then another one signs.
        identity.tokens.keys().load(&identity.db).await?;
        (access_token, rotated) =
            rotate(&identity, (&token, &next), &holder, (request.mark, scope.as_ref(), now))
                .await?;
    }
    let (next, expires_at) = match rotated {
        Rotated::New(expires_at) => (next, expires_at),
        Rotated::Again(made, expires_at) => {
            let again = identity.refresh_tokens.again(&token, holder.session, made)?;
            (again.ok_or(Refusal::SessionEnded)?, expires_at)
        }
        Rotated::Reused => return Ok(Refreshed::Reused),
        Rotated::Refused => return Err(Refusal::SessionEnded.into()),
        Rotated::NotNamed => return Err(Failure::Unavailable(Box::new(NotNamed))),
        Rotated::TooOften => {
            return Err(Refusal::TooManyRequests { retry_after_ms: RETRY_AFTER_MS }.into());
        }
    };
    let user = holder.user;
    tracing::debug!(target: "audit", service = NAME, actor = context.actor(), %user, request_id = %context.request_id, "a session was refreshed");
    let scope = match scope {
        Some(asked) => Some(asked.intersection(&ceilings::of(&identity.db, user).await?)),
        None => None,
    };
    let expires_in = seconds_left(now, identity.tokens.expiry(now).min(expires_at));
    let refresh =
        NextRefresh { token: next.into_secret(), expires_in: seconds_left(now, expires_at) };
    Ok(Refreshed::Next(LoggedIn { access_token, expires_in, scope, refresh: Some(refresh) }))
}

/// What is answered where more is asked for than was granted. That it is so is only said of a token that would be accepted.
async fn beyond(
    identity: &Identity,
    token: &RefreshToken,
    holder: &Holder,
    asked: &Scopes,
) -> Result<Refreshed, Failure> {
    let (window, now) = (identity.config.sessions.reuse, identity.now());
    if holder.has_ended {
        return Err(Refusal::SessionEnded.into());
    }
    match rows::judge(&identity.db, token.hash(), window, now).await? {
        Rotated::New(_) | Rotated::Again(..) => {
            let required = vec![asked.as_text().to_owned()];
            Err(Refusal::InsufficientScope { required }.into())
        }
        Rotated::Reused => Ok(Refreshed::Reused),
        _ => Err(Refusal::SessionEnded.into()),
    }
}

/// Signs a session's next access token and rotates the refresh token, if the session goes on.
async fn rotate(
    identity: &Identity,
    (token, next): (&RefreshToken, &RefreshToken),
    holder: &Holder,
    (mark, scope, now): (Mark, Option<&Scopes>, Timestamp),
) -> Result<(Secret, Rotated), Failure> {
    let signed = identity.tokens.sign(&NewToken {
        user: holder.user,
        session: holder.session,
        id: Some(identity.entropy.bytes()),
        issued_at: now,
        scope,
    });
    let Signed { token: access_token, signer } = signed.map_err(unsigned)?;
    let lives = &identity.config.sessions;
    let rotation = Rotation {
        session: holder.session,
        token: token.hash(),
        successor: next.hash(),
        mark,
        now,
        idle: lives.idle,
        window: lives.reuse,
        most: identity.config.rate_limit.then_some(MAX_A_MINUTE),
        signer,
    };
    Ok((access_token, rows::rotate(&identity.db, &rotation).await?))
}

/// The session that a refresh token is of, where it would be refreshed or has ended.
pub(crate) async fn session_of(
    identity: &Identity,
    token: &Secret,
    reused: bool,
) -> Result<Option<Holder>, Failure> {
    let Ok(token) = RefreshToken::parse(token) else { return Ok(None) };
    let Some(holder) = rows::find(&identity.db, token.hash()).await? else { return Ok(None) };
    if holder.has_ended {
        return Ok(Some(holder));
    }
    let (window, now) = (identity.config.sessions.reuse, identity.now());
    let is_it = match rows::judge(&identity.db, token.hash(), window, now).await? {
        Rotated::New(_) | Rotated::Again(..) => !reused,
        Rotated::Reused => reused,
        Rotated::Refused | Rotated::NotNamed | Rotated::TooOften => false,
    };
    Ok(is_it.then_some(holder))
}

/// Whole seconds until a moment.
pub(crate) fn seconds_left(now: Timestamp, until: Timestamp) -> u64 {
    u64::try_from(until.seconds().saturating_sub(now.seconds())).unwrap_or_default()
}

#[cfg(test)]
mod tests;
