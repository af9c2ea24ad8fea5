//! Login and logout: opening and ending sessions.

use std::sync::Arc;

use latchkey_audit::{Action, Event, Target, append_alone};
use latchkey_bus::Context;
use latchkey_contract::authority::Receipt;
use latchkey_contract::identity::{LogIn, LogOut, LogOutAll, LoggedIn};
use latchkey_contract::refusal::Conflict;
use latchkey_contract::scope::ScopeError;
use latchkey_contract::{
    Caller, CredentialHash, Failure, FieldError, Mark, Refusal, Scopes, Secret, SessionId, UserId,
};
use metrics::counter;

use crate::signer::NotNamed;
use crate::signing::set::CannotSign;
use crate::store::AUDIT;
use crate::store::account::{self as users, Login};
use crate::store::ceiling as ceilings;
use crate::store::session::{self as rows, NewSession, Opened, OpenedBefore};
use crate::throttle::{self, Reservation};
use crate::{Identity, NAME, release, rules};

/// Asks for a refresh token and for no right (OIDC Core §11).
const OFFLINE: &str = "offline_access";

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
        Err(Failure::Forbidden(_)) => "forbidden",
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
    let caller = context.caller()?;
    let asked = asked_for(request.scope.as_deref());
    let (username, password, asked) = match (request.username, request.password, asked) {
        (Some(username), Some(password), Ok(asked)) => (username, password, asked),
        (username, password, asked) => {
            return Err(faults(username.is_none(), password.is_none(), asked.err()).into());
        }
    };
    // A release that knows nothing of it would take the token for one that may do everything.
    if asked.is_some() && !release::knows_scopes(&identity.db).await? {
        return Err(Refusal::Conflict(Conflict::OlderRelease).into());
    }
    let _place = identity.passwords.place()?;
    let user = find_user(&identity, &username).await?;
    let id = user.as_ref().map(|user| user.id);
    let reservation =
        Reservation::of_login(&identity, &context, &username, id, caller.network()).await?;
    let reservation = reservation.of_message(request.mark)?;
    let target = throttle::target(&identity, &username, id)?;
    let hash = user.as_ref().map(|user| user.password_hash.clone());
    let (password, possible) = match rules::password(&password) {
        Some(password) => (password, true),
        // No password can be this one; an empty one takes as long to be wrong.
        None => (Secret::new(String::new()), false),
    };
    let checking = identity.passwords.check_anybody(&context, password.clone(), hash);
    let checked = reservation.during(checking).await?;
    let user = match user {
        Some(user) if checked.right && possible => user,
        _ => {
            let refusal = Refusal::WrongCredentials;
            reservation.failed(&refused(&identity, &refusal, target, caller)).await?;
            let (actor, request_id) = (context.actor(), &context.request_id);
            tracing::debug!(target: "audit", service = NAME, actor, %request_id, "a login was refused");
            return Err(refusal.into());
        }
    };
    if !user.is_active {
        let refusal = Refusal::InactiveUser;
        reservation.given_back(&refused(&identity, &refusal, target, caller)).await?;
        return Err(refusal.into());
    }
    reservation.succeeded().await?;
    if checked.outdated {
        let hash = identity.passwords.hash(&context, password).await?;
        users::renew_password_hash(&identity.db, &user, &hash).await?;
    }
    open(&identity, &context, &user, (request.mark, asked)).await
}

/// Ends a session. A session that has ended, or that nobody has, is ended.
pub(crate) async fn log_out(
    identity: Arc<Identity>,
    context: Context,
    request: LogOut,
) -> Result<Option<Receipt>, Failure> {
    let session = request.session;
    let caller = context.caller()?;
    caller.acts_by(session)?;
    let Some(change) = rows::end(&identity.db, &session, caller, identity.now()).await? else {
        return Ok(None);
    };
    tracing::debug!(target: "audit", service = NAME, actor = context.actor(), request_id = %context.request_id, "logged out");
    let (db, revision) = (identity.db.clone(), change.revision());
    let confirmed = async move { rows::mark_confirmed(&db, &session, revision).await };
    Ok(Some(identity.authority.confirm(change, confirmed).await))
}

/// Ends the sessions of a user up to a number.
pub(crate) async fn log_out_all(
    identity: Arc<Identity>,
    context: Context,
    request: LogOutAll,
) -> Result<Receipt, Failure> {
    let LogOutAll { user, through } = request;
    let caller = context.caller()?;
    caller.acts_as(user)?;
    let change = rows::end_through(&identity.db, user, through, caller, identity.now()).await?;
    tracing::debug!(target: "audit", service = NAME, actor = context.actor(), %user, request_id = %context.request_id, "logged out everywhere");
    Ok(identity.authority.confirm(change, async { Ok(()) }).await)
}

/// Opens a session, if the account is still what the password was checked against.
async fn open(
    identity: &Identity,
    context: &Context,
    user: &Login,
    (mark, scope): (Option<Mark>, Option<Scopes>),
) -> Result<LoggedIn, Failure> {
    let id = UserId(user.id);
    let mut made = make(identity, id, (mark, scope.clone()))?;
    let caller = context.caller()?;
    let mut opened = rows::open(&identity.db, &made.1, user.version, caller).await?;
    if opened == Opened::NotNamed {
        // Its key may have been revoked since this process looked: then another one signs.
        identity.tokens.keys().load(&identity.db).await?;
        made = make(identity, id, (mark, scope))?;
        opened = rows::open(&identity.db, &made.1, user.version, caller).await?;
    }
    let (access_token, row) = made;
    let access_token = match opened {
        Opened::New => access_token,
        Opened::Before(session) => same_token(identity, id, &session)?,
        Opened::NotNamed => return Err(Failure::Unavailable(Box::new(NotNamed))),
        Opened::Overtaken => return Err(overtaken(identity, context.caller()?, user).await?),
        Opened::EndedSince => return Err(Failure::Overloaded),
    };
    tracing::debug!(target: "audit", service = NAME, actor = context.actor(), user = %id, request_id = %context.request_id, "logged in");
    let expires_in = u64::try_from(identity.tokens.lifetime_seconds()).unwrap_or_default();
    let scope = match row.scope {
        Some(asked) => Some(asked.intersection(&ceilings::of(&identity.db, id).await?)),
        None => None,
    };
    Ok(LoggedIn { access_token, expires_in, scope })
}

/// A session to be, and its token.
fn make(
    identity: &Identity,
    user: UserId,
    (mark, scope): (Option<Mark>, Option<Scopes>),
) -> Result<(Secret, NewSession), Failure> {
    let (now, session) = (identity.now(), SessionId(identity.entropy.bytes()));
    let signed = identity.tokens.sign(user, session, now, scope.as_ref()).map_err(unsigned)?;
    let row = NewSession {
        id: session,
        user,
        created_at: now,
        expires_at: identity.tokens.expiry(now),
        token: CredentialHash::of(signed.token.expose()),
        signer: signed.signer,
        mark,
        scope,
    };
    Ok((signed.token, row))
}

/// Where no key is there it will be, or another replica has it.
fn unsigned(error: CannotSign) -> Failure {
    match error {
        CannotSign::NoKey => Failure::Unavailable(Box::new(error)),
        error => Failure::from(error),
    }
}

/// The token of a session that a doubled message opened before. It is the same text, unless the service is
/// configured otherwise by now.
fn same_token(identity: &Identity, user: UserId, opened: &OpenedBefore) -> Result<Secret, Failure> {
    let signed =
        identity.tokens.sign(user, opened.session, opened.created_at, opened.scope.as_ref());
    let signed = signed.map_err(unsigned)?;
    match opened.token {
        Some(hash) if hash == CredentialHash::of(signed.token.expose()) => Ok(signed.token),
        _ => Err(Failure::Overloaded),
    }
}

/// Why a login whose password was right is refused all the same: the account changed while it was checked.
async fn overtaken(
    identity: &Identity,
    caller: &Caller,
    checked: &Login,
) -> Result<Failure, Failure> {
    let refusal = match users::find_login_by_id(&identity.db, checked.id).await? {
        Some(user) if !user.is_active => Refusal::InactiveUser,
        Some(user) if user.passwords() != checked.passwords() => Refusal::WrongCredentials,
        // Deactivated and reactivated meanwhile: the next try is decided on what there is now.
        _ => return Ok(Failure::Overloaded),
    };
    let event = refused(identity, &refusal, Target::User(UserId(checked.id)), caller);
    append_alone(&identity.db, &AUDIT, &event).await?;
    Ok(refusal.into())
}

/// A login that was refused, as the audit log has it.
fn refused<'a>(
    identity: &Identity,
    refusal: &Refusal,
    target: Target,
    by: &'a Caller,
) -> Event<'a> {
    Event::refused(Action::UserLoginFailed, refusal, target, identity.now(), by)
}

async fn find_user(identity: &Identity, username: &str) -> Result<Option<Login>, Failure> {
    match rules::typed_username(username) {
        Some(name) => Ok(users::find_login(&identity.db, &name).await?),
        None => Ok(None),
    }
}

/// What a login asks for: `None` for everything that the user may do.
fn asked_for(scope: Option<&str>) -> Result<Option<Scopes>, FieldError> {
    let Some(text) = scope else { return Ok(None) };
    let wrong = |error: ScopeError| FieldError::new("scope", error.to_string());
    // An empty text, and one with a space too many, has an empty scope in it, which is none.
    let asked = text.split(' ').filter(|scope| *scope != OFFLINE);
    let asked = Scopes::of(asked).map_err(wrong)?;
    Ok(Some(asked).filter(|asked| !asked.is_empty()))
}

fn faults(username: bool, password: bool, scope: Option<FieldError>) -> Refusal {
    let missing = [(username, "username"), (password, "password")];
    let fault = |(missing, field): (bool, &str)| {
        missing.then(|| FieldError::new(field, "is required and must be a text"))
    };
    Refusal::Invalid(missing.into_iter().filter_map(fault).chain(scope).collect())
}
