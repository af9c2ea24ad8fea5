//! `/docs`, `/redoc` and `/openapi.json`: every asset comes from the binary.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use latchkey_contract::problem::NO_SUCH_ROUTE;
use utoipa_swagger_ui::Config;

use crate::problem::Problem;
use crate::state::Edge;
use crate::trailing_slash::Slashed;

const SWAGGER_PAGE: &str = include_str!("../../assets/docs.html");
const SWAGGER_START: &str = include_str!("../../assets/docs.js");
const REDOC_PAGE: &str = include_str!("../../assets/redoc.html");
const REDOC_SCRIPT: &str = include_str!("../../assets/redoc.standalone.js");

/// Stands in the pages for the way to the server's root.
const ROOT: &str = "{root}";
const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
/// What the two pages may do: run our scripts and talk to us. Both libraries write styles into the
/// page; ReDoc searches in a worker that it makes itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; \
    frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
/// An asset changes only with the binary.
const ASSET_CACHE: &str = "public, max-age=3600";

pub(crate) async fn swagger(slashed: Option<Extension<Slashed>>) -> Response {
    page(SWAGGER_PAGE, slashed.is_some())
}

pub(crate) async fn swagger_asset(Path(file): Path<String>) -> Result<Response, Problem> {
    if file == "start.js" {
        return Ok(answer(SCRIPT, SWAGGER_START));
    }
    let kind = match file.as_str() {
        "swagger-ui.css" => "text/css; charset=utf-8",
        "swagger-ui-bundle.js" => SCRIPT,
        _ => return Err(Problem::of(&NO_SUCH_ROUTE)),
    };
    let found = utoipa_swagger_ui::serve(&file, Arc::new(Config::from("openapi.json")));
    let asset = found.ok().flatten().ok_or_else(|| Problem::of(&NO_SUCH_ROUTE))?;
    Ok(answer(kind, asset.bytes.into_owned()))
}

pub(crate) async fn redoc(slashed: Option<Extension<Slashed>>) -> Response {
    page(REDOC_PAGE, slashed.is_some())
}

pub(crate) async fn redoc_script() -> Response {
    answer(SCRIPT, REDOC_SCRIPT)
}

pub(crate) async fn openapi(State(edge): State<Arc<Edge>>) -> Response {
    answer("application/json", edge.description.clone())
}

/// A page. What it names is relative to where it is, so that it is found under whatever prefix a proxy has
/// put the server: `/docs` lies in the folder that `/docs/` lies below.
fn page(text: &'static str, is_slashed: bool) -> Response {
    answer(HTML, text.replace(ROOT, if is_slashed { "../" } else { "" }))
}

fn answer(kind: &'static str, body: impl IntoResponse) -> Response {
    let header = |name: HeaderName, value| (name, HeaderValue::from_static(value));
    let headers = [
        header(CONTENT_TYPE, kind),
        header(CACHE_CONTROL, ASSET_CACHE),
        header(CONTENT_SECURITY_POLICY, POLICY),
    ];
    (headers, body).into_response()
}
