//! What is answered in place of the route: problem documents (RFC 9457) like those of Latchkey's edge.

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use latchkey_contract::verify::PrincipalKind;
use serde::Serialize;

/// Why a request does not get through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// 400: a header with a credential was sent more than once.
    Twice,
    /// 401: no credential, or none that is accepted.
    Unauthenticated {
        /// What the route lets through; `None` for everybody.
        only: Option<PrincipalKind>,
        /// Whether there was a credential.
        presented: bool,
    },
    /// 403: a good credential of the other kind.
    Forbidden(PrincipalKind),
    /// 503: nobody could say.
    Unavailable,
}

#[derive(Serialize)]
struct Document {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'static str,
}

/// Seconds after which the client may try again.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("1");
const BEARER: &str = r#"Bearer realm="latchkey""#;
const BEARER_INVALID: &str = r#"Bearer realm="latchkey", error="invalid_token""#;
const API_KEY: &str = r#"ApiKey realm="latchkey", header="x-api-key""#;

impl Problem {
    fn document(self) -> Document {
        let (kind, title, status, detail) = match self {
            Self::Twice => (
                "urn:problem-type:latchkey:bad-request",
                "Bad request",
                StatusCode::BAD_REQUEST,
                "A header with a credential was sent more than once.",
            ),
            Self::Unauthenticated { presented, .. } => (
                "urn:problem-type:latchkey:unauthenticated",
                "Unauthenticated",
                StatusCode::UNAUTHORIZED,
                if presented {
                    "The authentication credentials are not accepted: malformed, expired, revoked or unknown."
                } else {
                    "This needs authentication: the header `WWW-Authenticate` says which."
                },
            ),
            Self::Forbidden(PrincipalKind::User) => (
                "urn:problem-type:latchkey:users-only",
                "Users only",
                StatusCode::FORBIDDEN,
                "Only user accounts may do this: send an access token instead of an API key.",
            ),
            Self::Forbidden(PrincipalKind::Service) => (
                "urn:problem-type:latchkey:services-only",
                "Services only",
                StatusCode::FORBIDDEN,
                "Only services may do this: send an API key instead of an access token.",
            ),
            Self::Unavailable => (
                "urn:problem-type:latchkey:unavailable",
                "Service unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                "The credentials cannot be checked just now: try again shortly.",
            ),
        };
        Document { r#type: kind, title, status: status.as_u16(), detail }
    }

    fn challenges(self) -> &'static [&'static str] {
        let Self::Unauthenticated { only, presented } = self else { return &[] };
        match (only, presented) {
            (Some(PrincipalKind::User), true) => &[BEARER_INVALID],
            (Some(PrincipalKind::User), false) => &[BEARER],
            (Some(PrincipalKind::Service), _) => &[API_KEY],
            (None, true) => &[BEARER_INVALID, API_KEY],
            (None, false) => &[BEARER, API_KEY],
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = self.document();
        let status = StatusCode::from_u16(document.status);
        let body = serde_json::to_string(&document).unwrap_or_default();
        let mut response = body.into_response();
        // Whatever else fails, nobody gets through.
        *response.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for challenge in self.challenges() {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if self == Self::Unavailable {
            headers.insert(RETRY_AFTER, RETRY_AFTER_S);
        }
        response
    }
}
