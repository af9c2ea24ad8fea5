//! What every answer has: the same headers, and a line in the log where it is a problem.

use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::response::Response;

use crate::problem::Problem;
use crate::request_id::REQUEST_ID;

/// What a page that is no page may do.
const POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// The headers of every answer.
pub(crate) fn finish(headers: &mut HeaderMap, request_id: HeaderValue) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, NO_SNIFF);
    headers.entry(CACHE_CONTROL).or_insert(NO_STORE);
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(POLICY);
    headers.insert(REQUEST_ID, request_id);
}

/// The line of a problem.
pub(crate) fn log(problem: &Problem, response: &Response, id: &str, method: &Method, route: &str) {
    let (status, code) = (response.status().as_u16(), problem.code());
    if problem.is_shed() {
        tracing::debug!(status, code, request_id = id, %method, route, "a request was turned away");
    } else if problem.is_failure() {
        let cause = problem.cause();
        tracing::error!(status, code, request_id = id, %method, route, cause, "a request failed");
    } else if let Some(cause) = problem.cause() {
        tracing::info!(status, code, request_id = id, %method, route, cause, "not ready");
    } else {
        tracing::info!(status, code, request_id = id, %method, route, "a request was refused");
    }
}
