//! Replacing a key by a new one: both work until the old one retires, or the old one ends at once.

use std::sync::Arc;

use latchkey_bus::Context;
use latchkey_contract::keys::{
    ExpiresIn, Grace, IssuedKey, RevocationReason, RotateKey, RotatedKey,
};
use latchkey_contract::{ApiKey, Failure, FieldError, Refusal, Timestamp};

use crate::idempotency::{self, Repeatable, rotated_before};
use crate::issue::{check_seed, expiry, grow, shown};
use crate::store::again;
use crate::store::rotate::{Replaced, Rotated, Rotation};
use crate::{Config, Keys, NAME, acting, store};

/// Seconds that an old key may be asked to live on at most; its own expiry ends it earlier.
const MAX_GRACE: i64 = 3_650 * 86_400;

/// A repeat of a message gets the same key, and waits for the edges like the first one.
pub(crate) async fn rotate(
    keys: Arc<Keys>,
    context: Context,
    mut request: RotateKey,
) -> Result<RotatedKey, Failure> {
    let (caller, now) = (context.caller()?, keys.now());
    let is_withdrawal = store::rotate::is_withdrawal(&request, caller);
    if is_withdrawal {
        // Whatever it asked for, nothing of it is done any more.
        (request.grace, request.expires_in) = (Grace::Seconds(0), ExpiresIn::Default);
    } else {
        acting::reads(caller, request.target.owner)?;
        request.is_self = acting::is_self(&request, caller);
    }
    let request = request;
    let (owner, replaced) = (request.target.owner, request.target.key);
    let named = request.idempotency.as_ref().filter(|_| !is_withdrawal);
    let of = (owner, request.target.narrowed.as_ref());
    let repeatable = Repeatable::of(&keys, caller, of, named, Some(&request.seed))?;
    let repeatable = repeatable.as_ref();
    if let Some(before) = rotated_before(&keys, repeatable, &request).await? {
        return Ok(before);
    }
    let old = store::key::get(&keys.db, owner, replaced, now).await?;
    let old = old.ok_or(Refusal::KeyNotFound)?;
    let key = make(&request, &keys, &old.environment)?;
    let mut rotation = check(&request, &keys.config, &key, now)?;
    rotation.claim = repeatable.map(|it| it.claim(&keys, &[shown(&key)])).transpose()?;
    let outcome = if is_withdrawal {
        again(|| store::rotate::overtake(&keys.db, &rotation, now)).await?
    } else {
        let rotated = again(|| store::rotate::rotate(&keys.db, &rotation, caller, now)).await;
        rotated.map_err(|error| idempotency::failed(error, repeatable.is_some()))?
    };
    let Replaced { object, retires_at, change, is_revoked } = match outcome {
        Rotated::Key(replaced) => *replaced,
        Rotated::NotFound => return Err(Refusal::KeyNotFound.into()),
        Rotated::Barred(barred) => return Err(barred.into()),
        Rotated::Claimed => {
            let before = rotated_before(&keys, repeatable, &request).await?;
            return before.ok_or_else(idempotency::in_hand);
        }
    };
    let (actor, request_id) = (context.actor(), &context.request_id);
    tracing::debug!(target: "audit", service = NAME, actor, user = %owner, key = %replaced, by = %object.id, %request_id, "a key was replaced");
    let (db, revision) = (keys.db.clone(), change.revision());
    let confirmed = async move {
        if is_revoked {
            store::mark_confirmed(&db, replaced, revision).await
        } else {
            store::rotate::settle(&db, replaced, revision).await
        }
    };
    let changed = Box::pin(keys.authority.answer(change, request.wait, confirmed)).await?;
    let issued = IssuedKey { object, key: shown(&key), is_replayed: false };
    Ok(RotatedKey { issued, replaces: replaced, retires_at, changed })
}

/// The new key: with the prefix of now, for the environment of the old one.
fn make(request: &RotateKey, keys: &Keys, environment: &str) -> Result<ApiKey, Refusal> {
    let Config { prefix, environments, .. } = &keys.config;
    let environment = environments.find(environment).ok_or_else(|| {
        let rule = format!("is {environment}, and keys are made for {environments} alone");
        Refusal::Invalid(vec![FieldError::new("environment", rule)])
    })?;
    let infix = environments.infix(environment);
    Ok(ApiKey::generate(
        prefix,
        infix,
        grow(&request.seed, request.target.owner, None, &keys.entropy),
    ))
}

/// What is to be done, or every faulty field.
fn check<'a>(
    request: &'a RotateKey,
    config: &Config,
    key: &ApiKey,
    now: Timestamp,
) -> Result<Rotation<'a>, Refusal> {
    let retires_at = grace(request, config, now);
    let expires_at = match request.expires_in {
        ExpiresIn::Default => Ok(None),
        said => expiry(said, config, now).map(Some),
    };
    let seed = check_seed(&request.seed);
    let reason = if request.is_self && request.reason == RevocationReason::PrivilegeWithdrawn {
        Err(FieldError::new("reason", "may not be privilege_withdrawn: that is for others to say"))
    } else {
        Ok(())
    };
    let (retires_at, expires_at) = match (retires_at, expires_at, seed, reason) {
        (Ok(retires_at), Ok(expires_at), Ok(()), Ok(())) => (retires_at, expires_at),
        (retires_at, expires_at, seed, reason) => {
            let faults = [retires_at.err(), expires_at.err(), seed.err(), reason.err()];
            return Err(Refusal::Invalid(faults.into_iter().flatten().collect()));
        }
    };
    let (hash, hint) = (key.hash(), key.hint());
    let max_life = config.max_days * Timestamp::DAY;
    let per_owner = config.per_owner;
    let claim = None;
    Ok(Rotation { request, hash, hint, retires_at, expires_at, max_life, per_owner, claim })
}

/// When the old key ends; `None`: at once.
fn grace(
    request: &RotateKey,
    config: &Config,
    now: Timestamp,
) -> Result<Option<Timestamp>, FieldError> {
    let after = |seconds: i64| (seconds > 0).then(|| now.plus(seconds * Timestamp::SECOND));
    let retires_at = match request.grace {
        Grace::Default => after(config.rotate_grace_seconds),
        Grace::Seconds(seconds) if (0..=MAX_GRACE).contains(&seconds) => after(seconds),
        Grace::Seconds(_) => {
            let rule = format!("must be a whole number from 0 to {MAX_GRACE}");
            return Err(FieldError::new("grace_seconds", rule));
        }
        Grace::Until(until) if until > now => Some(until),
        Grace::Until(_) => return Err(FieldError::new("until", "must be a moment to come")),
    };
    let is_compromised = request.reason == RevocationReason::KeyCompromise;
    if retires_at.is_some() && is_compromised && !request.confirm {
        let rule = "must be 0 where the old key may be somebody else's, unless confirm is true";
        return Err(FieldError::new("grace_seconds", rule));
    }
    Ok(retires_at)
}

#[cfg(test)]
mod tests;
