//! One element of the list of routes: who may call it, how it may be refused, what it takes. From the list follow the
//! router, what CORS lets through, the API's description, who waits for room, and what the tests try.

use std::sync::Arc;

use axum::http::Method;
use axum::routing::MethodRouter;
use latchkey_contract::problem::ProblemType;
use latchkey_gate::Requirement;
use utoipa::openapi::path::{Operation, PathItem, Paths};
use utoipa::openapi::schema::Schema;
use utoipa::openapi::{HttpMethod, RefOr};
use utoipa_axum::router::UtoipaMethodRouter;

use crate::admission::Lane;
use crate::limits::LimitClass;
use crate::state::Edge;

/// A route.
pub struct Route {
    facts: Facts,
    problems: &'static [&'static ProblemType],
    lane: Option<Lane>,
    description: Option<Description>,
    handler: MethodRouter<Arc<Edge>>,
}

/// What anybody may know of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its method. Whoever takes GET takes HEAD.
    pub method: Method,
    /// Its path, with `{…}` for whatever may stand there.
    pub path: String,
    /// What is required of whoever calls it; `None`: nothing, and nobody looks who it is.
    pub who: Option<Requirement>,
    /// What counts its requests, if their number is limited.
    pub limit: Option<LimitClass>,
    /// Bytes of its body at most; `None`: it takes none.
    pub max_body: Option<usize>,
}

/// What its handler's attributes say of a route.
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
        Self::bare(method, path, description, handler)
    }

    /// A page for people, which the description leaves out.
    pub(crate) fn page(path: &str, handler: MethodRouter<Arc<Edge>>) -> Self {
        Self::bare(Method::GET, path.to_owned(), None, handler)
    }

    fn bare(
        method: Method,
        path: String,
        description: Option<Description>,
        handler: MethodRouter<Arc<Edge>>,
    ) -> Self {
        let facts = Facts { method, path, who: None, limit: None, max_body: None };
        Self { facts, problems: &[], lane: None, description, handler }
    }

    /// Only for those who meet the requirement.
    pub(crate) fn who(mut self, requirement: Requirement) -> Self {
        self.facts.who = Some(requirement);
        self
    }

    /// How it may be refused besides what follows from everything else that is said of it.
    pub(crate) fn problems(self, problems: &'static [&'static ProblemType]) -> Self {
        Self { problems, ..self }
    }

    /// Counted by `class`.
    pub(crate) fn limit(mut self, class: LimitClass) -> Self {
        self.facts.limit = Some(class);
        self
    }

    /// With a JSON body of so many bytes at most.
    pub(crate) fn body(mut self, max: usize) -> Self {
        self.facts.max_body = Some(max);
        self
    }

    /// Dear: its requests wait for room with others of the kind.
    pub(crate) fn lane(self, lane: Lane) -> Self {
        Self { lane: Some(lane), ..self }
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

    /// Its path, and what answers there.
    pub(crate) fn into_handler(self) -> (String, MethodRouter<Arc<Edge>>) {
        (self.facts.path, self.handler)
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

/// The method as the description has it.
pub(crate) fn described(method: &Method) -> HttpMethod {
    match method.as_str() {
        "POST" => HttpMethod::Post,
        "PUT" => HttpMethod::Put,
        "PATCH" => HttpMethod::Patch,
        "DELETE" => HttpMethod::Delete,
        _ => HttpMethod::Get,
    }
}
