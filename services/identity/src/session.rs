//! Login and logout: opening and ending sessions.

use std::sync::Arc;

use latchkey_audit::{Action, Event, Target, append_alone};
use latchkey_authority::Change;
use latchkey_bus::Context;
use latchkey_contract::authority::Receipt;
use latchkey_contract::identity::{LogIn, LogOut, LogOutAll, LoggedIn, MAX_DEVICE, NextRefresh};
use latchkey_contract::refusal::Conflict;
use latchkey_contract::{
    Caller, CredentialHash, Failure, FieldError, Mark, Refusal, Scopes, Secret, SessionId,
    Timestamp, UserId,
};
use latchkey_runtime::Entropy;
use metrics::counter;

use crate::asked::asked_for;
use crate::refresh::seconds_left;
use crate::signer::NotNamed;
use crate::signing::set::CannotSign;
use crate::store::AUDIT;
use crate::store::account::{self as users, Login};
use crate::store::ceiling as ceilings;
use crate::store::session as rows;
use crate::store::session_open::{NewRefresh, NewSession, Opened, OpenedBefore, open as open_row};
use crate::throttle::{self, Reservation};
use crate::token::{NewToken, Signed};
use crate::{Identity, NAME, release, rules};

/// What a login asks for besides.
#[derive(Clone)]
struct Wanted {
    mark: Option<Mark>,
    scope: Option<Scopes>,
    refresh: bool,
    device: Option<String>,
}

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
    let wanted = wanted(&request);
    let (username, password, wanted) = match (request.username, request.password, wanted) {
        (Some(username), Some(password), Ok(wanted)) => (username, password, wanted),
        (username, password, wanted) => {
            return Err(faults(username.is_none(), password.is_none(), wanted.err()).into());
        }
    };
    // A release that knows nothing of it would take the token for one that may do everything, or one session for another.
    let is_offered = (wanted.scope.is_none() || release::knows_scopes(&identity.db).await?)
        && (!wanted.refresh || identity.several.are_known(&identity.db).await?);
    if !is_offered {
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
    open(&identity, &context, &user, wanted).await
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
    let ended = end(&identity, session, (Action::UserLoggedOut, caller)).await?;
    tracing::debug!(target: "audit", service = NAME, actor = context.actor(), request_id = %context.request_id, "logged out");
    Ok(ended)
}

/// Ends a session, and returns when no edge accepts a token of it. `None`: there is no such session.
pub(crate) async fn end(
    identity: &Identity,
    session: SessionId,
    why: (Action, &Caller),
) -> Result<Option<Receipt>, Failure> {
    let Some(change) = rows::end(&identity.db, &session, why, identity.now()).await? else {
        return Ok(None);
    };
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
    let LogOutAll { user, through, keep_current } = request;
    let caller = context.caller()?;
    caller.acts_as(user)?;
    let kept = if keep_current { Some(caller.user()?.1) } else { None };
    let ends = (through, kept);
    let change = rows::end_through(&identity.db, user, ends, caller, identity.now()).await?;
    tracing::debug!(target: "audit", service = NAME, actor = context.actor(), %user, request_id = %context.request_id, "logged out everywhere");
    Ok(identity.authority.confirm(change, async { Ok(()) }).await)
}

/// Opens a session, if the account is still what the password was checked against.
async fn open(
    identity: &Identity,
    context: &Context,
    user: &Login,
    wanted: Wanted,
) -> Result<LoggedIn, Failure> {
    let now = identity.now();
    let id = UserId(user.id);
    let caller = context.caller()?;
    let (mut access_token, mut row) = new_session(identity, id, wanted.clone(), now)?;
    let mut opened = open_row(&identity.db, &row, user.version, caller).await?;
    if opened == Opened::NotNamed {
        // Its key may have been revoked since this process looked: then another one signs.
        identity.tokens.keys().load(&identity.db).await?;
        (access_token, row) = new_session(identity, id, wanted, now)?;
        opened = open_row(&identity.db, &row, user.version, caller).await?;
    }
    let (access_token, session) = match opened {
        Opened::New => (access_token, row.id),
        Opened::InPlaceOf(ended) => {
            tell_of(identity, ended);
            (access_token, row.id)
        }
        Opened::Before(session) => (same_token(identity, id, &session)?, session.session),
        Opened::NotNamed => return Err(Failure::Unavailable(Box::new(NotNamed))),
        Opened::Overtaken => return Err(overtaken(identity, caller, user).await?),
        Opened::EndedSince => return Err(Failure::Overloaded),
    };
    tracing::debug!(target: "audit", service = NAME, actor = context.actor(), user = %id, request_id = %context.request_id, "logged in");
    let expires_in = seconds_left(now, identity.tokens.expiry(now).min(row.expires_at));
    let scope = match row.scope {
        Some(asked) => Some(asked.intersection(&ceilings::of(&identity.db, id).await?)),
        None => None,
    };
    let refresh = match (row.refresh, row.mark) {
        (Some(_), Some(mark)) => Some(NextRefresh {
            token: identity.refresh_tokens.first(session, mark)?.into_secret(),
            expires_in: seconds_left(now, row.expires_at),
        }),
        _ => None,
    };
    Ok(LoggedIn { access_token, expires_in, scope, refresh })
}

/// The row of a session to be, and its first token.
fn new_session(
    identity: &Identity,
    user: UserId,
    wanted: Wanted,
    now: Timestamp,
) -> Result<(Secret, NewSession), Failure> {
    let Wanted { mark, scope, refresh, device } = wanted;
    let id = SessionId(identity.entropy.bytes());
    // One that has no other token is told by its session, as it always was.
    let sid = refresh.then_some(id.0);
    let token = NewToken { user, session: id, id: sid, issued_at: now, scope: scope.as_ref() };
    let Signed { token: access_token, signer } = identity.tokens.sign(&token).map_err(unsigned)?;
    let lives = &identity.config.sessions;
    let longest = now.plus(lives.longest);
    let refresh = match mark {
        Some(mark) if refresh => Some(NewRefresh {
            token: identity.refresh_tokens.first(id, mark)?.hash(),
            max_expires_at: longest,
            per_user: lives.per_user,
        }),
        _ => None,
    };
    let expires_at = match &refresh {
        Some(_) => lives.ends(now, longest),
        None => identity.tokens.expiry(now),
    };
    let row = NewSession {
        id,
        user,
        created_at: now,
        expires_at,
        token: CredentialHash::of(access_token.expose()),
        refresh,
        handle: Some(handle(&identity.entropy)),
        device,
        signer,
        mark,
        scope,
    };
    Ok((access_token, row))
}

/// Where no key is there it will be, or another replica has it.
pub(crate) fn unsigned(error: CannotSign) -> Failure {
    match error {
        CannotSign::NoKey => Failure::Unavailable(Box::new(error)),
        error => Failure::from(error),
    }
}

/// What a session is called where it is shown.
pub(crate) fn handle(entropy: &Entropy) -> String {
    format!("{:016x}", u64::from_ne_bytes(entropy.bytes()))
}

/// Has every edge told that these sessions have ended. Nobody waits for it: where it fails, edges learn of it when they
/// renew their leases.
fn tell_of(identity: &Identity, ended: Vec<(SessionId, Change)>) {
    for (session, change) in ended {
        let (db, revision) = (identity.db.clone(), change.revision());
        let confirmed = async move { rows::mark_confirmed(&db, &session, revision).await };
        let authority = Arc::clone(&identity.authority);
        authority.tell(change, confirmed);
    }
}

/// The first token of a session that a doubled message opened before. It is the same text, unless the service is
/// configured otherwise by now.
fn same_token(identity: &Identity, user: UserId, opened: &OpenedBefore) -> Result<Secret, Failure> {
    let session = opened.session;
    // It says its session where that has other tokens.
    for id in [Some(session.0), None] {
        let (issued_at, scope) = (opened.created_at, opened.scope.as_ref());
        let token = NewToken { user, session, id, issued_at, scope };
        let Signed { token, .. } = identity.tokens.sign(&token).map_err(unsigned)?;
        if opened.token == Some(CredentialHash::of(token.expose())) {
            return Ok(token);
        }
    }
    Err(Failure::Overloaded)
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

/// What a login asks for besides, or every fault in it.
fn wanted(request: &LogIn) -> Result<Wanted, Vec<FieldError>> {
    let mut faults = Vec::new();
    let scope = asked_for(request.scope.as_deref()).unwrap_or_else(|fault| {
        faults.push(fault);
        None
    });
    let refresh = request.refresh.unwrap_or_else(|| {
        faults.push(FieldError::new("refresh", "must be true or false"));
        false
    });
    if refresh && request.mark.is_none() {
        faults.push(FieldError::new("mark", "is required where a refresh token is asked for"));
    }
    let device = request.device.clone();
    let is_name = |name: &String| {
        (1..=MAX_DEVICE).contains(&name.chars().count()) && !name.contains(char::is_control)
    };
    if !device.as_ref().is_none_or(is_name) {
        let rule = format!(
            "must be a text of 1 to {MAX_DEVICE} characters, none of them a control character"
        );
        faults.push(FieldError::new("device", rule));
    }
    let wanted = Wanted { mark: request.mark, scope, refresh, device };
    if faults.is_empty() { Ok(wanted) } else { Err(faults) }
}

fn faults(username: bool, password: bool, others: Option<Vec<FieldError>>) -> Refusal {
    let missing = [(username, "username"), (password, "password")];
    let fault = |(missing, field): (bool, &str)| {
        missing.then(|| FieldError::new(field, "is required and must be a text"))
    };
    let others = others.into_iter().flatten();
    Refusal::Invalid(missing.into_iter().filter_map(fault).chain(others).collect())
}
