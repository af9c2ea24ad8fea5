//! Opening an account.

use std::sync::Arc;

use latchkey_bus::Context;
use latchkey_contract::identity::{Account, SignUp};
use latchkey_contract::{Failure, FieldError, Refusal, UserId};

use crate::rules::{self, Canonical};
use crate::store::account::{self as rows, NewUser};
use crate::{Identity, NAME};

/// Checks the fields, then whether name and address are free, then whether the password is common,
/// and only then hashes: a duplicate costs no hash, and is named even where the password is bad too.
pub(crate) async fn sign_up(
    identity: Arc<Identity>,
    context: Context,
    request: SignUp,
) -> Result<Account, Failure> {
    let caller = context.caller()?;
    let email = rules::email(request.email.as_deref());
    let username = rules::username(request.username.as_deref());
    let min = identity.config.password_min_length;
    let password = rules::new_password(request.password.as_ref(), min);
    let (email, username, password) = match (email, username, password) {
        (Ok(email), Ok(username), Ok(password)) => (email, username, password),
        (email, username, password) => {
            let faults = [email.err(), username.err(), password.err()];
            return Err(Refusal::Invalid(faults.into_iter().flatten().collect()).into());
        }
    };
    let _place = identity.passwords.place()?;
    refuse_taken(&identity, &email, &username).await?;
    if rules::is_common(&password, &username.canonical, &email.canonical) {
        let message = "is too common or too close to your name: it would be guessed at once";
        return Err(Refusal::Invalid(vec![FieldError::new("password", message)]).into());
    }
    let password_hash = identity.passwords.hash(&context, password).await?;
    let user = NewUser {
        email: &email,
        username: &username,
        password_hash: &password_hash,
        created_at: identity.now(),
    };
    let Some(id) = rows::insert(&identity.db, &user, caller).await? else {
        // Somebody else took it while this one's password was hashed.
        refuse_taken(&identity, &email, &username).await?;
        return Err(Failure::Overloaded);
    };
    tracing::debug!(target: "audit", service = NAME, actor = context.actor(), user = id, request_id = %context.request_id, "signed up");
    Ok(Account {
        id: UserId(id),
        created_at: user.created_at,
        email: email.shown,
        username: username.shown,
        is_active: true,
    })
}

async fn refuse_taken(
    identity: &Identity,
    email: &Canonical,
    username: &Canonical,
) -> Result<(), Failure> {
    let taken = rows::taken(&identity.db, email, username).await?;
    if taken.email {
        return Err(Refusal::EmailTaken.into());
    }
    if taken.username {
        return Err(Refusal::UsernameTaken.into());
    }
    Ok(())
}
