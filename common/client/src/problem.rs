//! What is answered in place of the route: problem documents (RFC 9457) like those of Latchkey's edge.

use std::borrow::Cow;

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use latchkey_contract::problem::{self, Accepts, BEARER, ProblemType};
use latchkey_contract::verify::PrincipalKind;
use serde::Serialize;

/// Why a request does not get through.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// 403: a good credential that was made for another environment.
    WrongEnvironment,
    /// 403: a good key that may not be used from where the client is.
    IpDenied,
    /// 403: a good credential that does not hold the scopes of one of these texts.
    InsufficientScope(Vec<String>),
    /// 503: nobody could say.
    Unavailable,
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    required: Option<&'a [String]>,
}

/// Seconds after which the client may try again.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("1");

impl Problem {
    /// Its row in the table of problems.
    fn row(&self) -> &'static ProblemType {
        match self {
            Self::Twice => &problem::CREDENTIAL_TWICE,
            Self::Unauthenticated { presented: true, .. } => &problem::NOT_ACCEPTED,
            Self::Unauthenticated { presented: false, .. } => &problem::GUARDED,
            Self::Forbidden(PrincipalKind::User) => &problem::GUARDED_USERS_ONLY,
            Self::Forbidden(PrincipalKind::Service) => &problem::SERVICES_ONLY,
            Self::WrongEnvironment => &problem::WRONG_ENVIRONMENT,
            Self::IpDenied => &problem::IP_DENIED,
            Self::InsufficientScope(_) => &problem::INSUFFICIENT_SCOPE,
            Self::Unavailable => &problem::GUARDED_UNAVAILABLE,
        }
    }

    /// The scopes that are needed, where they are not held.
    fn required(&self) -> Option<&[String]> {
        match self {
            Self::InsufficientScope(required) => Some(required),
            _ => None,
        }
    }

    fn challenges(&self) -> &'static [&'static str] {
        let Self::Unauthenticated { only, presented } = *self else { return &[] };
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
        let (row, required) = (self.row(), self.required());
        let (status, title, detail) = (row.status, row.title, row.detail);
        let what = required.map(|texts| texts.join(", or "));
        let detail: Cow<'_, str> = what.map_or(detail.into(), |what| row.filled(&what).into());
        let document = Document { r#type: row.uri(), title, status, detail, required };
        let body = serde_json::to_string(&document).unwrap_or_default();
        let mut response = body.into_response();
        // Whatever else fails, nobody gets through.
        let status = StatusCode::from_u16(status);
        *response.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(needed) = required.and_then(<[String]>::first) {
            // Scopes have no character that a quoted text could not hold (RFC 6750 §3.1).
            let challenge = format!("{BEARER}, error=\"insufficient_scope\", scope=\"{needed}\"");
            headers.extend(HeaderValue::try_from(challenge).ok().map(|it| (WWW_AUTHENTICATE, it)));
        }
        for challenge in self.challenges() {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if self == Self::Unavailable {
            headers.insert(RETRY_AFTER, RETRY_AFTER_S);
        }
        response
    }
}
