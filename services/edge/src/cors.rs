//! What pages of other origins may do (the Fetch Standard, §3.2): those that are configured, and what the routes take.

use std::time::Duration;

use axum::http::header::{
    AUTHORIZATION, CONTENT_TYPE, ETAG, IF_MATCH, LINK, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderName, Method};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::config::Config;
use crate::credential::API_KEY_HEADER;
use crate::request_id::REQUEST_ID;
use crate::route::Facts;

/// How long a browser may remember that a page may call.
const MAX_AGE: Duration = Duration::from_mins(10);

/// Headers of requests, and of answers, that are our own or not standard yet.
const TAKEN: [HeaderName; 2] =
    [HeaderName::from_static("idempotency-key"), HeaderName::from_static("latchkey-min-revision")];
/// See [`TAKEN`].
const SHOWN: [HeaderName; 4] = [
    HeaderName::from_static("latchkey-receipt"),
    HeaderName::from_static("ratelimit"),
    HeaderName::from_static("ratelimit-policy"),
    HeaderName::from_static("idempotency-replayed"),
];

/// The layer that says so, for these routes.
pub(crate) fn layer<'a>(config: &Config, routes: impl Iterator<Item = &'a Facts>) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(config.origins.iter().cloned()))
        .allow_methods(methods(routes))
        .allow_headers(
            [AUTHORIZATION, CONTENT_TYPE, IF_MATCH, API_KEY_HEADER, REQUEST_ID]
                .into_iter()
                .chain(TAKEN)
                .collect::<Vec<_>>(),
        )
        .expose_headers(
            [LINK, ETAG, RETRY_AFTER, WWW_AUTHENTICATE, REQUEST_ID]
                .into_iter()
                .chain(SHOWN)
                .collect::<Vec<_>>(),
        )
        .max_age(MAX_AGE)
}

/// The methods that routes have.
fn methods<'a>(routes: impl Iterator<Item = &'a Facts>) -> Vec<Method> {
    let all: Vec<&Method> = routes.filter_map(|route| route.method.as_ref()).collect();
    let known = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    known.into_iter().filter(|method| all.contains(&method)).collect()
}
