//! Making a key. Its text leaves in one answer and is stored nowhere.

use std::sync::Arc;

use hkdf::Hkdf;
use latchkey_bus::Context;
use latchkey_contract::keys::{ExpiresIn, IssueKey, IssuedKey, SEED_MIN};
use latchkey_contract::text::is_shown_whole;
use latchkey_contract::{ApiKey, Failure, FieldError, Refusal, Secret, Timestamp, UserId};
use latchkey_runtime::Entropy;
use sha2::Sha256;

use crate::store::{self, Inserted, NewKey};
use crate::{Config, Keys, NAME};

/// Characters of a key's name at most, after trimming.
const NAME_MAX: usize = 100;

pub(crate) async fn issue(
    keys: Arc<Keys>,
    context: Context,
    request: IssueKey,
) -> Result<IssuedKey, Failure> {
    let caller = context.caller()?;
    caller.acts_as(request.owner)?;
    let (name, days) = check(&request, &keys.config)?;
    let key = make(&request, &keys);
    let created_at = keys.now();
    let row = NewKey {
        owner: request.owner,
        hash: key.hash(),
        hint: key.hint(),
        name,
        created_at,
        expires_at: created_at.plus(days * Timestamp::DAY),
    };
    let listed = match store::insert(&keys.db, row, caller).await? {
        Inserted::Key(listed) => listed,
        // The account was deactivated after the edge had asked who acts.
        Inserted::OwnerDisabled => return Err(Refusal::SessionEnded.into()),
        // It is disabled no longer: the next try makes the key.
        Inserted::Nothing => return Err(Failure::Overloaded),
    };
    let (actor, request_id) = (context.actor(), &context.request_id);
    tracing::debug!(target: "audit", service = NAME, actor, user = %request.owner, key = %listed.id, %request_id, "a key was issued");
    Ok(IssuedKey { listed, key: Secret::new(key.expose().to_owned()) })
}

/// A key with the prefix of now, of the first environment.
fn make(request: &IssueKey, keys: &Keys) -> ApiKey {
    let Config { prefix, environments, .. } = &keys.config;
    let infix = environments.infix(environments.first());
    match &request.seed {
        Some(seed) => ApiKey::generate(prefix, infix, grow(seed, request.owner, &keys.entropy)),
        None => ApiKey::generate(prefix, infix, |bytes| keys.entropy.fill(bytes)),
    }
}

/// The random characters that grow from a seed: always the same for the same seed and owner, and as hard to guess as
/// the seed (HKDF, RFC 5869). So a doubled message makes one key and gets one answer.
fn grow(seed: &Secret, owner: UserId, entropy: &Entropy) -> impl FnMut(&mut [u8]) {
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

/// The trimmed name and the days, or every faulty field.
fn check(request: &IssueKey, config: &Config) -> Result<(String, i64), Refusal> {
    let name = check_name(request.name.as_deref());
    let days = match request.expires_in {
        ExpiresIn::Default => Ok(config.expire_days),
        ExpiresIn::Days(days) if (1..=config.max_days).contains(&days) => Ok(days),
        ExpiresIn::Days(_) | ExpiresIn::NotAnInteger => {
            let rule = format!("must be a whole number from 1 to {}", config.max_days);
            Err(FieldError::new("expires_in_days", rule))
        }
    };
    // A key is as hard to guess as what it is made from.
    let seed = match &request.seed {
        Some(seed) if seed.expose().len() < SEED_MIN => {
            Err(FieldError::new("seed", "must have at least 32 random characters"))
        }
        _ => Ok(()),
    };
    match (name, days, seed) {
        (Ok(name), Ok(days), Ok(())) => Ok((name, days)),
        (name, days, seed) => {
            let faults = [name.err(), days.err(), seed.err()];
            Err(Refusal::Invalid(faults.into_iter().flatten().collect()))
        }
    }
}

fn check_name(name: Option<&str>) -> Result<String, FieldError> {
    let wrong = |message: &str| FieldError::new("name", message);
    let name = name.ok_or_else(|| wrong("is required and must be a text"))?.trim();
    match name.chars().count() {
        0 => Err(wrong("must have 1 to 100 characters besides spaces at its ends")),
        length if length > NAME_MAX => Err(wrong("must have at most 100 characters")),
        // It is shown in lists, greetings and logs: nothing may hide in it or turn it round.
        _ if !is_shown_whole(name) => {
            Err(wrong("may not hold control, bidirectional or invisible characters"))
        }
        _ => Ok(name.to_owned()),
    }
}
