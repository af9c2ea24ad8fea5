//! Every URL of the API, in one list.

use std::sync::Arc;

use axum::routing::get;
use axum::{Extension, Router};
use latchkey_contract::problem::{METHOD_NOT_ALLOWED, NO_SUCH_ROUTE};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::docs::{self, Document};
use crate::api::{auth, health, keys, protected};
use crate::openapi;
use crate::patterns::Patterns;
use crate::problem::Problem;
use crate::state::Edge;

/// The routes, and the patterns of their paths.
#[derive(Clone)]
pub struct Routed {
    /// Answers requests.
    pub router: Router,
    /// What logs, spans and metrics say in place of a path, which may hold anything.
    pub patterns: Patterns,
}

/// Puts the routes together.
#[must_use]
pub fn build(edge: Arc<Edge>) -> Routed {
    let (router, document) = OpenApiRouter::with_openapi(openapi::Skeleton::openapi())
        .routes(routes!(auth::sign_up))
        .routes(routes!(auth::log_in))
        .routes(routes!(auth::log_out))
        .routes(routes!(auth::log_out_all))
        .routes(routes!(auth::change_password))
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
    let patterns = document.paths.paths.keys().cloned().chain(pages.map(str::to_owned));
    let patterns = Patterns::new(patterns);
    let text = Document(openapi::text(&document).into());
    let router = router
        .route("/docs", get(docs::swagger))
        .route("/docs/{file}", get(docs::swagger_asset))
        .route("/redoc", get(docs::redoc))
        .route("/redoc/redoc.standalone.js", get(docs::redoc_script))
        .route("/openapi.json", get(docs::openapi).layer(Extension(text)))
        .fallback(async || Problem::of(&NO_SUCH_ROUTE))
        .method_not_allowed_fallback(async || Problem::of(&METHOD_NOT_ALLOWED))
        .with_state(edge);
    Routed { router, patterns }
}
