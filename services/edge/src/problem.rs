//! Every error answer: problem documents (RFC 9457). Codes, statuses and sentences are rows of the contract's table;
//! here is what an answer has besides.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use latchkey_contract::problem::{
    Accepts, BEARER, COMPRESSED, CREDENTIAL_NEEDED, INSUFFICIENT_SCOPE, INTERNAL, INVALID,
    IP_DENIED, KEY_NEEDED, METHOD_NOT_ALLOWED, NOT_ACCEPTED, ProblemType, SERVICES_ONLY,
    TOKEN_NEEDED, TOO_MANY_REQUESTS, UNAVAILABLE, USERS_ONLY, WRONG_CREDENTIALS, WRONG_ENVIRONMENT,
    WRONG_FORM,
};
use latchkey_contract::refusal::Conflict;
use latchkey_contract::verify::PrincipalKind;
use latchkey_contract::{CallError, FieldError, Refusal};
use latchkey_gate::{Requirement, Unmet};
use latchkey_runtime::trace::TraceId;
use serde::Serialize;

/// Why a request is not answered as its sender wished.
///
/// As a response it has no body yet: `around.rs` writes that, with the request's id.
#[derive(Clone, Debug)]
pub struct Problem(Box<Reason>);

#[derive(Clone, Debug)]
struct Reason {
    row: &'static ProblemType,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    retry_after_s: Option<u64>,
    challenges: &'static [&'static str],
    /// The methods that the path takes (RFC 9110 §10.2.1), where nobody else says them.
    allow: &'static [Method],
    /// The codings of a body that are taken (RFC 9110 §12.5.3).
    accepts_coding: Option<&'static str>,
    /// Why we failed, for the log alone.
    cause: Option<String>,
    /// What else the document has.
    members: Members,
    kind: Kind,
    /// Whether it is told as RFC 6749 §5.2 has it, and not as a problem document.
    is_oauth: bool,
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

/// A problem document.
#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<DocumentError<'a>>,
    #[serde(flatten)]
    members: &'a Members,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

/// What documents of some problems have besides.
#[derive(Clone, Debug, Default, Serialize)]
struct Members {
    /// Scopes of which one text's would be enough; empty where no scope would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    required: Option<Vec<String>>,
    /// The state that does not allow what was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    /// What RFC 6749 §5.2 calls it, where a form was sent as OAuth has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    /// The detail once more.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_description: Option<String>,
}

/// An error as RFC 6749 §5.2 has it.
#[derive(Serialize)]
struct OauthDocument<'a> {
    error: String,
    error_description: &'a str,
}

#[derive(Serialize)]
struct DocumentError<'a> {
    field: &'a str,
    message: &'a str,
}

/// Seconds after which a client may try again where we do not know better.
const RETRY_AFTER_S: u64 = 1;

impl Reason {
    fn of(row: &'static ProblemType) -> Self {
        Self {
            row,
            detail: row.detail.into(),
            errors: Vec::new(),
            retry_after_s: None,
            challenges: &[],
            allow: &[],
            accepts_coding: None,
            cause: None,
            members: Members::default(),
            kind: Kind::Failure,
            is_oauth: false,
        }
    }
}

impl From<Reason> for Problem {
    fn from(reason: Reason) -> Self {
        Self(Box::new(reason))
    }
}

impl Problem {
    /// The problem of this row, of which no more is to be said.
    #[must_use]
    pub fn of(row: &'static ProblemType) -> Self {
        Reason::of(row).into()
    }

    /// The problem of a row whose detail has a place for `what`.
    #[must_use]
    pub fn about(row: &'static ProblemType, what: &str) -> Self {
        Reason { detail: row.filled(what).into(), ..Reason::of(row) }.into()
    }

    /// The same as RFC 6749 §5.2 has it: its `error` is the code.
    #[must_use]
    pub fn as_oauth(self) -> Self {
        Self(Box::new(Reason { is_oauth: true, ..*self.0 }))
    }

    /// The same with what OAuth calls it (RFC 6749 §5.2), for whoever reads nothing else.
    #[must_use]
    pub fn with_error(mut self, error: &'static str) -> Self {
        self.0.members.error = Some(error);
        self.0.members.error_description = Some(self.0.detail.clone().into_owned());
        self
    }

    /// 422: fields that break their rules, every one named.
    #[must_use]
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let faults: Vec<String> =
            errors.iter().map(|error| format!("{} {}", error.field, error.message)).collect();
        let detail = INVALID.filled(&faults.join("; ")).into();
        Reason { detail, errors, ..Reason::of(&INVALID) }.into()
    }

    /// 401: no credential, or one that is not accepted; which of the reasons it was is not told.
    #[must_use]
    pub fn unauthenticated(accepts: Accepts, presented: bool) -> Self {
        let row = match (presented, accepts) {
            (true, _) => &NOT_ACCEPTED,
            (false, Accepts::Token) => &TOKEN_NEEDED,
            (false, Accepts::Key) => &KEY_NEEDED,
            (false, Accepts::Either) => &CREDENTIAL_NEEDED,
        };
        Reason { challenges: accepts.challenges(presented), ..Reason::of(row) }.into()
    }

    /// 401: a login with a wrong password or an unknown name; which of the two is not told. `hint` is about
    /// the form of what was sent, whoever exists.
    #[must_use]
    pub fn wrong_credentials(hint: Option<&str>) -> Self {
        let Self(reason) = hint
            .map_or_else(|| Self::of(&WRONG_CREDENTIALS), |hint| Self::about(&WRONG_FORM, hint));
        Reason { challenges: Accepts::Token.challenges(false), ..*reason }.into()
    }

    /// 405: the path takes other methods, these.
    pub(crate) fn method_not_allowed(allow: &'static [Method]) -> Self {
        Reason { allow, ..Reason::of(&METHOD_NOT_ALLOWED) }.into()
    }

    /// 403: a good credential that does not hold what is needed: one of these texts, all of its scopes. None of them:
    /// no scope would be enough.
    #[must_use]
    pub fn insufficient_scope(required: Vec<String>) -> Self {
        let what = match required.as_slice() {
            [] => "it reaches further than whoever acts".to_owned(),
            texts => texts.join(", or "),
        };
        let detail = INSUFFICIENT_SCOPE.filled(&what).into();
        let members = Members { required: Some(required), ..Members::default() };
        Reason { detail, members, ..Reason::of(&INSUFFICIENT_SCOPE) }.into()
    }

    /// 403: a good credential that is not enough for what is required.
    #[must_use]
    pub fn unmet(unmet: Unmet, requirement: Requirement<'_>) -> Self {
        match unmet {
            Unmet::WrongKind(PrincipalKind::User) => Self::of(&USERS_ONLY),
            Unmet::WrongKind(PrincipalKind::Service) => Self::of(&SERVICES_ONLY),
            Unmet::WrongEnvironment => Self::of(&WRONG_ENVIRONMENT),
            Unmet::IpDenied => Self::of(&IP_DENIED),
            Unmet::InsufficientScope => {
                Self::insufficient_scope(requirement.scopes().map(str::to_owned).collect())
            }
        }
    }

    /// 409: a state that does not allow what was asked.
    #[must_use]
    pub fn conflict(conflict: Conflict) -> Self {
        let members = Members { state: Some(conflict.state()), ..Members::default() };
        let retry_after_s = (conflict == Conflict::InFlight).then_some(RETRY_AFTER_S);
        let row = Refusal::Conflict(conflict).problem();
        Reason { retry_after_s, members, ..Reason::of(row) }.into()
    }

    /// 415: a body in a coding.
    #[must_use]
    pub fn compressed() -> Self {
        Reason { accepts_coding: Some("identity"), ..Reason::of(&COMPRESSED) }.into()
    }

    /// 429: a limit was hit.
    #[must_use]
    pub fn too_many_requests(retry_after_ms: u64) -> Self {
        let seconds = retry_after_ms.div_ceil(1_000).max(1);
        Reason { retry_after_s: Some(seconds), ..Reason::of(&TOO_MANY_REQUESTS) }.into()
    }

    /// 503: whatever the request needs is not there just now.
    #[must_use]
    pub fn unavailable(cause: impl Into<String>) -> Self {
        let (retry_after_s, cause) = (Some(RETRY_AFTER_S), Some(cause.into()));
        Reason { retry_after_s, cause, ..Reason::of(&UNAVAILABLE) }.into()
    }

    /// 503: more is asked than can be done. It is counted, and no failure of ours.
    pub(crate) fn overloaded() -> Self {
        let retry_after_s = Some(RETRY_AFTER_S);
        Reason { retry_after_s, kind: Kind::Shed, ..Reason::of(&UNAVAILABLE) }.into()
    }

    /// 503: the answer to whoever asks whether requests are to be sent here.
    pub(crate) fn not_ready(away: &[&str]) -> Self {
        let Self(reason) = Self::unavailable(format!("away: {}", away.join(", ")));
        Self(Box::new(Reason { kind: Kind::Answer, ..*reason }))
    }

    /// 500: a fault of ours that trying again will not mend.
    #[must_use]
    pub fn internal() -> Self {
        Self::of(&INTERNAL)
    }

    /// The document's text, for the request with this id, and of this trace where it is traced.
    #[must_use]
    pub fn document(&self, request_id: &str, trace: Option<TraceId>) -> String {
        if self.0.is_oauth {
            let error = self.code().replace('-', "_");
            let document = OauthDocument { error, error_description: &self.0.detail };
            return serde_json::to_string(&document).unwrap_or_default();
        }
        let errors = self.0.errors.iter();
        let document = Document {
            r#type: self.0.row.uri(),
            title: self.0.row.title,
            status: self.0.row.status,
            detail: &self.0.detail,
            errors: errors
                .map(|error| DocumentError { field: &error.field, message: &error.message })
                .collect(),
            members: &self.0.members,
            request_id,
            trace_id: trace.map(|id| id.to_string()),
        };
        serde_json::to_string(&document).unwrap_or_default()
    }

    /// Whether more is asked than can be done.
    pub(crate) fn is_shed(&self) -> bool {
        self.0.kind == Kind::Shed
    }

    /// Whether something failed, and not at the client.
    pub(crate) fn is_failure(&self) -> bool {
        self.0.kind == Kind::Failure && self.status().is_server_error()
    }

    /// Whether its sender is to come back later, and may do so at once.
    pub(crate) fn turns_away(&self) -> bool {
        self.is_shed() || self.status() == StatusCode::TOO_MANY_REQUESTS
    }

    /// Whether no credential that was shown is accepted.
    pub(crate) fn is_of_credential(&self) -> bool {
        self.status() == StatusCode::UNAUTHORIZED
    }

    /// Whether nobody could say: another try may be answered.
    pub(crate) fn is_unavailable(&self) -> bool {
        self.status() == StatusCode::SERVICE_UNAVAILABLE
    }

    /// The problem's stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.row.code
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.row.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
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
            Refusal::WrongCredentials => Self::wrong_credentials(None),
            Refusal::SessionEnded => Self::unauthenticated(Accepts::Token, true),
            Refusal::Stale => Self::unavailable("something newer was decided meanwhile"),
            Refusal::TooManyRequests { retry_after_ms } => Self::too_many_requests(retry_after_ms),
            Refusal::InsufficientScope { required } => Self::insufficient_scope(required),
            Refusal::Conflict(conflict) => Self::conflict(conflict),
            Refusal::EmailTaken
            | Refusal::UsernameTaken
            | Refusal::InactiveUser
            | Refusal::KeyNotFound
            | Refusal::UserNotFound
            | Refusal::UsersOnly
            | Refusal::IdempotencyMismatch
            | Refusal::IpDenied => Self::of(refusal.problem()),
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
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        let media = if self.0.is_oauth { "application/json" } else { "application/problem+json" };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
        if let Some(required) = self.0.members.required.as_ref().and_then(|texts| texts.first()) {
            // Scopes have no character that a quoted text could not hold (RFC 6750 §3.1).
            let challenge = format!("{BEARER}, error=\"insufficient_scope\", scope=\"{required}\"");
            headers.extend(HeaderValue::try_from(challenge).ok().map(|it| (WWW_AUTHENTICATE, it)));
        }
        for challenge in self.0.challenges {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Some(seconds) = self.0.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if !self.0.allow.is_empty() {
            let methods: Vec<&str> = self.0.allow.iter().map(Method::as_str).collect();
            // A method has no character that a header does not take.
            let allow = HeaderValue::from_str(&methods.join(",")).ok();
            headers.extend(allow.map(|methods| (ALLOW, methods)));
        }
        if let Some(coding) = self.0.accepts_coding {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(coding));
        }
        response.extensions_mut().insert(self);
        response
    }
}
