//! A layer that lets a request through only with a credential that was found valid.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::http::{HeaderMap, Request};
use axum::response::{IntoResponse, Response};
use latchkey_contract::CallError;
use latchkey_contract::verify::{PrincipalKind, Verified, VerifiedPrincipal};
use latchkey_gate::{Requirement, Unmet};
use tower::{Layer, Service};

use crate::Verifier;
use crate::credential::{Twice, presented};
use crate::problem::Problem;

/// Guards a route: takes `Authorization: Bearer` or `x-api-key` out of the headers, asks, and puts the
/// [`Principal`](crate::Principal) into the request's extensions. See the [crate]'s example.
///
/// Without a good credential the answer is 401, with a good one of the other kind 403, and where nobody
/// could say 503. A valid token wins over a key; a token that is not valid does not spoil a valid key.
#[derive(Clone)]
pub struct RequireCredential {
    verifier: Verifier,
    requirement: Requirement,
}

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
        Self { verifier, requirement: Requirement::ANYBODY }
    }

    /// Lets users through, by access token.
    #[must_use]
    pub fn users_only(self) -> Self {
        Self { requirement: Requirement::of_kind(PrincipalKind::User), ..self }
    }

    /// Lets services through, by API key.
    #[must_use]
    pub fn services_only(self) -> Self {
        Self { requirement: Requirement::of_kind(PrincipalKind::Service), ..self }
    }

    async fn check(&self, headers: &HeaderMap) -> Result<VerifiedPrincipal, Problem> {
        let mut credentials = presented(headers).map_err(|Twice| Problem::Twice)?;
        let presented = !credentials.is_empty();
        let verified = match (credentials.pop(), credentials.is_empty()) {
            (None, _) => Ok(Vec::new()),
            (Some(only), true) => self.verifier.verify(only).await.map(|verified| vec![verified]),
            (Some(last), false) => {
                credentials.push(last);
                self.verifier.verify_batch(credentials).await
            }
        };
        let verified = verified.map_err(|error: CallError| {
            tracing::warn!(%error, "a credential cannot be checked");
            Problem::Unavailable
        })?;
        let accepted = verified.into_iter().filter_map(Verified::accepted);
        let judged = self.requirement.judge(accepted, |principal| principal.kind);
        judged.map_err(|unmet| match unmet {
            Unmet::WrongKind(kind) => Problem::Forbidden(kind),
            Unmet::NotAccepted | Unmet::InsufficientScope(_) => {
                Problem::Unauthenticated { only: self.requirement.kind(), presented }
            }
        })
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
            match require.check(request.headers()).await {
                Ok(principal) => {
                    request.extensions_mut().insert(principal);
                    Ok(inner.call(request).await?.into_response())
                }
                Err(problem) => Ok(problem.into_response()),
            }
        })
    }
}
