//! Making a key. Its text leaves in one answer and is stored nowhere.

use std::sync::Arc;

use latchkey_bus::Context;
use latchkey_contract::keys::{ExpiresIn, IssueKey, IssuedKey};
use latchkey_contract::{ApiKey, Failure, FieldError, Refusal, Secret, Timestamp};

use crate::store::{self, NewKey};
use crate::{Keys, NAME};

/// Characters of a key's name at most, after trimming.
const NAME_MAX: usize = 100;
/// Days that a key may live.
const DAYS: std::ops::RangeInclusive<i64> = 1..=3_650;

pub(crate) async fn issue(
    keys: Arc<Keys>,
    context: Context,
    request: IssueKey,
) -> Result<IssuedKey, Failure> {
    let (name, days) = check(&request, keys.config.expire_days)?;
    let key = ApiKey::generate(|bytes| keys.entropy.fill(bytes));
    let created_at = keys.now();
    let row = NewKey {
        owner: request.owner,
        hash: key.hash(),
        hint: key.hint(),
        name,
        created_at,
        expires_at: created_at.plus(days * Timestamp::DAY),
    };
    let listed = store::insert(&keys.db, row).await?;
    let (user, key_id, request_id) = (request.owner, listed.id, &context.request_id);
    tracing::debug!(target: "audit", service = NAME, %user, key = %key_id, %request_id, "a key was issued");
    Ok(IssuedKey { listed, key: Secret::new(key.expose().to_owned()) })
}

/// The trimmed name and the days, or every faulty field.
fn check(request: &IssueKey, default_days: i64) -> Result<(String, i64), Refusal> {
    let name = check_name(request.name.as_deref());
    let days = match request.expires_in {
        ExpiresIn::Default => Ok(default_days),
        ExpiresIn::Days(days) if DAYS.contains(&days) => Ok(days),
        ExpiresIn::Days(_) | ExpiresIn::NotAnInteger => {
            Err(FieldError::new("expires_in_days", "must be a whole number from 1 to 3650"))
        }
    };
    match (name, days) {
        (Ok(name), Ok(days)) => Ok((name, days)),
        (name, days) => {
            Err(Refusal::Invalid([name.err(), days.err()].into_iter().flatten().collect()))
        }
    }
}

fn check_name(name: Option<&str>) -> Result<String, FieldError> {
    let wrong = |message: &str| FieldError::new("name", message);
    let name = name.ok_or_else(|| wrong("is required and must be a text"))?.trim();
    match name.chars().count() {
        0 => Err(wrong("must have 1 to 100 characters besides spaces at its ends")),
        length if length > NAME_MAX => Err(wrong("must have at most 100 characters")),
        _ if name.chars().any(char::is_control) => Err(wrong("may not hold control characters")),
        _ => Ok(name.to_owned()),
    }
}
