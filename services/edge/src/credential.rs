//! Extractors: a handler that takes a [`User`], an [`Owner`], a [`Service`] or a [`Caller`] runs only for one.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Uri};
use latchkey_bus::Context;
use latchkey_contract::lease::Position;
use latchkey_contract::{KeyPrincipal, UserPrincipal};
use latchkey_gate::Remembered;

use crate::Edge;
use crate::problem::{Accepts, Problem};

/// The header of an API key.
pub const API_KEY_HEADER: HeaderName = HeaderName::from_static("x-api-key");
/// What an API key, and names under which one is wrongly sent, look like in a query.
const SECRETS_IN_QUERY: [&str; 6] =
    ["sk_", "api_key=", "api-key=", "apikey=", "access_token=", "token="];

/// A user, by access token. Used where an API key means nothing.
pub struct User(pub Remembered<UserPrincipal>);

/// A user who acts on what is theirs. An API key is recognised, and told that only users may.
pub struct Owner(pub Remembered<UserPrincipal>);

/// A service, by API key.
pub struct Service(pub Remembered<KeyPrincipal>);

/// Whoever it is.
pub enum Caller {
    /// A user, by access token.
    User(Remembered<UserPrincipal>),
    /// A service, by API key.
    Service(Remembered<KeyPrincipal>),
}

/// The credentials that a request holds. An empty or unusable one counts as presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Presented<'a> {
    pub(crate) token: Option<&'a str>,
    pub(crate) key: Option<&'a str>,
}

impl FromRequestParts<Arc<Edge>> for User {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, edge: &Arc<Edge>) -> Result<Self, Problem> {
        let Presented { token, .. } = presented(&parts.uri, &parts.headers)?;
        match user(edge, context(parts)?, token).await? {
            Some(user) => Ok(Self(user)),
            None => Err(Problem::unauthenticated(Accepts::Token, token.is_some())),
        }
    }
}

impl FromRequestParts<Arc<Edge>> for Owner {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, edge: &Arc<Edge>) -> Result<Self, Problem> {
        let Presented { token, key } = presented(&parts.uri, &parts.headers)?;
        let context = context(parts)?;
        if let Some(user) = user(edge, context, token).await? {
            return Ok(Self(user));
        }
        if service(edge, context, key).await?.is_some() {
            return Err(Problem::users_only());
        }
        Err(Problem::unauthenticated(Accepts::Token, token.is_some() || key.is_some()))
    }
}

impl FromRequestParts<Arc<Edge>> for Service {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, edge: &Arc<Edge>) -> Result<Self, Problem> {
        let Presented { key, .. } = presented(&parts.uri, &parts.headers)?;
        match service(edge, context(parts)?, key).await? {
            Some(service) => Ok(Self(service)),
            None => Err(Problem::unauthenticated(Accepts::Key, key.is_some())),
        }
    }
}

impl FromRequestParts<Arc<Edge>> for Caller {
    type Rejection = Problem;

    /// A valid token wins; an invalid one beside a valid key is served as the key.
    async fn from_request_parts(parts: &mut Parts, edge: &Arc<Edge>) -> Result<Self, Problem> {
        let Presented { token, key } = presented(&parts.uri, &parts.headers)?;
        let context = context(parts)?;
        if let Some(user) = user(edge, context, token).await? {
            return Ok(Self::User(user));
        }
        if let Some(service) = service(edge, context, key).await? {
            return Ok(Self::Service(service));
        }
        Err(Problem::unauthenticated(Accepts::Either, token.is_some() || key.is_some()))
    }
}

async fn user(
    edge: &Edge,
    context: &Context,
    token: Option<&str>,
) -> Result<Option<Remembered<UserPrincipal>>, Problem> {
    let Some(token) = token else { return Ok(None) };
    Ok(edge.gate.token(context, token, Position::default()).await?.valid())
}

async fn service(
    edge: &Edge,
    context: &Context,
    key: Option<&str>,
) -> Result<Option<Remembered<KeyPrincipal>>, Problem> {
    let Some(key) = key else { return Ok(None) };
    Ok(edge.gate.key(context, key, Position::default()).await?.valid())
}

fn context(parts: &Parts) -> Result<&Context, Problem> {
    parts.extensions.get().ok_or_else(Problem::internal)
}

/// The credentials of a request.
///
/// # Errors
/// [`Problem`] where they are not for us to take: in the URL, or one twice.
pub(crate) fn presented<'a>(uri: &Uri, headers: &'a HeaderMap) -> Result<Presented<'a>, Problem> {
    if uri.query().is_some_and(holds_secret) {
        return Err(Problem::bad_request(
            "Credentials do not belong in a URL, where logs keep them: send them in a header.",
        ));
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
        return Err(Problem::bad_request("A header with a credential was sent more than once."));
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
