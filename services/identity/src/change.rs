//! Changing one's password: it needs the current one, and ends every other session.

use std::sync::Arc;

use latchkey_audit::{Action, Event, Target};
use latchkey_bus::Context;
use latchkey_contract::authority::Receipt;
use latchkey_contract::identity::ChangePassword;
use latchkey_contract::{Failure, FieldError, Refusal, Secret, UserId};

use crate::store::account::{self as users, Known};
use crate::store::password::{self as rows, Outcome};
use crate::throttle::Reservation;
use crate::{Identity, NAME, rules};

/// A wrong current password is counted in a budget of the session's own: whoever guesses at the login does
/// not spend it, and whoever has taken over a session does not spend that of logins.
pub(crate) async fn password(
    identity: Arc<Identity>,
    context: Context,
    request: ChangePassword,
) -> Result<Receipt, Failure> {
    let caller = context.caller()?;
    let (user, session) = caller.user()?;
    let (current, new) = check(&identity, &request)?;
    let _place = identity.passwords.place()?;
    let known = users::find_known(&identity.db, user).await?;
    let known = known.ok_or(Refusal::SessionEnded)?;
    if let Some(ended) = answer_if_decided(&identity, user, &request, &known).await? {
        return ended;
    }
    let reservation = Reservation::of_session(&identity, &context, &session).await?;
    let reservation = reservation.of_message(Some(request.mark))?;
    let stored = known.password_hash.clone();
    let checking = identity.passwords.check(&context, current, stored);
    let checked = reservation.during(checking).await?;
    if !checked.right {
        let (refusal, target) = (Refusal::WrongCredentials, Target::User(user));
        let (action, now) = (Action::UserPasswordChanged, identity.now());
        let event = Event::refused(action, &refusal, target, now, caller);
        reservation.failed(&event).await?;
        return Err(refusal.into());
    }
    reservation.succeeded().await?;
    if rules::is_common(&new, &known.username_canonical, &known.email_canonical) {
        let message = "is too common or too close to your name: it would be guessed at once";
        return Err(Refusal::Invalid(vec![FieldError::new("new_password", message)]).into());
    }
    let hash = identity.passwords.hash(&context, new).await?;
    let acts = (user, session);
    let now = identity.now();
    match rows::change(&identity.db, acts, &request, &hash, caller, now).await? {
        Outcome::Changed(change) => {
            tracing::debug!(target: "audit", service = NAME, actor = context.actor(), %user, request_id = %context.request_id, "a password was changed");
            Ok(identity.authority.confirm(change, async { Ok(()) }).await)
        }
        Outcome::SessionEnded => Err(Refusal::SessionEnded.into()),
        // Something newer came while this one was hashed.
        Outcome::Overtaken => {
            let known = users::find_known(&identity.db, user).await?;
            let known = known.ok_or(Refusal::SessionEnded)?;
            answer_if_decided(&identity, user, &request, &known)
                .await?
                .unwrap_or(Err(Refusal::Stale.into()))
        }
    }
}

/// The answer to a message that is not to be carried out: it was before, or something newer came.
async fn answer_if_decided(
    identity: &Identity,
    user: UserId,
    request: &ChangePassword,
    known: &Known,
) -> Result<Option<Result<Receipt, Failure>>, Failure> {
    if known.password_mark.as_deref() == Some(&request.mark.0) {
        let again = rows::changed_before(&identity.db, user, identity.now()).await?;
        return Ok(Some(Ok(identity.authority.confirm(again, async { Ok(()) }).await)));
    }
    Ok(match known {
        known if !known.is_active => Some(Err(Refusal::SessionEnded.into())),
        known if known.version != request.version => Some(Err(Refusal::Stale.into())),
        _ => None,
    })
}

/// Both passwords in the form that is hashed, or every faulty field.
fn check(identity: &Identity, request: &ChangePassword) -> Result<(Secret, Secret), Refusal> {
    let min = identity.config.password_min_length;
    let new = rules::new_password(request.new_password.as_ref(), min)
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
