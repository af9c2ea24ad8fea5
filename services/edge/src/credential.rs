//! Extractors: a handler that takes a [`User`], an [`Owner`], a [`Service`] or a [`Caller`] runs only for one.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Uri};
use latchkey_bus::Context;
use latchkey_contract::lease::Position;
use latchkey_contract::{KeyPrincipal, UserPrincipal};
use latchkey_gate::{Gate, Remembered};

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
        let presented = presented(&parts.uri, &parts.headers)?;
        presented.user(&edge.gate, context(parts)?).await.map(Self)
    }
}

impl FromRequestParts<Arc<Edge>> for Owner {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, edge: &Arc<Edge>) -> Result<Self, Problem> {
        let presented = presented(&parts.uri, &parts.headers)?;
        match presented.valid(&edge.gate, context(parts)?).await? {
            Some(Caller::User(user)) => Ok(Self(user)),
            Some(Caller::Service(_)) => Err(Problem::users_only()),
            None => Err(Problem::unauthenticated(Accepts::Token, presented.is_any())),
        }
    }
}

impl FromRequestParts<Arc<Edge>> for Service {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, edge: &Arc<Edge>) -> Result<Self, Problem> {
        let presented = presented(&parts.uri, &parts.headers)?;
        presented.service(&edge.gate, context(parts)?).await.map(Self)
    }
}

impl FromRequestParts<Arc<Edge>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, edge: &Arc<Edge>) -> Result<Self, Problem> {
        let presented = presented(&parts.uri, &parts.headers)?;
        presented.caller(&edge.gate, context(parts)?).await
    }
}

impl Presented<'_> {
    /// The user whose token is shown.
    ///
    /// # Errors
    /// 401 where there is none, 503 where nobody could say.
    pub(crate) async fn user(
        self,
        gate: &Gate,
        context: &Context,
    ) -> Result<Remembered<UserPrincipal>, Problem> {
        let user = self.valid_user(gate, context).await?;
        user.ok_or_else(|| Problem::unauthenticated(Accepts::Token, self.token.is_some()))
    }

    /// The service whose key is shown.
    ///
    /// # Errors
    /// As [`user`](Self::user).
    pub(crate) async fn service(
        self,
        gate: &Gate,
        context: &Context,
    ) -> Result<Remembered<KeyPrincipal>, Problem> {
        let service = self.valid_service(gate, context).await?;
        service.ok_or_else(|| Problem::unauthenticated(Accepts::Key, self.key.is_some()))
    }

    /// Whoever shows one of both.
    ///
    /// # Errors
    /// As [`user`](Self::user).
    pub(crate) async fn caller(self, gate: &Gate, context: &Context) -> Result<Caller, Problem> {
        let caller = self.valid(gate, context).await?;
        caller.ok_or_else(|| Problem::unauthenticated(Accepts::Either, self.is_any()))
    }

    fn is_any(self) -> bool {
        self.token.is_some() || self.key.is_some()
    }

    /// A valid token wins; an invalid one beside a valid key is served as the key.
    async fn valid(self, gate: &Gate, context: &Context) -> Result<Option<Caller>, Problem> {
        if let Some(user) = self.valid_user(gate, context).await? {
            return Ok(Some(Caller::User(user)));
        }
        Ok(self.valid_service(gate, context).await?.map(Caller::Service))
    }

    async fn valid_user(
        self,
        gate: &Gate,
        context: &Context,
    ) -> Result<Option<Remembered<UserPrincipal>>, Problem> {
        let Some(token) = self.token else { return Ok(None) };
        Ok(gate.token(context, token, Position::default()).await?.valid())
    }

    async fn valid_service(
        self,
        gate: &Gate,
        context: &Context,
    ) -> Result<Option<Remembered<KeyPrincipal>>, Problem> {
        let Some(key) = self.key else { return Ok(None) };
        Ok(gate.key(context, key, Position::default()).await?.valid())
    }
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
