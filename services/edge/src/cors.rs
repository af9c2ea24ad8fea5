//! What pages of other origins may do (the Fetch Standard, §3.2): those that are configured, and what the routes take.

use std::time::Duration;

use axum::http::Method;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, LINK, RETRY_AFTER, WWW_AUTHENTICATE};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::config::Config;
use crate::credential::API_KEY_HEADER;
use crate::request_id::REQUEST_ID;
use crate::route::Facts;

/// How long a browser may remember that a page may call.
const MAX_AGE: Duration = Duration::from_mins(10);

/// The layer that says so, for these routes.
pub(crate) fn layer<'a>(config: &Config, routes: impl Iterator<Item = &'a Facts>) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(config.origins.iter().cloned()))
        .allow_methods(methods(routes))
        .allow_headers([AUTHORIZATION, CONTENT_TYPE, API_KEY_HEADER, REQUEST_ID])
        .expose_headers([LINK, RETRY_AFTER, WWW_AUTHENTICATE, REQUEST_ID])
        .max_age(MAX_AGE)
}

/// The methods that routes have.
fn methods<'a>(routes: impl Iterator<Item = &'a Facts>) -> Vec<Method> {
    let all: Vec<&Method> = routes.filter_map(|route| route.method.as_ref()).collect();
    let known = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    known.into_iter().filter(|method| all.contains(&method)).collect()
}
