//! One element of the list of routes: who may call it, how it may be refused, what it takes. From the list follow the
//! router, what CORS lets through, the API's description, who waits for room, and what the tests try.

use std::sync::Arc;

use axum::http::Method;
use axum::routing::MethodRouter;
use latchkey_contract::problem::ProblemType;
use latchkey_gate::Requirement;
use utoipa::openapi::path::{Operation, PathItem, Paths};
use utoipa::openapi::schema::Schema;
use utoipa::openapi::{HttpMethod, OpenApi, RefOr};
use utoipa_axum::router::UtoipaMethodRouter;

use crate::admission::Lane;
use crate::fast_path::VerifyRoute;
use crate::limits::LimitClass;
use crate::state::Edge;

/// The description in the attributes of one function, which need be no handler.
macro_rules! described {
    ($($function:tt)+) => {{
        #[derive(utoipa::OpenApi)]
        #[openapi(paths($($function)+))]
        struct Described;
        <Described as utoipa::OpenApi>::openapi()
    }};
}
pub(crate) use described;

/// A route.
pub struct Route {
    facts: Facts,
    problems: &'static [&'static ProblemType],
    lane: Option<Lane>,
    description: Option<Description>,
    way: Way,
}

/// Who answers.
enum Way {
    /// A handler, behind the router.
    Handler(MethodRouter<Arc<Edge>>),
    /// The fast path.
    Verify(VerifyRoute),
}

/// What anybody may know of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its method; `None`: any. Whoever takes GET takes HEAD.
    pub method: Option<Method>,
    /// Its path, with `{…}` for whatever may stand there.
    pub path: String,
    /// What is required of whoever calls it; `None`: nothing, and nobody looks who it is. Where a handler answers, its
    /// arguments do what this and the next two fields say: a test compares them.
    pub who: Option<Requirement<'static>>,
    /// What counts its requests, if their number is limited.
    pub limit: Option<LimitClass>,
    /// Bytes of its body at most; `None`: it takes none.
    pub max_body: Option<usize>,
}

/// What the attributes of a route's handler, or of whatever else describes it, say of it.
#[derive(Clone)]
pub(crate) struct Description {
    pub(crate) schemas: Vec<(String, RefOr<Schema>)>,
    pub(crate) operation: Operation,
}

impl Route {
    /// A route whose handler describes it: `routes!` of it. Anybody may call it, as often as they like, without a body.
    pub(crate) fn new((schemas, paths, handler): UtoipaMethodRouter<Arc<Edge>>) -> Self {
        let (path, method, operation) = only_operation(paths);
        let description = operation.map(|operation| Description { schemas, operation });
        Self::bare(Some(method), path, description, Way::Handler(handler))
    }

    /// A route that only verifies, with what describes it: `described!` of whatever answers for it.
    pub(crate) fn verify(description: OpenApi, value: VerifyRoute) -> Self {
        let OpenApi { paths, components, .. } = description;
        let schemas = components.unwrap_or_default().schemas.into_iter().collect();
        let (path, method, operation) = only_operation(paths);
        let description = operation.map(|operation| Description { schemas, operation });
        let method = value.methods.map(|_| method);
        let mut route = Self::bare(method, path, description, Way::Verify(value));
        route.facts.who = Some(value.who);
        route
    }

    /// A page for people, which the description leaves out.
    pub(crate) fn page(path: &str, handler: MethodRouter<Arc<Edge>>) -> Self {
        Self::bare(Some(Method::GET), path.to_owned(), None, Way::Handler(handler))
    }

    fn bare(
        method: Option<Method>,
        path: String,
        description: Option<Description>,
        way: Way,
    ) -> Self {
        let facts = Facts { method, path, who: None, limit: None, max_body: None };
        Self { facts, problems: &[], lane: None, description, way }
    }

    /// Only for those who meet the requirement.
    pub(crate) fn who(mut self, requirement: Requirement<'static>) -> Self {
        self.assert_handled("its value says who may call it");
        self.facts.who = Some(requirement);
        self
    }

    /// How it may be refused besides what follows from everything else that is said of it.
    pub(crate) fn problems(self, problems: &'static [&'static ProblemType]) -> Self {
        Self { problems, ..self }
    }

    /// Counted by `class`.
    pub(crate) fn limit(mut self, class: LimitClass) -> Self {
        self.assert_handled("nothing counts its requests");
        self.facts.limit = Some(class);
        self
    }

    /// With a JSON body of so many bytes at most.
    pub(crate) fn body(mut self, max: usize) -> Self {
        self.assert_handled("nobody reads its body");
        self.facts.max_body = Some(max);
        self
    }

    /// Dear: its requests wait for room with others of the kind.
    pub(crate) fn lane(self, lane: Lane) -> Self {
        self.assert_handled("it waits for no room");
        Self { lane: Some(lane), ..self }
    }

    /// What a handler's arguments do, and admission in front of it, the fast path would leave undone without a word.
    fn assert_handled(&self, why: &str) {
        let is_handled = matches!(self.way, Way::Handler(_));
        debug_assert!(is_handled, "{} only verifies: {why}", self.facts.path);
    }

    /// What anybody may know of it.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The problems that it alone has.
    pub(crate) fn own_problems(&self) -> &'static [&'static ProblemType] {
        self.problems
    }

    /// Where its requests wait for room.
    pub(crate) fn dear(&self) -> Option<Lane> {
        self.lane
    }

    /// What its handler says of it; `None` where it is left out of the description.
    pub(crate) fn description(&self) -> Option<&Description> {
        self.description.as_ref()
    }

    /// The value of a route that only verifies.
    pub(crate) fn verifies(&self) -> Option<VerifyRoute> {
        match self.way {
            Way::Verify(value) => Some(value),
            Way::Handler(_) => None,
        }
    }

    /// The path and the handler of any other.
    pub(crate) fn into_handler(self) -> Option<(String, MethodRouter<Arc<Edge>>)> {
        match self.way {
            Way::Handler(handler) => Some((self.facts.path, handler)),
            Way::Verify(_) => None,
        }
    }
}

/// The path, method and description of the one operation that `routes!` of one handler holds.
fn only_operation(paths: Paths) -> (String, Method, Option<Operation>) {
    let (path, item) = paths.paths.into_iter().next().unwrap_or_default();
    let PathItem { get, post, put, patch, delete, .. } = item;
    let operations = [
        (Method::GET, get),
        (Method::POST, post),
        (Method::PUT, put),
        (Method::PATCH, patch),
        (Method::DELETE, delete),
    ];
    let found = operations.into_iter().find(|(_, operation)| operation.is_some());
    let (method, operation) = found.unwrap_or((Method::GET, None));
    (path, method, operation)
}

/// The method as the description has it, which has no word for any.
pub(crate) fn http_method(method: Option<&Method>) -> HttpMethod {
    match method.map_or("GET", Method::as_str) {
        "POST" => HttpMethod::Post,
        "PUT" => HttpMethod::Put,
        "PATCH" => HttpMethod::Patch,
        "DELETE" => HttpMethod::Delete,
        _ => HttpMethod::Get,
    }
}
