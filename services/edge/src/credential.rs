//! Credentials of a request, and extractors: a handler that takes [`Oneself`], an [`Owner`] or [`Acting`] runs only for
//! one, and has the context that says so with them (`acting.rs`).

use std::marker::PhantomData;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use latchkey_bus::Context;
use latchkey_contract::problem::{Accepts, CREDENTIAL_IN_URL, CREDENTIAL_TWICE};
use latchkey_contract::scope::Scopes;
use latchkey_contract::verify::PrincipalKind;
use latchkey_contract::{Actor, ApiKey, Detail, KeyDetail, KeyId, UserDetail, UserId};
use latchkey_gate::{CredentialText, Form, Gate, Name, Remembered, Requirement, Unmet};

use crate::acting;
use crate::bearer::bearer;
use crate::problem::Problem;
use crate::secret_in_query;
use crate::state::Edge;

/// The header of an API key.
pub const API_KEY_HEADER: HeaderName = HeaderName::from_static("x-api-key");
/// A user who acts on their account.
pub struct Oneself {
    /// The user.
    pub user: UserDetail,
    /// For what they do.
    pub context: Context,
}

/// Whoever acts on keys: their owner, or a key of theirs that may.
pub struct Owner<S> {
    /// The user whose keys they are.
    pub user: UserId,
    /// The scopes of the token that acts, where it was narrowed at login.
    pub narrowed: Option<Scopes>,
    /// The environment of the key that acts.
    pub environment: Option<String>,
    /// For what they do.
    pub context: Context,
    scope: PhantomData<S>,
}

/// A key that acts on itself: it needs no scope for that.
pub struct Itself {
    /// The key.
    pub key: KeyId,
    /// Whose it is.
    pub user: UserId,
    /// For what it does.
    pub context: Context,
}

/// A scope by which keys are managed.
pub trait KeyScope: Send + Sync + 'static {
    /// Who may do what needs it.
    const REQUIREMENT: Requirement<'static>;
}

/// To see keys.
pub enum Read {}

/// To make and change keys.
pub enum Write {}

impl KeyScope for Read {
    const REQUIREMENT: Requirement<'static> = Requirement::managing("latchkey:keys:read");
}

impl KeyScope for Write {
    const REQUIREMENT: Requirement<'static> = Requirement::managing("latchkey:keys:write");
}

/// Whoever makes something that outlives the request: who it was is asked again afterwards.
pub struct Acting<S> {
    /// The user whose it is.
    pub user: UserId,
    /// The scopes of the token that acts, where it was narrowed at login.
    pub narrowed: Option<Scopes>,
    /// The environment of the key that acts.
    pub environment: Option<String>,
    /// For what they do.
    pub context: Context,
    shown: Kept,
    scope: PhantomData<S>,
}

/// The headers with credentials that a request holds. An empty or unusable one counts as presented.
#[derive(Clone, Copy)]
pub(crate) struct Presented<'a> {
    token: Option<&'a HeaderValue>,
    key: Option<&'a HeaderValue>,
    /// Whether a key may come as a Bearer token.
    takes_bearer_keys: bool,
}

/// The same, for longer than the request's headers.
pub(crate) struct Kept {
    token: Option<HeaderValue>,
    key: Option<HeaderValue>,
    takes_bearer_keys: bool,
}

/// What a look at the credentials comes to.
pub(crate) enum Looked {
    /// Who it is, or why not.
    Judged(Result<Remembered, Problem>),
    /// Somebody has to be asked.
    Open(Open),
}

/// Where a look has stopped: at the form in this place of the requirement's, whose text has this name.
#[derive(Clone, Copy)]
pub(crate) struct Open {
    place: usize,
    name: Name,
}

impl FromRequestParts<Arc<Edge>> for Oneself {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, edge: &Arc<Edge>) -> Result<Self, Problem> {
        let user = required(parts, edge, Requirement::USER).await?;
        let context = acting::by(parts, &user)?;
        let user = user.user().cloned().ok_or_else(Problem::internal)?;
        Ok(Self { user, context })
    }
}

impl FromRequestParts<Arc<Edge>> for Itself {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, edge: &Arc<Edge>) -> Result<Self, Problem> {
        let (requirement, context) = (Requirement::SERVICE, acting::context(parts)?);
        let client = acting::client(parts)?;
        let principal = managing(parts)?.meet(requirement, &edge.gate, context, client).await?;
        let context = acting::by(parts, &principal)?;
        let Detail::Key(KeyDetail { id: key, owner, .. }) = &principal.detail else {
            return Err(Problem::internal());
        };
        Ok(Self { key: *key, user: owner.user(), context })
    }
}

impl<S: KeyScope> FromRequestParts<Arc<Edge>> for Owner<S> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, edge: &Arc<Edge>) -> Result<Self, Problem> {
        let principal = managing(parts)?
            .meet(S::REQUIREMENT, &edge.gate, acting::context(parts)?, acting::client(parts)?)
            .await?;
        let context = acting::by(parts, &principal)?;
        let narrowed = principal.user().is_some_and(|user| user.is_narrowed);
        let narrowed = narrowed.then(|| principal.grants.scopes.clone());
        let environment = principal.grants.environment.as_deref().map(str::to_owned);
        let user = principal.owner().user();
        Ok(Self { user, narrowed, environment, context, scope: PhantomData })
    }
}

impl<S: KeyScope> FromRequestParts<Arc<Edge>> for Acting<S> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, edge: &Arc<Edge>) -> Result<Self, Problem> {
        let Owner { user, narrowed, environment, context, scope } =
            Owner::from_request_parts(parts, edge).await?;
        let shown = managing(parts)?;
        // The one of the two that counted.
        let shown = match context.caller.as_deref().map(|caller| &caller.actor) {
            Some(Actor::User { .. }) => Presented { key: None, ..shown },
            _ => Presented { token: shown.token.filter(|_| shown.key.is_none()), ..shown },
        };
        Ok(Self { user, narrowed, environment, context, shown: shown.kept(), scope })
    }
}

impl<S: KeyScope> Acting<S> {
    /// Whether the very same credential is good now, and may do it.
    ///
    /// # Errors
    /// 401 where it is not any more, 403 where it may not, 503 where nobody could say.
    pub(crate) async fn is_still_good(&self, gate: &Gate) -> Result<(), Problem> {
        let client = self.context.caller.as_deref().and_then(|caller| caller.address);
        self.shown.presented().meet(S::REQUIREMENT, gate, &self.context, client).await.map(drop)
    }
}

/// The credentials of a request on keys, where a key may be sent as a Bearer token, too: other systems pass nothing else
/// on. The same key twice is one.
fn managing(parts: &Parts) -> Result<Presented<'_>, Problem> {
    let presented = Presented { takes_bearer_keys: true, ..presented(&parts.uri, &parts.headers)? };
    match (presented.bearer_key(), presented.key) {
        (Some(one), Some(other)) if other.to_str().ok() != Some(one) => {
            Err(Problem::of(&CREDENTIAL_TWICE))
        }
        _ => Ok(presented),
    }
}

/// Whoever a request is from, if they meet its requirement.
async fn required(
    parts: &Parts,
    edge: &Edge,
    requirement: Requirement<'_>,
) -> Result<Remembered, Problem> {
    let presented = presented(&parts.uri, &parts.headers)?;
    let (context, client) = (acting::context(parts)?, acting::client(parts)?);
    presented.meet(requirement, &edge.gate, context, client).await
}

impl<'a> Presented<'a> {
    /// Whoever shows a credential that the requirement looks at, if they meet it. The first that is accepted
    /// counts: an invalid token beside a valid key is served as the key. `client`: its address, where it is known.
    ///
    /// # Errors
    /// 401 where none is accepted, 403 where it is not enough, 503 where nobody could say.
    pub(crate) async fn meet(
        self,
        requirement: Requirement<'_>,
        gate: &Gate,
        context: &Context,
        client: Option<IpAddr>,
    ) -> Result<Remembered, Problem> {
        match self.look(requirement, gate, || client) {
            Looked::Judged(judged) => judged,
            Looked::Open(open) => self.ask(requirement, gate, context, client, open).await,
        }
    }

    /// The same, as far as nobody has to be asked.
    pub(crate) fn look(
        self,
        requirement: Requirement<'_>,
        gate: &Gate,
        client: impl FnOnce() -> Option<IpAddr>,
    ) -> Looked {
        self.look_from(0, requirement, gate, client)
    }

    /// The same from where a look has stopped.
    ///
    /// # Errors
    /// As for [`meet`](Self::meet).
    pub(crate) async fn ask(
        self,
        requirement: Requirement<'_>,
        gate: &Gate,
        context: &Context,
        client: Option<IpAddr>,
        mut open: Open,
    ) -> Result<Remembered, Problem> {
        // Each turn is about a later form.
        loop {
            let Open { place, name } = open;
            let form = requirement.forms().get(place).ok_or_else(Problem::internal)?;
            let credential = self.shown(*form).ok_or_else(Problem::internal)?;
            if let Some(accepted) = gate.ask(context, credential, name).await?.valid() {
                return self.judge(requirement, gate, (*form, accepted), || client);
            }
            match self.look_from(place + 1, requirement, gate, || client) {
                Looked::Judged(judged) => return judged,
                Looked::Open(next) => open = next,
            }
        }
    }

    fn look_from(
        self,
        from: usize,
        requirement: Requirement<'_>,
        gate: &Gate,
        client: impl FnOnce() -> Option<IpAddr>,
    ) -> Looked {
        for (place, form) in requirement.forms().iter().enumerate().skip(from) {
            let Some(credential) = self.shown(*form) else { continue };
            match gate.look(credential) {
                latchkey_gate::Looked::Known(verdict) => {
                    if let Some(accepted) = verdict.valid() {
                        let accepted = (*form, accepted);
                        return Looked::Judged(self.judge(requirement, gate, accepted, client));
                    }
                }
                // It may be good, and would win over the next.
                latchkey_gate::Looked::Unknown(name) => return Looked::Open(Open { place, name }),
            }
        }
        Looked::Judged(Err(self.unauthenticated(requirement)))
    }

    fn judge(
        self,
        requirement: Requirement<'_>,
        gate: &Gate,
        (form, principal): (Form, Remembered),
        client: impl FnOnce() -> Option<IpAddr>,
    ) -> Result<Remembered, Problem> {
        match gate.judge(form, requirement, &principal, client) {
            Ok(()) => Ok(principal),
            Err(Unmet::WrongKind(PrincipalKind::Service)) => Err(self.unauthenticated(requirement)),
            Err(unmet) => Err(Problem::unmet(unmet, requirement)),
        }
    }

    fn unauthenticated(self, requirement: Requirement<'_>) -> Problem {
        let is_any = requirement.forms().iter().any(|form| self.header(*form).is_some());
        Problem::unauthenticated(accepts(requirement), is_any)
    }

    fn shown(self, form: Form) -> Option<CredentialText<'a>> {
        if let (Form::Key, None, Some(text)) = (form, self.key, self.bearer_key()) {
            return Some(CredentialText { form, text });
        }
        // What is not ASCII is no credential, and reads as an empty one.
        let text = self.header(form)?.to_str().unwrap_or_default();
        let text = if form == Form::Token { bearer(text) } else { text };
        Some(CredentialText { form, text })
    }

    /// The key that is sent as a Bearer token, where that is taken.
    fn bearer_key(self) -> Option<&'a str> {
        let text = bearer(self.token.filter(|_| self.takes_bearer_keys)?.to_str().ok()?);
        ApiKey::hash_of(text).is_ok().then_some(text)
    }

    fn header(self, form: Form) -> Option<&'a HeaderValue> {
        match form {
            Form::Key => self.key,
            Form::Token => self.token,
        }
    }

    /// The same, for longer than the request's headers.
    pub(crate) fn kept(self) -> Kept {
        let Self { token, key, takes_bearer_keys } = self;
        Kept { token: token.cloned(), key: key.cloned(), takes_bearer_keys }
    }
}

impl Kept {
    /// The headers.
    pub(crate) fn presented(&self) -> Presented<'_> {
        let takes_bearer_keys = self.takes_bearer_keys;
        Presented { token: self.token.as_ref(), key: self.key.as_ref(), takes_bearer_keys }
    }
}

/// What a client may authenticate with, as it is told.
pub(crate) fn accepts(requirement: Requirement<'_>) -> Accepts {
    match requirement.forms() {
        [Form::Key] => Accepts::Key,
        _ if requirement.kind() == Some(PrincipalKind::User) => Accepts::Token,
        _ => Accepts::Either,
    }
}

/// The credentials of a request.
///
/// # Errors
/// [`Problem`] where they are not for us to take: in the URL, or one twice.
pub(crate) fn presented<'a>(uri: &Uri, headers: &'a HeaderMap) -> Result<Presented<'a>, Problem> {
    if uri.query().is_some_and(secret_in_query::is_held_by) {
        return Err(Problem::of(&CREDENTIAL_IN_URL));
    }
    let token = single(headers, &AUTHORIZATION)?;
    let key = single(headers, &API_KEY_HEADER)?;
    Ok(Presented { token, key, takes_bearer_keys: false })
}

fn single<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a HeaderValue>, Problem> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Problem::of(&CREDENTIAL_TWICE));
    }
    Ok(first)
}
