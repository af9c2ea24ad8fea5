//! Problems of a request as such, whoever sends it: its head, its target, its body.

use axum::http::StatusCode;

use super::{Problem, Reason};

impl Problem {
    /// 400: no host, two, or one that cannot be (RFC 9112 §3.2).
    #[must_use]
    pub fn bad_host() -> Self {
        Self::bad_request("The header `Host` must be there once, and name a host and no more.")
    }

    /// 404: no such route.
    #[must_use]
    pub fn no_such_route() -> Self {
        let detail = "There is nothing at this path: /docs lists what there is.";
        Reason::new(StatusCode::NOT_FOUND, "no-such-route", "Not found", detail).into()
    }

    /// 405: the route has other methods.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        let detail =
            "This path does not take this method: the header `Allow` names those it takes.";
        let status = StatusCode::METHOD_NOT_ALLOWED;
        Reason::new(status, "method-not-allowed", "Method not allowed", detail).into()
    }

    /// 408: the body did not arrive in time.
    #[must_use]
    pub fn slow_body() -> Self {
        let detail = "The request's body did not arrive in time.";
        Reason::new(StatusCode::REQUEST_TIMEOUT, "request-timeout", "Request timeout", detail)
            .into()
    }

    /// 413: more bytes than the route takes.
    #[must_use]
    pub fn too_large(max: usize) -> Self {
        let detail = format!("The request's body is too large: at most {max} bytes are accepted.");
        Reason::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Payload too large", detail).into()
    }

    /// 431: more header lines than any request needs.
    #[must_use]
    pub fn too_many_headers(max: usize) -> Self {
        let detail = format!("The request has too many header lines: at most {max} are accepted.");
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        Reason::new(status, "too-many-headers", "Too many headers", detail).into()
    }

    /// 408: the head did not arrive in time.
    #[must_use]
    pub fn slow_head() -> Self {
        let detail = "The request's head did not arrive in time.";
        Reason::new(StatusCode::REQUEST_TIMEOUT, "request-timeout", "Request timeout", detail)
            .into()
    }

    /// 414: the target alone is longer than a head may be.
    #[must_use]
    pub fn target_too_long() -> Self {
        let detail = "The request's target is too long.";
        Reason::new(StatusCode::URI_TOO_LONG, "target-too-long", "Target too long", detail).into()
    }

    /// 431: the head is longer than it may be.
    #[must_use]
    pub fn head_too_large() -> Self {
        let detail = "The request's header lines are too many or too long.";
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        Reason::new(status, "head-too-large", "Head too large", detail).into()
    }

    /// 505: another version of HTTP.
    #[must_use]
    pub fn version_not_supported() -> Self {
        let detail = "This version of HTTP is not spoken here: HTTP/1.1 is.";
        let status = StatusCode::HTTP_VERSION_NOT_SUPPORTED;
        Reason::new(status, "version-not-supported", "Version not supported", detail).into()
    }

    /// 415: a body in a coding.
    #[must_use]
    pub fn compressed() -> Self {
        let detail = "A compressed body is not taken: send it without `Content-Encoding`.";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        let reason =
            Reason::new(status, "unsupported-coding", "Unsupported content coding", detail);
        Reason { accepts_coding: Some("identity"), ..reason }.into()
    }

    /// 415: a body that is not declared as JSON.
    #[must_use]
    pub fn not_json() -> Self {
        let detail = "The request's body must be JSON: send `Content-Type: application/json`.";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Reason::new(status, "unsupported-media-type", "Unsupported media type", detail).into()
    }
}
