//! Making a key. Its text leaves in one answer and is stored nowhere.

use std::sync::Arc;

use hkdf::Hkdf;
use latchkey_bus::Context;
use latchkey_contract::keys::{ExpiresIn, IssueKey, IssuedKey, NewKey, SEED_MIN, rules};
use latchkey_contract::{ApiKey, Failure, FieldError, Refusal, Secret, Timestamp, UserId};
use latchkey_runtime::Entropy;
use sha2::Sha256;

use crate::store;
use crate::store::acting::Barred;
use crate::store::issue::{Inserted, Order};
use crate::{Config, Keys, NAME};

pub(crate) async fn issue(
    keys: Arc<Keys>,
    context: Context,
    request: IssueKey,
) -> Result<IssuedKey, Failure> {
    let caller = context.caller()?;
    let (key, environment) = make(&request, &keys)?;
    let order = check(&request, &keys, &key, environment)?;
    let object = match store::issue::insert(&keys.db, order, caller).await? {
        Inserted::Key(object) => *object,
        // The account was deactivated after the edge had asked who acts.
        Inserted::OwnerDisabled => return Err(Refusal::SessionEnded.into()),
        Inserted::Barred(Barred::Refused(refusal)) => return Err(refusal.into()),
        Inserted::Barred(Barred::Forbidden(forbidden)) => return Err(forbidden.into()),
        // It is disabled no longer: the next try makes the key.
        Inserted::Nothing => return Err(Failure::Overloaded),
    };
    let (actor, request_id) = (context.actor(), &context.request_id);
    tracing::debug!(target: "audit", service = NAME, actor, user = %request.owner, key = %object.id, %request_id, "a key was issued");
    Ok(IssuedKey { object, key: Secret::new(key.expose().to_owned()) })
}

/// A key with the prefix of now, and the environment that it is for: the first, where none is named. The key that acts
/// names its own.
fn make(request: &IssueKey, keys: &Keys) -> Result<(ApiKey, String), Refusal> {
    let Config { prefix, environments, .. } = &keys.config;
    let environment = match &request.key.environment {
        None => environments.first(),
        Some(name) => environments.find(name).ok_or_else(|| {
            let rule = format!("must be one of {environments}");
            Refusal::Invalid(vec![FieldError::new("environment", rule)])
        })?,
    };
    let infix = environments.infix(environment);
    let key = match &request.seed {
        Some(seed) => ApiKey::generate(prefix, infix, grow(seed, request.owner, &keys.entropy)),
        None => ApiKey::generate(prefix, infix, |bytes| keys.entropy.fill(bytes)),
    };
    Ok((key, environment.to_string()))
}

/// The random characters that grow from a seed: always the same for the same seed and owner, and as hard to guess as
/// the seed (HKDF, RFC 5869). So a doubled message makes one key and gets one answer.
pub(crate) fn grow(seed: &Secret, owner: UserId, entropy: &Entropy) -> impl FnMut(&mut [u8]) {
    let seeded = Hkdf::<Sha256>::new(None, seed.expose().as_bytes());
    let mut blocks: u64 = 0;
    move |bytes| {
        let (owner, block) = (owner.0.to_be_bytes(), blocks.to_be_bytes());
        blocks += 1;
        // It fails above 8,160 bytes alone, and a key asks for 86 at a time. A key is never made of nothing.
        if seeded.expand_multi_info(&[b"latchkey api key", &owner, &block], bytes).is_err() {
            entropy.fill(bytes);
        }
    }
}

/// What is to be made, or every faulty field.
fn check(
    request: &IssueKey,
    keys: &Keys,
    key: &ApiKey,
    environment: String,
) -> Result<Order, Refusal> {
    let now = keys.now();
    let of = &request.key;
    let name = rules::name(of.name.as_deref());
    let expires_at = expiry(of.expires_in, &keys.config, now);
    // A key is as hard to guess as what it is made from.
    let seed = match &request.seed {
        Some(seed) if seed.expose().len() < SEED_MIN => {
            Err(FieldError::new("seed", "must have at least 32 random characters"))
        }
        _ => Ok(()),
    };
    let description = rules::description(&of.description);
    let external_id = of.external_id.as_deref().map_or(Ok(()), rules::external_id);
    let tags = rules::tags(of.tags.clone());
    let (name, expires_at, tags) = match (name, expires_at, seed, description, external_id, tags) {
        (Ok(name), Ok(expires_at), Ok(()), Ok(()), Ok(()), Ok(tags)) => (name, expires_at, tags),
        (name, expires_at, seed, description, external_id, tags) => {
            let faults = [
                name.err(),
                expires_at.err(),
                seed.err(),
                description.err(),
                external_id.err(),
                tags.err(),
            ];
            return Err(Refusal::Invalid(faults.into_iter().flatten().collect()));
        }
    };
    let NewKey { description, metadata, external_id, scopes, allowed_ips, .. } = of.clone();
    Ok(Order {
        owner: request.owner,
        narrowed: request.narrowed.clone(),
        hash: key.hash(),
        hint: key.hint(),
        name,
        created_at: now,
        expires_at,
        is_default_expiry: of.expires_in == ExpiresIn::Default,
        description,
        metadata,
        external_id,
        tags,
        environment,
        scopes,
        allowed_ips,
    })
}

/// When a key ends that is made at `now`.
pub(crate) fn expiry(
    expires_in: ExpiresIn,
    config: &Config,
    now: Timestamp,
) -> Result<Timestamp, FieldError> {
    let after = |days: i64| now.plus(days * Timestamp::DAY);
    match expires_in {
        ExpiresIn::Default => Ok(after(config.expire_days)),
        ExpiresIn::Days(days) if (1..=config.max_days).contains(&days) => Ok(after(days)),
        ExpiresIn::Days(_) | ExpiresIn::NotAnInteger => {
            let rule = format!("must be a whole number from 1 to {}", config.max_days);
            Err(FieldError::new("expires_in_days", rule))
        }
        ExpiresIn::At(at) if now < at && at <= after(config.max_days) => Ok(at),
        ExpiresIn::At(_) => {
            let rule =
                format!("must be a moment to come, at most {} days from now", config.max_days);
            Err(FieldError::new("expires_at", rule))
        }
    }
}
