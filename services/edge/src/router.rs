//! Every URL of the API, in one list.

use std::collections::HashMap;
use std::sync::Arc;

use axum::http::{Request, Uri};
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
    /// What logs, spans and metrics say in place of a path, which may hold anything.
    pub patterns: Patterns,
}

/// The patterns of paths: `/keys/{key_id}` and the like, and a last one for every other path.
#[derive(Clone)]
pub struct Patterns {
    all: Arc<[&'static str]>,
    literal: Arc<HashMap<&'static str, usize>>,
}

/// What a path is called that belongs to no route.
const UNMATCHED: &str = "unmatched";

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
        .fallback(async || Problem::no_such_route())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .with_state(edge);
    Routed { router, patterns }
}

/// In a request's extensions: its path was written with a slash at its end.
#[derive(Clone, Copy, Debug)]
pub struct Slashed;

/// Takes the slash off the end of a path that is more than a slash: `/keys/` is `/keys`. Two of them are
/// another path, which nothing is at.
pub fn without_slash<B>(request: &mut Request<B>) {
    let path = request.uri().path();
    let Some(shorter) = path.strip_suffix('/').filter(|it| !it.is_empty() && !it.ends_with('/'))
    else {
        return;
    };
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = format!("{shorter}{query}").parse().ok();
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
        request.extensions_mut().insert(Slashed);
    }
}

impl Patterns {
    pub(crate) fn new(patterns: impl Iterator<Item = String>) -> Self {
        // Made once, and needed for as long as the process runs.
        let lasting = |pattern: String| -> &'static str { Box::leak(pattern.into_boxed_str()) };
        let all: Arc<[_]> = patterns.map(lasting).chain([UNMATCHED]).collect();
        let literal = all.iter().enumerate().filter(|(_, pattern)| !pattern.contains('{'));
        let literal = literal.map(|(place, pattern)| (*pattern, place)).collect();
        Self { all, literal: Arc::new(literal) }
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[&'static str] {
        &self.all
    }

    /// The place among [`all`](Self::all) of the pattern that `path` belongs to.
    #[must_use]
    pub fn place_of(&self, path: &str) -> usize {
        let fits = |pattern: &str| {
            let mut segments = path.split('/');
            pattern.contains('{')
                && pattern.split('/').all(|part| {
                    segments.next().is_some_and(|it| part.starts_with('{') || part == it)
                })
                && segments.next().is_none()
        };
        // A literal pattern comes before one with a placeholder.
        let literal = self.literal.get(path).copied();
        let place = literal.or_else(|| self.all.iter().position(|pattern| fits(pattern)));
        place.unwrap_or(self.all.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slash_at_the_end_is_taken_off() {
        for (written, routed) in [
            ("/keys/", "/keys"),
            ("/keys/?limit=1&after=/", "/keys?limit=1&after=/"),
            ("/keys/?", "/keys?"),
            ("http://a.example/keys/7/", "http://a.example/keys/7"),
            ("/", "/"),
            ("/?x=/", "/?x=/"),
            ("//", "//"),
            ("/keys//", "/keys//"),
            ("/keys", "/keys"),
            ("/keys?x=/", "/keys?x=/"),
            ("*", "*"),
        ] {
            let mut request = Request::new(());
            *request.uri_mut() = written.parse().unwrap();
            without_slash(&mut request);
            assert_eq!(request.uri(), routed, "{written}");
            assert_eq!(request.extensions().get::<Slashed>().is_some(), written != routed);
        }
    }

    #[test]
    fn a_path_is_known_by_its_pattern_and_nothing_else_of_it_is() {
        let patterns = ["/", "/keys", "/keys/create", "/keys/{id}", "/docs/{file}"];
        let patterns = Patterns::new(patterns.map(str::to_owned).into_iter());
        let of = |path| patterns.all()[patterns.place_of(path)];
        for (path, pattern) in [
            ("/", "/"),
            ("/keys", "/keys"),
            ("/keys/create", "/keys/create"),
            ("/keys/7", "/keys/{id}"),
            ("/keys/sk_secret", "/keys/{id}"),
            ("/keys/7/x", "unmatched"),
            ("/keys/{id}", "/keys/{id}"),
            ("/secret", "unmatched"),
            ("/unmatched", "unmatched"),
            ("unmatched", "unmatched"),
            ("", "unmatched"),
        ] {
            assert_eq!(of(path), pattern, "{path}");
        }
    }
}
