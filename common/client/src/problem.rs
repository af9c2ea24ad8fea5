//! What is answered in place of the route: problem documents (RFC 9457) like those of Latchkey's edge.

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use latchkey_contract::problem::{self, Accepts, ProblemType};
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
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'static str,
}

/// Seconds after which the client may try again.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("1");

impl Problem {
    /// Its row in the table of problems.
    fn row(self) -> &'static ProblemType {
        match self {
            Self::Twice => &problem::CREDENTIAL_TWICE,
            Self::Unauthenticated { presented: true, .. } => &problem::NOT_ACCEPTED,
            Self::Unauthenticated { presented: false, .. } => &problem::GUARDED,
            Self::Forbidden(PrincipalKind::User) => &problem::GUARDED_USERS_ONLY,
            Self::Forbidden(PrincipalKind::Service) => &problem::SERVICES_ONLY,
            Self::Unavailable => &problem::GUARDED_UNAVAILABLE,
        }
    }

    fn challenges(self) -> &'static [&'static str] {
        let Self::Unauthenticated { only, presented } = self else { return &[] };
        let accepts = match only {
            Some(PrincipalKind::User) => Accepts::Token,
            Some(PrincipalKind::Service) => Accepts::Key,
            None => Accepts::Either,
        };
        accepts.challenges(presented)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let ProblemType { status, title, detail, .. } = *self.row();
        let document = Document { r#type: self.row().uri(), title, status, detail };
        let body = serde_json::to_string(&document).unwrap_or_default();
        let mut response = body.into_response();
        // Whatever else fails, nobody gets through.
        let status = StatusCode::from_u16(status);
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
