//! Login and logout: opening and ending sessions.

use std::sync::Arc;

use latchkey_bus::Context;
use latchkey_contract::authority::Receipt;
use latchkey_contract::identity::{LogIn, LogOut, LogOutAll, LoggedIn};
use latchkey_contract::{CredentialHash, Failure, FieldError, Refusal, Secret, SessionId, UserId};
use metrics::counter;

use crate::store::account::{self as users, Login};
use crate::store::session::{self as rows, NewSession};
use crate::throttle::Throttle;
use crate::{Identity, NAME, rules};

/// Logs in, and counts how that ended.
pub(crate) async fn log_in(
    identity: Arc<Identity>,
    context: Context,
    request: LogIn,
) -> Result<LoggedIn, Failure> {
    let ended = try_log_in(identity, context, request).await;
    let outcome = match &ended {
        Ok(_) => "logged_in",
        Err(Failure::Refused(refusal)) => refusal.code(),
        Err(Failure::Overloaded) => "overloaded",
        Err(Failure::Unavailable(_)) => "unavailable",
        Err(Failure::Fault(_)) => "fault",
    };
    counter!("latchkey_logins_total", "outcome" => outcome).increment(1);
    ended
}

/// A wrong password and an unknown name take the same steps and get the same answer.
async fn try_log_in(
    identity: Arc<Identity>,
    context: Context,
    request: LogIn,
) -> Result<LoggedIn, Failure> {
    let (username, password) = match (request.username, request.password) {
        (Some(username), Some(password)) => (username, password),
        (username, password) => return Err(missing(username.is_none(), password.is_none()).into()),
    };
    let _place = identity.passwords.place()?;
    let throttle = Throttle::enter(&identity, &username).await?;
    let user = find_user(&identity, &username).await?;
    let hash = user.as_ref().map(|user| user.password_hash.clone());
    let (password, possible) = match rules::password(&password) {
        Some(password) => (password, true),
        // No password can be this one; an empty one takes as long to be wrong.
        None => (Secret::new(String::new()), false),
    };
    let checked = identity.passwords.check(&context, password.clone(), hash).await?;
    let user = match user {
        Some(user) if checked.right && possible => user,
        _ => {
            throttle.failed(&identity).await?;
            let request_id = &context.request_id;
            tracing::debug!(target: "audit", service = NAME, %request_id, "a login was refused");
            return Err(Refusal::WrongCredentials.into());
        }
    };
    if !user.is_active {
        return Err(Refusal::InactiveUser.into());
    }
    throttle.succeeded(&identity).await?;
    if checked.outdated {
        let hash = identity.passwords.hash(&context, password).await?;
        users::set_password_hash(&identity.db, user.id, &user.password_hash, &hash).await?;
    }
    open(&identity, &context, UserId(user.id)).await
}

/// Ends a session. A session that has ended, or that nobody has, is ended.
pub(crate) async fn log_out(
    identity: Arc<Identity>,
    context: Context,
    request: LogOut,
) -> Result<Option<Receipt>, Failure> {
    let session = request.session;
    let Some(change) = rows::end(&identity.db, &session, identity.now()).await? else {
        return Ok(None);
    };
    tracing::debug!(target: "audit", service = NAME, request_id = %context.request_id, "logged out");
    let (db, position) = (identity.db.clone(), change.position());
    let settle = async move { rows::settle(&db, &session, position).await };
    Ok(Some(identity.authority.confirm(change, settle).await))
}

/// Ends every session of a user.
pub(crate) async fn log_out_all(
    identity: Arc<Identity>,
    context: Context,
    request: LogOutAll,
) -> Result<Receipt, Failure> {
    let user = request.user;
    let change = rows::end_all(&identity.db, user, identity.now()).await?;
    tracing::debug!(target: "audit", service = NAME, %user, request_id = %context.request_id, "logged out everywhere");
    Ok(identity.authority.confirm(change, async { Ok(()) }).await)
}

async fn open(identity: &Identity, context: &Context, user: UserId) -> Result<LoggedIn, Failure> {
    let now = identity.now();
    let session = SessionId(identity.entropy.bytes());
    let access_token = identity.tokens.sign(user, session, now)?;
    let row = NewSession {
        id: session,
        user,
        created_at: now,
        expires_at: identity.tokens.expiry(now),
        token: CredentialHash::of(access_token.expose()),
    };
    rows::insert(&identity.db, &row).await?;
    tracing::debug!(target: "audit", service = NAME, %user, request_id = %context.request_id, "logged in");
    let expires_in = u64::try_from(identity.tokens.lifetime_seconds()).unwrap_or_default();
    Ok(LoggedIn { access_token, expires_in })
}

async fn find_user(identity: &Identity, username: &str) -> Result<Option<Login>, Failure> {
    match rules::canonical_username(username) {
        Some(canonical) => Ok(users::find_login(&identity.db, &canonical).await?),
        None => Ok(None),
    }
}

fn missing(username: bool, password: bool) -> Refusal {
    let faults = [(username, "username"), (password, "password")];
    let fault = |(missing, field): (bool, &str)| {
        missing.then(|| FieldError::new(field, "is required and must be a text"))
    };
    Refusal::Invalid(faults.into_iter().filter_map(fault).collect())
}
