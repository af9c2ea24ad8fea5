//! Credentials of a request, and extractors: a handler that takes [`Oneself`], an [`Owner`] or [`Acting`] runs only for
//! one, and has the context that says so with them (`acting.rs`).

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use latchkey_bus::Context;
use latchkey_contract::problem::{Accepts, CREDENTIAL_IN_URL, CREDENTIAL_TWICE, USERS_ONLY};
use latchkey_contract::verify::PrincipalKind;
use latchkey_contract::{ApiKey, UserDetail, UserId};
use latchkey_gate::{CredentialText, Form, Gate, Name, Remembered, Requirement, Unmet};

use crate::acting;
use crate::problem::Problem;
use crate::state::Edge;

/// The header of an API key.
pub const API_KEY_HEADER: HeaderName = HeaderName::from_static("x-api-key");
/// What an API key of the default prefix, however much is left of it, and names under which one is wrongly sent look
/// like in a query.
const SECRETS_IN_QUERY: [&str; 6] =
    ["sk_", "api_key=", "api-key=", "apikey=", "access_token=", "token="];

/// A user who acts on their account.
pub struct Oneself {
    /// The user.
    pub user: UserDetail,
    /// For what they do.
    pub context: Context,
}

/// A user who acts on what is theirs. An API key is recognised, and told that only users may.
pub struct Owner {
    /// The user.
    pub user: UserId,
    /// For what they do.
    pub context: Context,
}

/// A user who makes something that outlives the request: who it was is asked again afterwards.
pub struct Acting {
    /// The user.
    pub user: UserId,
    /// For what they do.
    pub context: Context,
    token: Kept,
}

/// The headers with credentials that a request holds. An empty or unusable one counts as presented.
#[derive(Clone, Copy)]
pub(crate) struct Presented<'a> {
    token: Option<&'a HeaderValue>,
    key: Option<&'a HeaderValue>,
}

/// The same, for longer than the request's headers.
pub(crate) struct Kept {
    token: Option<HeaderValue>,
    key: Option<HeaderValue>,
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

impl FromRequestParts<Arc<Edge>> for Owner {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, edge: &Arc<Edge>) -> Result<Self, Problem> {
        let requirement = Requirement::of_kind(PrincipalKind::User);
        let user = required(parts, edge, requirement).await?;
        let context = acting::by(parts, &user)?;
        let user = user.user().ok_or_else(Problem::internal)?.id;
        Ok(Self { user, context })
    }
}

impl FromRequestParts<Arc<Edge>> for Acting {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, edge: &Arc<Edge>) -> Result<Self, Problem> {
        let Owner { user, context } = Owner::from_request_parts(parts, edge).await?;
        let presented = presented(&parts.uri, &parts.headers)?;
        Ok(Self { user, context, token: Presented { key: None, ..presented }.kept() })
    }
}

impl Acting {
    /// Whether the very same token is good now.
    ///
    /// # Errors
    /// 401 where it is not any more, 503 where nobody could say.
    pub(crate) async fn is_still_good(&self, gate: &Gate) -> Result<(), Problem> {
        self.token.presented().meet(Requirement::USER, gate, &self.context).await.map(drop)
    }
}

/// Whoever a request is from, if they meet its requirement.
async fn required(
    parts: &Parts,
    edge: &Edge,
    requirement: Requirement,
) -> Result<Remembered, Problem> {
    let presented = presented(&parts.uri, &parts.headers)?;
    presented.meet(requirement, &edge.gate, acting::context(parts)?).await
}

impl<'a> Presented<'a> {
    /// Whoever shows a credential that the requirement looks at, if they meet it. The first that is accepted
    /// counts: an invalid token beside a valid key is served as the key.
    ///
    /// # Errors
    /// 401 where none is accepted, 403 for the wrong kind, 503 where nobody could say.
    pub(crate) async fn meet(
        self,
        requirement: Requirement,
        gate: &Gate,
        context: &Context,
    ) -> Result<Remembered, Problem> {
        match self.look(requirement, gate) {
            Looked::Judged(judged) => judged,
            Looked::Open(open) => self.ask(requirement, gate, context, open).await,
        }
    }

    /// The same, as far as nobody has to be asked.
    pub(crate) fn look(self, requirement: Requirement, gate: &Gate) -> Looked {
        self.look_from(0, requirement, gate)
    }

    /// The same from where a look has stopped.
    ///
    /// # Errors
    /// As for [`meet`](Self::meet).
    pub(crate) async fn ask(
        self,
        requirement: Requirement,
        gate: &Gate,
        context: &Context,
        mut open: Open,
    ) -> Result<Remembered, Problem> {
        // Each turn is about a later form.
        loop {
            let Open { place, name } = open;
            let form = requirement.forms().get(place).ok_or_else(Problem::internal)?;
            let credential = self.shown(*form).ok_or_else(Problem::internal)?;
            if let Some(accepted) = gate.ask(context, credential, name).await?.valid() {
                return self.judge(requirement, Some(accepted));
            }
            match self.look_from(place + 1, requirement, gate) {
                Looked::Judged(judged) => return judged,
                Looked::Open(next) => open = next,
            }
        }
    }

    fn look_from(self, from: usize, requirement: Requirement, gate: &Gate) -> Looked {
        for (place, form) in requirement.forms().iter().enumerate().skip(from) {
            let Some(credential) = self.shown(*form) else { continue };
            match gate.look(credential) {
                latchkey_gate::Looked::Known(verdict) => {
                    if let Some(accepted) = verdict.valid() {
                        return Looked::Judged(self.judge(requirement, Some(accepted)));
                    }
                }
                // It may be good, and would win over the next.
                latchkey_gate::Looked::Unknown(name) => return Looked::Open(Open { place, name }),
            }
        }
        Looked::Judged(self.judge(requirement, None))
    }

    fn judge(
        self,
        requirement: Requirement,
        accepted: Option<Remembered>,
    ) -> Result<Remembered, Problem> {
        let judged = requirement.judge(accepted, |principal| principal.kind());
        judged.map_err(|unmet| match unmet {
            Unmet::WrongKind(PrincipalKind::User) => Problem::of(&USERS_ONLY),
            Unmet::WrongKind(PrincipalKind::Service) | Unmet::NotAccepted => {
                let is_any = requirement.forms().iter().any(|form| self.header(*form).is_some());
                Problem::unauthenticated(accepts(requirement), is_any)
            }
        })
    }

    fn shown(self, form: Form) -> Option<CredentialText<'a>> {
        // What is not ASCII is no credential, and reads as an empty one.
        let text = self.header(form)?.to_str().unwrap_or_default();
        let text = if form == Form::Token { bearer(text) } else { text };
        Some(CredentialText { form, text })
    }

    fn header(self, form: Form) -> Option<&'a HeaderValue> {
        match form {
            Form::Key => self.key,
            Form::Token => self.token,
        }
    }

    /// The same, for longer than the request's headers.
    pub(crate) fn kept(self) -> Kept {
        Kept { token: self.token.cloned(), key: self.key.cloned() }
    }
}

impl Kept {
    /// The headers.
    pub(crate) fn presented(&self) -> Presented<'_> {
        Presented { token: self.token.as_ref(), key: self.key.as_ref() }
    }
}

/// What a client may authenticate with, as it is told.
pub(crate) fn accepts(requirement: Requirement) -> Accepts {
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
    if uri.query().is_some_and(holds_secret) {
        return Err(Problem::of(&CREDENTIAL_IN_URL));
    }
    let token = single(headers, &AUTHORIZATION)?;
    let key = single(headers, &API_KEY_HEADER)?;
    Ok(Presented { token, key })
}

fn holds_secret(query: &str) -> bool {
    if ApiKey::is_within(query) {
        return true;
    }
    let query = query.to_ascii_lowercase();
    SECRETS_IN_QUERY.iter().any(|sign| query.contains(sign))
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

/// The token behind `Bearer ` in any case (RFC 9110 §11.1); empty for another scheme.
fn bearer(value: &str) -> &str {
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_is_read_in_any_case_and_no_other_is_taken() {
        assert_eq!(bearer("Bearer a.b.c"), "a.b.c");
        assert_eq!(bearer("bEARER  a.b.c "), "a.b.c");
        for other in ["Basic a.b.c", "a.b.c", "Bearer", "", "Bearera.b.c"] {
            assert_eq!(bearer(other), "", "{other}");
        }
    }

    #[test]
    fn secrets_in_a_query_are_noticed() {
        for query in ["x=sk_abc", "API_KEY=1", "access_token=x", "a=b&token=c"] {
            assert!(holds_secret(query), "{query}");
        }
        let key = "acme_test_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA0DofJ8";
        for query in [key.to_owned(), format!("limit=10&x={key}&after=3")] {
            assert!(holds_secret(&query), "{query}");
        }
        assert!(!holds_secret(&key.replace("0DofJ8", "0DofJ9")));
        assert!(!holds_secret("limit=10&after=3"));
    }
}
