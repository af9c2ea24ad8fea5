//! Every URL of the API, in one list.

use std::sync::Arc;

use axum::routing::get;
use axum::{Extension, Router};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Edge;
use crate::handler::docs::{self, Document};
use crate::handler::{auth, health, keys, protected};
use crate::openapi;
use crate::problem::Problem;

/// The routes, and the patterns of their paths.
#[derive(Clone)]
pub struct Routed {
    /// Answers requests.
    pub router: Router,
    /// `/keys/{key_id}` and the like: what a log says in place of a path, which may hold anything.
    pub patterns: Arc<[String]>,
}

/// Puts the routes together.
#[must_use]
pub fn build(edge: Arc<Edge>) -> Routed {
    let (router, document) = OpenApiRouter::with_openapi(openapi::Skeleton::openapi())
        .routes(routes!(auth::sign_up))
        .routes(routes!(auth::log_in))
        .routes(routes!(auth::log_out))
        .routes(routes!(keys::create))
        .routes(routes!(keys::list))
        .routes(routes!(keys::revoke))
        .routes(routes!(protected::user))
        .routes(routes!(protected::service))
        .routes(routes!(protected::any))
        .routes(routes!(health::root))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .split_for_parts();
    let document = openapi::complete(document);
    let pages = ["/docs", "/docs/{file}", "/redoc", "/redoc/redoc.standalone.js", "/openapi.json"];
    let patterns = document.paths.paths.keys().cloned().chain(pages.map(str::to_owned)).collect();
    let text = Document(openapi::text(&document).into());
    let router = router
        .route("/docs", get(docs::swagger))
        .route("/docs/{file}", get(docs::swagger_asset))
        .route("/redoc", get(docs::redoc))
        .route("/redoc/redoc.standalone.js", get(docs::redoc_script))
        .route("/openapi.json", get(docs::openapi).layer(Extension(text)))
        .fallback(async || Problem::no_such_route())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .with_state(edge);
    Routed { router, patterns }
}

impl Routed {
    /// The pattern that `path` belongs to.
    #[must_use]
    pub fn pattern_of(&self, path: &str) -> &str {
        let fits = |pattern: &&String| {
            let mut segments = path.split('/');
            pattern.split('/').all(|part| {
                segments.next().is_some_and(|segment| part.starts_with('{') || part == segment)
            }) && segments.next().is_none()
        };
        // A literal pattern comes before one with a placeholder.
        let literal = self.patterns.iter().find(|pattern| *pattern == path);
        literal.or_else(|| self.patterns.iter().find(fits)).map_or("unmatched", String::as_str)
    }
}
