//! Changing one's password: it needs the current one, and ends every other session.

use std::sync::Arc;

use latchkey_bus::Context;
use latchkey_contract::authority::Receipt;
use latchkey_contract::identity::ChangePassword;
use latchkey_contract::{Failure, FieldError, Refusal, Secret};

use crate::store::account as users;
use crate::throttle::Throttle;
use crate::{Identity, NAME, rules};

/// A wrong current password counts as a failed login of that name.
pub(crate) async fn password(
    identity: Arc<Identity>,
    context: Context,
    request: ChangePassword,
) -> Result<Receipt, Failure> {
    let (current, new) = check(&identity, &request)?;
    let _place = identity.passwords.place()?;
    let known = users::find_known(&identity.db, request.user).await?;
    let known = known.ok_or(Refusal::WrongCredentials)?;
    let throttle = Throttle::enter(&identity, &known.username_canonical).await?;
    let old = known.password_hash;
    let checked = identity.passwords.check(&context, current, Some(old.clone())).await?;
    if !checked.right {
        throttle.failed(&identity).await?;
        return Err(Refusal::WrongCredentials.into());
    }
    throttle.succeeded(&identity).await?;
    if rules::is_common(&new, &known.username_canonical, &known.email_canonical) {
        let message = "is too common or too close to your name: it would be guessed at once";
        return Err(Refusal::Invalid(vec![FieldError::new("new_password", message)]).into());
    }
    let hash = identity.passwords.hash(&context, new).await?;
    let (user, now) = (request.user, identity.now());
    let hashes = (old.as_str(), hash.as_str());
    let change = users::change_password(&identity.db, user, &request.session, hashes, now).await?;
    // Somebody else changed it while this one was hashed: the password is no longer the current one.
    let change = change.ok_or(Refusal::WrongCredentials)?;
    tracing::debug!(target: "audit", service = NAME, %user, request_id = %context.request_id, "a password was changed");
    Ok(identity.authority.confirm(change, async { Ok(()) }).await)
}

/// Both passwords in the form that is hashed, or every faulty field.
fn check(identity: &Identity, request: &ChangePassword) -> Result<(Secret, Secret), Refusal> {
    let least = identity.config.password_min_length;
    let new = rules::new_password(request.new_password.as_ref(), least)
        .map_err(|fault| FieldError::new("new_password", fault.message));
    let current = match &request.current_password {
        // What no password can be is as wrong as an empty one.
        Some(text) => Ok(rules::password(text).unwrap_or_else(|| Secret::new(String::new()))),
        None => Err(FieldError::new("current_password", "is required and must be a text")),
    };
    match (current, new) {
        (Ok(current), Ok(new)) => Ok((current, new)),
        (current, new) => {
            Err(Refusal::Invalid([current.err(), new.err()].into_iter().flatten().collect()))
        }
    }
}
