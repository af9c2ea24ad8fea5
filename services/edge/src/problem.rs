//! Every error answer: problem documents (RFC 9457), and the only table from reasons to statuses.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use latchkey_contract::{CallError, FieldError, Refusal};
use serde::Serialize;

mod request;

/// Why a request is not answered as its sender wished.
///
/// As a response it has no body yet: [`layers`](crate::layers) writes that, with the request's id.
#[derive(Clone, Debug)]
pub struct Problem(Box<Reason>);

#[derive(Clone, Debug)]
struct Reason {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    retry_after_s: Option<u64>,
    challenges: &'static [&'static str],
    /// The codings of a body that are taken (RFC 9110 §12.5.3).
    accepts_coding: Option<&'static str>,
    /// Why we failed, for the log alone.
    cause: Option<String>,
    kind: Kind,
}

/// What a 5xx says of us. Nothing is told of any other status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Something failed.
    Failure,
    /// Whoever is to do the work has as much as it takes.
    Shed,
    /// It is what was asked for: not ready yet.
    Answer,
}

/// What a client may authenticate with on a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepts {
    /// A user's access token.
    Token,
    /// An API key.
    Key,
    /// Either.
    Either,
}

/// A problem document.
#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<DocumentError<'a>>,
    request_id: &'a str,
}

#[derive(Serialize)]
struct DocumentError<'a> {
    field: &'a str,
    message: &'a str,
}

/// What a problem's `type` begins with; the rest is its stable code.
pub const TYPE_PREFIX: &str = "urn:problem-type:latchkey:";
/// Seconds after which a client may try again where we do not know better.
const RETRY_AFTER_S: u64 = 1;

const WRONG_CREDENTIALS: &str = "Incorrect username or password";
const BEARER: &str = r#"Bearer realm="latchkey""#;
const BEARER_INVALID: &str = r#"Bearer realm="latchkey", error="invalid_token""#;
const API_KEY: &str = r#"ApiKey realm="latchkey", header="x-api-key""#;

impl Reason {
    fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            code,
            title,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after_s: None,
            challenges: &[],
            accepts_coding: None,
            cause: None,
            kind: Kind::Failure,
        }
    }
}

impl From<Reason> for Problem {
    fn from(reason: Reason) -> Self {
        Self(Box::new(reason))
    }
}

impl Problem {
    /// 422: fields that break their rules, every one named.
    #[must_use]
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let faults: Vec<String> =
            errors.iter().map(|error| format!("{} {}", error.field, error.message)).collect();
        let detail = format!("The request is not valid: {}.", faults.join("; "));
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Reason { errors, ..Reason::new(status, "invalid", "Invalid request", detail) }.into()
    }

    /// 400: a header or query that is not to be used like this.
    #[must_use]
    pub fn bad_request(detail: &'static str) -> Self {
        Reason::new(StatusCode::BAD_REQUEST, "bad-request", "Bad request", detail).into()
    }

    /// 401: no credential, or one that is not accepted; which of the reasons it was is not told.
    #[must_use]
    pub fn unauthenticated(accepts: Accepts, presented: bool) -> Self {
        let detail = match (presented, accepts) {
            (true, _) => {
                "The authentication credentials are not accepted: malformed, expired, revoked or unknown."
            }
            (false, Accepts::Token) => {
                "This needs authentication: send `Authorization: Bearer TOKEN` with a token from /auth/login."
            }
            (false, Accepts::Key) => {
                "This needs authentication: send an API key in the header `x-api-key`."
            }
            (false, Accepts::Either) => {
                "This needs authentication: send `Authorization: Bearer TOKEN`, or an API key in `x-api-key`."
            }
        };
        let challenges: &[&str] = match (accepts, presented) {
            (Accepts::Token, true) => &[BEARER_INVALID],
            (Accepts::Token, false) => &[BEARER],
            (Accepts::Key, _) => &[API_KEY],
            (Accepts::Either, true) => &[BEARER_INVALID, API_KEY],
            (Accepts::Either, false) => &[BEARER, API_KEY],
        };
        let status = StatusCode::UNAUTHORIZED;
        Reason { challenges, ..Reason::new(status, "unauthenticated", "Unauthenticated", detail) }
            .into()
    }

    /// 401: a login with a wrong password or an unknown name; which of the two is not told. `hint` is about
    /// the form of what was sent, whoever exists.
    #[must_use]
    pub fn wrong_credentials(hint: Option<&str>) -> Self {
        let detail = match hint {
            None => Cow::Borrowed(WRONG_CREDENTIALS),
            Some(hint) => format!("{WRONG_CREDENTIALS}: {hint}.").into(),
        };
        let status = StatusCode::UNAUTHORIZED;
        let reason = Reason::new(status, "wrong-credentials", "Login refused", detail);
        Reason { challenges: &[BEARER], ..reason }.into()
    }

    /// 403: an API key where only a user may act.
    #[must_use]
    pub fn users_only() -> Self {
        let detail =
            "Only user accounts may do this: log in and send the token instead of an API key.";
        Reason::new(StatusCode::FORBIDDEN, "users-only", "Users only", detail).into()
    }

    /// 429: a limit was hit.
    #[must_use]
    pub fn too_many_requests(retry_after_ms: u64) -> Self {
        let status = StatusCode::TOO_MANY_REQUESTS;
        let detail = "Too many requests: try again after the time in the header `Retry-After`.";
        let reason = Reason::new(status, "too-many-requests", "Too many requests", detail);
        Reason { retry_after_s: Some(retry_after_ms.div_ceil(1_000).max(1)), ..reason }.into()
    }

    /// 503: whatever the request needs is not there just now.
    #[must_use]
    pub fn unavailable(cause: impl Into<String>) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let detail = "The service is unavailable just now: try again shortly.";
        let reason = Reason::new(status, "unavailable", "Service unavailable", detail);
        Reason { retry_after_s: Some(RETRY_AFTER_S), cause: Some(cause.into()), ..reason }.into()
    }

    /// 503: more is asked than can be done. It is counted, and no failure of ours.
    pub(crate) fn overloaded() -> Self {
        let Self(reason) = Self::unavailable("");
        Self(Box::new(Reason { cause: None, kind: Kind::Shed, ..*reason }))
    }

    /// 503: the answer to whoever asks whether requests are to be sent here.
    pub(crate) fn not_ready(away: &[&str]) -> Self {
        let Self(reason) = Self::unavailable(format!("away: {}", away.join(", ")));
        Self(Box::new(Reason { kind: Kind::Answer, ..*reason }))
    }

    /// 500: a fault of ours that trying again will not mend.
    #[must_use]
    pub fn internal() -> Self {
        let detail = "Something went wrong here. The request's id helps to find out what.";
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Reason::new(status, "internal", "Internal error", detail).into()
    }

    fn bad(code: &'static str, title: &'static str, detail: &'static str) -> Self {
        Reason::new(StatusCode::BAD_REQUEST, code, title, detail).into()
    }

    /// The document's text, for the request with this id.
    #[must_use]
    pub fn document(&self, request_id: &str) -> String {
        let errors = self.0.errors.iter();
        let document = Document {
            r#type: format!("{TYPE_PREFIX}{}", self.0.code),
            title: self.0.title,
            status: self.0.status.as_u16(),
            detail: &self.0.detail,
            errors: errors
                .map(|error| DocumentError { field: &error.field, message: &error.message })
                .collect(),
            request_id,
        };
        serde_json::to_string(&document).unwrap_or_default()
    }

    /// Whether more is asked than can be done.
    pub(crate) fn is_shed(&self) -> bool {
        self.0.kind == Kind::Shed
    }

    /// Whether something failed, and not at the client.
    pub(crate) fn is_failure(&self) -> bool {
        self.0.kind == Kind::Failure && self.0.status.is_server_error()
    }

    /// Whether its sender is to come back later, and may do so at once.
    pub(crate) fn turns_away(&self) -> bool {
        self.is_shed() || self.0.status == StatusCode::TOO_MANY_REQUESTS
    }

    /// The problem's stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// Why we failed, where it was our fault.
    #[must_use]
    pub fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Invalid(errors) => Self::invalid(errors),
            Refusal::EmailTaken => {
                Self::bad("email-taken", "Email already registered", "Email already registered")
            }
            Refusal::UsernameTaken => {
                Self::bad("username-taken", "Username already taken", "Username already taken")
            }
            Refusal::WrongCredentials => Self::wrong_credentials(None),
            Refusal::InactiveUser => {
                Self::bad("inactive-user", "Inactive user account", "Inactive user account")
            }
            Refusal::KeyNotFound => Reason::new(
                StatusCode::NOT_FOUND,
                "key-not-found",
                "Not found",
                "API key not found",
            )
            .into(),
            // No route asks for a user by name.
            Refusal::UserNotFound => Self::internal(),
            Refusal::SessionEnded => Self::unauthenticated(Accepts::Token, true),
            // Whoever sends what can become stale reads anew, and this often it does not happen.
            Refusal::Stale => Self::unavailable("something newer was decided meanwhile"),
            Refusal::TooManyRequests { retry_after_ms } => Self::too_many_requests(retry_after_ms),
        }
    }
}

impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(refusal) => refusal.into(),
            CallError::Overloaded => Self::overloaded(),
            // Whichever way a service fails to answer, the client's answer is the same.
            failed => Self::unavailable(failed.to_string()),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.0.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        for challenge in self.0.challenges {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Some(seconds) = self.0.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(coding) = self.0.accepts_coding {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(coding));
        }
        response.extensions_mut().insert(self);
        response
    }
}
