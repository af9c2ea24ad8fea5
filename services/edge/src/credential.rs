//! Extractors: a handler that takes a [`User`], an [`Owner`], a [`Service`] or [`Anybody`] runs only for one. Those who
//! act have the context that says so with them (`acting.rs`).

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Uri};
use latchkey_bus::Context;
use latchkey_contract::problem::{Accepts, CREDENTIAL_IN_URL, CREDENTIAL_TWICE, USERS_ONLY};
use latchkey_contract::verify::{MinRevision, PrincipalKind};
use latchkey_contract::{Secret, UserDetail, UserId};
use latchkey_gate::{CredentialText, Form, Gate, Remembered, Requirement, Unmet};

use crate::acting;
use crate::problem::Problem;
use crate::state::Edge;

/// The header of an API key.
pub const API_KEY_HEADER: HeaderName = HeaderName::from_static("x-api-key");
/// What an API key, and names under which one is wrongly sent, look like in a query.
const SECRETS_IN_QUERY: [&str; 6] =
    ["sk_", "api_key=", "api-key=", "apikey=", "access_token=", "token="];

/// A user, by access token. Used where an API key means nothing.
pub struct User(pub UserDetail);

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
    token: Secret,
}

/// A service, by API key.
pub struct Service(pub Remembered);

/// Whoever it is.
pub struct Anybody(pub Remembered);

/// The credentials that a request holds. An empty or unusable one counts as presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Presented<'a> {
    pub(crate) token: Option<&'a str>,
    pub(crate) key: Option<&'a str>,
}

impl FromRequestParts<Arc<Edge>> for User {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, edge: &Arc<Edge>) -> Result<Self, Problem> {
        let user = required(parts, edge, Requirement::USER).await?;
        user.user().cloned().map(Self).ok_or_else(Problem::internal)
    }
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
        let token = presented(&parts.uri, &parts.headers)?.token.unwrap_or_default();
        Ok(Self { user, context, token: Secret::new(token.to_owned()) })
    }
}

impl Acting {
    /// Whether the very same token is good now.
    ///
    /// # Errors
    /// 401 where it is not any more, 503 where nobody could say.
    pub(crate) async fn is_still_good(&self, gate: &Gate) -> Result<(), Problem> {
        let presented = Presented { token: Some(self.token.expose()), key: None };
        presented.meet(Requirement::USER, gate, &self.context).await.map(drop)
    }
}

impl FromRequestParts<Arc<Edge>> for Service {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, edge: &Arc<Edge>) -> Result<Self, Problem> {
        required(parts, edge, Requirement::SERVICE).await.map(Self)
    }
}

impl FromRequestParts<Arc<Edge>> for Anybody {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, edge: &Arc<Edge>) -> Result<Self, Problem> {
        required(parts, edge, Requirement::ANYBODY).await.map(Self)
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
        let (mut accepted, mut is_any) = (None, false);
        for credential in requirement.forms().iter().filter_map(|form| self.shown(*form)) {
            is_any = true;
            accepted = gate.decide(context, credential, MinRevision::default()).await?.valid();
            if accepted.is_some() {
                break;
            }
        }
        let judged = requirement.judge(accepted, |principal| principal.kind());
        judged.map_err(|unmet| match unmet {
            Unmet::WrongKind(PrincipalKind::User) => Problem::of(&USERS_ONLY),
            Unmet::WrongKind(PrincipalKind::Service) | Unmet::NotAccepted => {
                Problem::unauthenticated(accepts(requirement), is_any)
            }
        })
    }

    /// Whoever shows a credential that the requirement looks at, and is remembered as good, if they meet it: at
    /// once, and as [`meet`](Self::meet) would answer. `None` for everything else.
    pub(crate) fn remembered(self, requirement: Requirement, gate: &Gate) -> Option<Remembered> {
        // One that is not remembered may be good, and would win over the next.
        let first = requirement.forms().iter().find_map(|form| self.shown(*form))?;
        let accepted = gate.remembered(first)?;
        requirement.judge([accepted], |principal| principal.kind()).ok()
    }

    fn shown(self, form: Form) -> Option<CredentialText<'a>> {
        let text = match form {
            Form::Key => self.key,
            Form::Token => self.token,
        };
        text.map(|text| CredentialText { form, text })
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
    let token = single(headers, &AUTHORIZATION)?.map(bearer);
    let key = single(headers, &API_KEY_HEADER)?;
    Ok(Presented { token, key })
}

fn holds_secret(query: &str) -> bool {
    let query = query.to_ascii_lowercase();
    SECRETS_IN_QUERY.iter().any(|sign| query.contains(sign))
}

/// The header's value; one that is not ASCII is no credential, and reads as an empty one.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Problem::of(&CREDENTIAL_TWICE));
    }
    Ok(first.map(|value| value.to_str().unwrap_or_default()))
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
        assert!(!holds_secret("limit=10&after=3"));
    }
}
