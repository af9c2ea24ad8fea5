//! Making keys, one or several: all or none. Their texts leave in one answer and are stored nowhere.

use std::sync::Arc;

use hkdf::Hkdf;
use latchkey_bus::Context;
use latchkey_contract::keys::{
    ExpiresIn, IssueKey, IssueKeys, IssuedKey, KeyObject, NewKey, SEED_MIN, rules,
};
use latchkey_contract::refusal::Conflict;
use latchkey_contract::scope::Scopes;
use latchkey_contract::{ApiKey, Failure, FieldError, Refusal, Secret, Timestamp, UserId};
use latchkey_runtime::Entropy;
use sha2::Sha256;

use crate::idempotency::{self, Repeatable, made_before};
use crate::store;
use crate::store::issue::{Inserted, Order, Policy};
use crate::{Config, Keys, NAME};

/// What several keys hold in common.
struct Command<'a> {
    owner: UserId,
    narrowed: Option<&'a Scopes>,
    now: Timestamp,
}

pub(crate) async fn issue(
    keys: Arc<Keys>,
    context: Context,
    request: IssueKey,
) -> Result<IssuedKey, Failure> {
    let IssueKey { owner, ref narrowed, ref key, ref seed, ref idempotency } = request;
    let command = Command { owner, narrowed: narrowed.as_ref(), now: keys.now() };
    if let Some(Err(fault)) = seed.as_ref().map(check_seed) {
        return Err(Refusal::Invalid(vec![fault]).into());
    }
    let (of, caller) = ((owner, narrowed.as_ref()), context.caller()?);
    let repeatable = Repeatable::of(&keys, caller, of, idempotency.as_ref(), seed.as_ref())?;
    if let Some(made) = made_before(&keys, repeatable.as_ref()).await? {
        return only(made);
    }
    let (text, order) = match seed {
        Some(seed) => order(&keys, &command, key, grow(seed, owner, None, &keys.entropy)),
        None => order(&keys, &command, key, |bytes| keys.entropy.fill(bytes)),
    }
    .map_err(Refusal::Invalid)?;
    only(add(&keys, &context, repeatable.as_ref(), (vec![shown(&text)], vec![order])).await?)
}

pub(crate) async fn issue_many(
    keys: Arc<Keys>,
    context: Context,
    request: IssueKeys,
) -> Result<Vec<IssuedKey>, Failure> {
    let IssueKeys { owner, ref narrowed, keys: ref wanted, ref seed, ref idempotency } = request;
    check_seed(seed).map_err(|fault| Refusal::Invalid(vec![fault]))?;
    if !(1..=rules::MAX_MADE).contains(&wanted.len()) {
        let fault = FieldError::new("keys", format!("must be 1 to {}", rules::MAX_MADE));
        return Err(Refusal::Invalid(vec![fault]).into());
    }
    let (of, caller) = ((owner, narrowed.as_ref()), context.caller()?);
    let repeatable = Repeatable::of(&keys, caller, of, idempotency.as_ref(), Some(seed))?;
    if let Some(made) = made_before(&keys, repeatable.as_ref()).await? {
        return Ok(made);
    }
    let command = Command { owner, narrowed: narrowed.as_ref(), now: keys.now() };
    let (mut texts, mut orders, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    for (place, key) in (0_u64..).zip(wanted) {
        let fill = grow(seed, owner, Some(place), &keys.entropy);
        match order(&keys, &command, key, fill) {
            Ok((text, order)) => {
                texts.push(shown(&text));
                orders.push(order);
            }
            Err(errors) => faults.extend(errors.into_iter().map(|error| {
                FieldError::new(format!("keys[{place}].{}", error.field), error.message)
            })),
        }
    }
    if !faults.is_empty() {
        return Err(Refusal::Invalid(faults).into());
    }
    add(&keys, &context, repeatable.as_ref(), (texts, orders)).await
}

/// Adds the keys of one command, or says what an earlier request with the same idempotency key has made.
async fn add(
    keys: &Arc<Keys>,
    context: &Context,
    repeatable: Option<&Repeatable<'_>>,
    (texts, orders): (Vec<Secret>, Vec<Order>),
) -> Result<Vec<IssuedKey>, Failure> {
    let (policy, caller) = (policy(keys).await?, context.caller()?);
    let answer = repeatable.map(|command| command.claim(keys, &texts)).transpose()?;
    let answer = answer.as_ref();
    let inserted = store::issue::insert_once(&keys.db, orders, &policy, caller, answer).await;
    let inserted = inserted.map_err(|error| idempotency::failed(error, answer.is_some()))?;
    if inserted == Inserted::Claimed {
        return made_before(keys, repeatable).await?.ok_or_else(idempotency::in_hand);
    }
    let objects = made(inserted)?;
    for object in &objects {
        tell(context, object);
    }
    let issued = objects.into_iter().zip(texts);
    Ok(issued.map(|(object, key)| IssuedKey { object, key, is_replayed: false }).collect())
}

/// The one key of a command that makes one.
fn only(made: Vec<IssuedKey>) -> Result<IssuedKey, Failure> {
    made.into_iter().next().ok_or(Failure::Overloaded)
}

/// A key is as hard to guess as what it is made from.
pub(crate) fn check_seed(seed: &Secret) -> Result<(), FieldError> {
    if seed.expose().len() < SEED_MIN {
        return Err(FieldError::new("seed", "must have at least 32 random characters"));
    }
    Ok(())
}

/// The one text of a key that is ever shown.
pub(crate) fn shown(key: &ApiKey) -> Secret {
    Secret::new(key.expose().to_owned())
}

fn tell(context: &Context, key: &KeyObject) {
    let (actor, request_id, user) = (context.actor(), &context.request_id, key.owner.user());
    tracing::debug!(target: "audit", service = NAME, actor, %user, key = %key.id, %request_id, "a key was issued");
}

/// The keys that were added, or why they were not.
fn made<T>(inserted: Inserted<T>) -> Result<T, Failure> {
    Err(match inserted {
        Inserted::Key(keys) => return Ok(keys),
        // The account was deactivated after the edge had asked who acts.
        Inserted::OwnerDisabled => Refusal::SessionEnded.into(),
        Inserted::Full => Refusal::Conflict(Conflict::TooManyKeys).into(),
        Inserted::TooHeavy => {
            let message =
                "are more than one answer can show: make fewer at once, or say less of each";
            Refusal::Invalid(vec![FieldError::new("keys", message)]).into()
        }
        Inserted::Barred(barred) => barred.into(),
        // What stood against it does no longer: the next try makes the keys.
        Inserted::Nothing => Failure::Overloaded,
        Inserted::Claimed => idempotency::in_hand(),
    })
}

async fn policy(keys: &Keys) -> Result<Policy, Failure> {
    Ok(Policy {
        default_scopes: keys.config.default_scopes.clone(),
        per_owner: keys.config.per_owner,
        environment: keys.config.environments.first().to_string(),
        may_restrict: keys.restrictions.are_known(&keys.db).await?,
    })
}

/// The random characters that grow from a seed: always the same for the same seed, owner and place among several, and as
/// hard to guess as the seed (HKDF, RFC 5869). So a doubled message makes one key and gets one answer.
pub(crate) fn grow(
    seed: &Secret,
    owner: UserId,
    place: Option<u64>,
    entropy: &Entropy,
) -> impl FnMut(&mut [u8]) {
    let seeded = Hkdf::<Sha256>::new(None, seed.expose().as_bytes());
    let mut blocks: u64 = 0;
    move |bytes| {
        let (owner, block) = (owner.0.to_be_bytes(), blocks.to_be_bytes());
        blocks += 1;
        // It fails above 8,160 bytes alone, and a key asks for 86 at a time. A key is never made of nothing.
        let place = place.map(u64::to_be_bytes);
        let place = place.as_ref().map_or(&[][..], |place| place);
        if seeded.expand_multi_info(&[b"latchkey api key", &owner, &block, place], bytes).is_err() {
            entropy.fill(bytes);
        }
    }
}

/// A key and what is stored of it, or every faulty field. It has the prefix of now, and is for the first environment
/// where none is named; for a key that acts, its own is.
fn order(
    keys: &Keys,
    command: &Command<'_>,
    of: &NewKey,
    fill: impl FnMut(&mut [u8]),
) -> Result<(ApiKey, Order), Vec<FieldError>> {
    let Config { prefix, environments, .. } = &keys.config;
    let environment = match &of.environment {
        None => Ok(environments.first()),
        Some(name) => environments.find(name).ok_or_else(|| {
            FieldError::new("environment", format!("must be one of {environments}"))
        }),
    };
    let name = rules::name(of.name.as_deref());
    let expires_at = expiry(of.expires_in, &keys.config, command.now);
    let description = rules::description(&of.description);
    let external_id = of.external_id.as_deref().map_or(Ok(()), rules::external_id);
    let tags = rules::tags(of.tags.clone());
    let (name, expires_at, tags, environment) =
        match (name, expires_at, description, external_id, tags, environment) {
            (Ok(name), Ok(expires_at), Ok(()), Ok(()), Ok(tags), Ok(environment)) => {
                (name, expires_at, tags, environment)
            }
            (name, expires_at, description, external_id, tags, environment) => {
                let faults = [
                    name.err(),
                    expires_at.err(),
                    description.err(),
                    external_id.err(),
                    tags.err(),
                    environment.err(),
                ];
                return Err(faults.into_iter().flatten().collect());
            }
        };
    let key = ApiKey::generate(prefix, environments.infix(environment), fill);
    let NewKey { description, metadata, external_id, scopes, allowed_ips, .. } = of.clone();
    let order = Order {
        owner: command.owner,
        narrowed: command.narrowed.cloned(),
        hash: key.hash(),
        hint: key.hint(),
        name,
        created_at: command.now,
        expires_at,
        is_default_expiry: of.expires_in == ExpiresIn::Default,
        description,
        metadata,
        external_id,
        tags,
        environment: environment.to_string(),
        scopes,
        allowed_ips,
    };
    Ok((key, order))
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
        ExpiresIn::Days(days) => rules::days(Some(days), config.max_days).map(after),
        ExpiresIn::NotAnInteger => rules::days(None, config.max_days).map(after),
        ExpiresIn::At(at) if now < at && at <= after(config.max_days) => Ok(at),
        ExpiresIn::At(_) => {
            let rule =
                format!("must be a moment to come, at most {} days from now", config.max_days);
            Err(FieldError::new("expires_at", rule))
        }
    }
}
