//! A layer that lets a request through only with a credential that was found valid, and enough for the route.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::http::{Extensions, HeaderMap, Request};
use axum::response::{IntoResponse, Response};
use latchkey_contract::CallError;
use latchkey_contract::verify::{Outcome, PrincipalKind, Verified, VerifiedPrincipal};
use tower::{Layer, Service};

use crate::Verifier;
use crate::credential::{Twice, presented};
use crate::problem::Problem;
use crate::required::Required;

/// Guards a route: takes `Authorization: Bearer` or `x-api-key` out of the headers, asks, and puts the
/// [`Principal`](crate::Principal) into the request's extensions. See the [crate]'s example.
///
/// Without a good credential the answer is 401, with a good one that is not enough 403, and where nobody
/// could say 503. A valid token wins over a key, also where it lacks a scope that the key holds; a token that is not
/// valid, or no credential for the kind that is asked for, does not spoil a valid key.
#[derive(Clone)]
pub struct RequireCredential {
    verifier: Verifier,
    required: Required,
    address: Option<FindAddress>,
}

/// Says where the client of a request is.
type FindAddress = Arc<dyn Fn(&HeaderMap, &Extensions) -> Option<IpAddr> + Send + Sync>;

/// A service behind [`RequireCredential`].
#[derive(Clone)]
pub struct Guard<S> {
    inner: S,
    require: RequireCredential,
}

impl RequireCredential {
    /// Lets users and services through.
    #[must_use]
    pub fn new(verifier: Verifier) -> Self {
        Self { verifier, required: Required::default(), address: None }
    }

    /// Lets users through, by access token.
    #[must_use]
    pub fn users_only(self) -> Self {
        self.kind(PrincipalKind::User)
    }

    /// Lets services through, by API key.
    #[must_use]
    pub fn services_only(self) -> Self {
        self.kind(PrincipalKind::Service)
    }

    /// Lets one kind through.
    #[must_use]
    pub fn kind(self, kind: PrincipalKind) -> Self {
        Self { required: self.required.kind(kind), ..self }
    }

    /// Lets those through that hold these scopes, too, separated by single spaces: all of them.
    #[must_use]
    pub fn scope(self, scopes: &str) -> Self {
        Self { required: self.required.scope(scopes), ..self }
    }

    /// And those that hold these, whatever was named before.
    #[must_use]
    pub fn or_scope(self, scopes: &str) -> Self {
        Self { required: self.required.or_scope(scopes), ..self }
    }

    /// Lets keys through that were made for this environment.
    #[must_use]
    pub fn environment(self, name: &str) -> Self {
        Self { required: self.required.environment(name), ..self }
    }

    /// Finds the client's address in a request: that of the connection (axum's `ConnectInfo` in the extensions), or what
    /// a proxy that you trust has appended. Without it keys that may be used from some addresses alone are refused.
    #[must_use]
    pub fn client_address(
        self,
        find: impl Fn(&HeaderMap, &Extensions) -> Option<IpAddr> + Send + Sync + 'static,
    ) -> Self {
        Self { address: Some(Arc::new(find)), ..self }
    }

    /// What is asked of a request with these headers and extensions.
    fn required(&self, headers: &HeaderMap, extensions: &Extensions) -> Required {
        let client = self.address.as_ref().and_then(|find| find(headers, extensions));
        self.required.clone().client(client)
    }

    async fn check(
        &self,
        headers: &HeaderMap,
        required: Required,
    ) -> Result<VerifiedPrincipal, Problem> {
        let mut credentials = presented(headers).map_err(|Twice| Problem::Twice)?;
        let presented = !credentials.is_empty();
        let verified = match (credentials.pop(), credentials.is_empty()) {
            (None, _) => Ok(Vec::new()),
            (Some(only), true) => {
                self.verifier.verify_for(only, &required).await.map(|verified| vec![verified])
            }
            (Some(last), false) => {
                credentials.push(last);
                self.verifier.verify_batch_for(credentials, &required).await
            }
        };
        let verified = verified.map_err(|error: CallError| {
            tracing::warn!(%error, "a credential cannot be checked");
            Problem::Unavailable
        })?;
        first_accepted(verified, required.needed_kind())
            .map_err(|outcome| problem(outcome, &required, presented))
    }
}

/// The first that is good and of the kind, or the outcome of the one that came furthest. Nothing is looked at behind one that
/// lacks nothing but a scope: it is who asks.
fn first_accepted(
    verified: Vec<Verified>,
    kind: Option<PrincipalKind>,
) -> Result<VerifiedPrincipal, Option<Outcome>> {
    let mut furthest = None;
    for verified in verified {
        let outcome = verified.outcome;
        let failed = match verified.accepted() {
            Some(principal) if kind.is_none_or(|kind| kind == principal.kind) => {
                return Ok(principal);
            }
            Some(_) => Outcome::WrongKind,
            None => outcome,
        };
        if furthest.is_none_or(|before| steps(before) < steps(failed)) {
            furthest = Some(failed);
        }
        if failed == Outcome::InsufficientScope {
            break;
        }
    }
    Err(furthest)
}

/// How far a credential came that is good and not enough, in the order of judgement.
fn steps(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::WrongKind => 1,
        Outcome::WrongEnvironment => 2,
        Outcome::IpDenied => 3,
        Outcome::InsufficientScope => 4,
        _ => 0,
    }
}

fn problem(outcome: Option<Outcome>, required: &Required, presented: bool) -> Problem {
    let only = required.needed_kind();
    match (outcome, only) {
        (Some(Outcome::WrongKind), Some(kind)) => Problem::Forbidden(kind),
        (Some(Outcome::WrongEnvironment), _) => Problem::WrongEnvironment,
        (Some(Outcome::IpDenied), _) => Problem::IpDenied,
        (Some(Outcome::InsufficientScope), _) => {
            Problem::InsufficientScope(required.scopes().to_vec())
        }
        _ => Problem::Unauthenticated { only, presented },
    }
}

impl<S> Layer<S> for RequireCredential {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Guard { inner, require: self.clone() }
    }
}

impl<S, B> Service<Request<B>> for Guard<S>
where
    S: Service<Request<B>> + Clone + Send + 'static,
    S::Response: IntoResponse,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The one that was asked whether it is ready answers; a clone may not be.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let require = self.require.clone();
        Box::pin(async move {
            let required = require.required(request.headers(), request.extensions());
            match require.check(request.headers(), required).await {
                Ok(principal) => {
                    request.extensions_mut().insert(principal);
                    Ok(inner.call(request).await?.into_response())
                }
                Err(problem) => Ok(problem.into_response()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use PrincipalKind::{Service, User};
    use latchkey_contract::scope::Scopes;
    use latchkey_contract::{Owner, Timestamp, UserId};

    use super::*;

    fn good(kind: PrincipalKind) -> Verified {
        let principal = VerifiedPrincipal {
            kind,
            user_id: UserId(1),
            username: None,
            email: None,
            key_id: None,
            name: None,
            expires_at: Timestamp(1),
            scopes: Scopes::everything(),
            environment: None,
            owner: Owner::User(UserId(1)).into(),
            external_id: None,
            metadata: None,
            lineage_id: None,
            session_id: None,
        };
        Verified { outcome: Outcome::Valid, principal: Some(principal), denied: None }
    }

    fn bad(outcome: Outcome) -> Verified {
        // However careless the answer is.
        Verified { outcome, ..good(Service) }
    }

    #[test]
    fn the_first_that_fits_is_let_through_and_whoever_is_of_the_wrong_kind_is_told_so() {
        let judge = |kind, verified: &[Verified]| {
            first_accepted(verified.to_vec(), kind).map(|principal| principal.kind)
        };
        for kind in [None, Some(User), Some(Service)] {
            assert_eq!(judge(kind, &[]), Err(None));
        }
        assert_eq!(judge(None, &[good(Service), good(User)]), Ok(Service));
        for (kind, other) in [(User, Service), (Service, User)] {
            assert_eq!(judge(Some(kind), &[good(other), good(kind)]), Ok(kind));
            assert_eq!(judge(Some(kind), &[good(other)]), Err(Some(Outcome::WrongKind)));
        }
    }

    #[test]
    fn what_came_furthest_is_told_and_nothing_but_valid_is_accepted() {
        use Outcome::{
            Disabled, Expired, Inactive, InsufficientScope, IpDenied, Malformed, Revoked, Unknown,
            WrongEnvironment, WrongKind,
        };
        let told = |outcomes: &[Outcome]| {
            let verified = outcomes.iter().map(|outcome| bad(*outcome)).collect();
            first_accepted(verified, None).unwrap_err().unwrap()
        };
        for outcome in [
            Expired,
            Revoked,
            Unknown,
            Malformed,
            Inactive,
            Disabled,
            WrongKind,
            WrongEnvironment,
            IpDenied,
            InsufficientScope,
        ] {
            assert_eq!(told(&[outcome]), outcome);
        }
        assert_eq!(told(&[Revoked, IpDenied]), IpDenied);
        assert_eq!(told(&[InsufficientScope, WrongKind]), InsufficientScope);
        assert_eq!(told(&[WrongEnvironment, IpDenied, Unknown]), IpDenied);
    }

    #[test]
    fn a_token_that_lacks_a_scope_is_not_made_up_for_by_a_key_that_holds_it() {
        let judge = |kind, outcome| {
            let verified = vec![bad(outcome), good(Service)];
            first_accepted(verified, kind).map(|principal| principal.kind)
        };
        for kind in [None, Some(Service)] {
            let refused = Err(Some(Outcome::InsufficientScope));
            assert_eq!(judge(kind, Outcome::InsufficientScope), refused);
            for other in [Outcome::WrongKind, Outcome::Unknown, Outcome::Expired] {
                assert_eq!(judge(kind, other), Ok(Service), "{other:?}");
            }
        }
    }

    #[test]
    fn who_lacks_what_is_needed_is_told_what() {
        let required = Required::default().scope("orders:read").or_scope("admin");
        let told = problem(Some(Outcome::InsufficientScope), &required, true).into_response();
        assert_eq!(told.status(), 403);
        let challenge = told.headers()["www-authenticate"].to_str().unwrap();
        assert!(challenge.starts_with("Bearer "), "{challenge}");
        assert!(challenge.contains(r#"error="insufficient_scope", scope="orders:read""#));
        for (outcome, status) in [
            (Outcome::WrongEnvironment, 403),
            (Outcome::IpDenied, 403),
            (Outcome::WrongKind, 401),
            (Outcome::Disabled, 401),
        ] {
            let told = problem(Some(outcome), &required, true).into_response();
            assert_eq!(told.status(), status, "{outcome:?}");
        }
    }
}
