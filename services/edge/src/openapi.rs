//! The OpenAPI 3.1 document: what the handlers' attributes say, and what follows from the list of routes.

use std::collections::BTreeMap;

use latchkey_contract::problem::{
    Accepts, BAD_HOST, CREDENTIAL_TWICE, INTERNAL, INVALID, IP_DENIED, NOT_ACCEPTED, NOT_JSON,
    ProblemType, SLOW_BODY, TOO_LARGE, TOO_MANY_REQUESTS, UNAVAILABLE, USERS_ONLY,
};
use latchkey_gate::{Form, Requirement};
use serde_json::json;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, Flow, HttpAuthScheme, HttpBuilder, OAuth2, Password, Scopes,
    SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{OpenApi, ToSchema};

use crate::credential::accepts;
use crate::route::{Description, Facts, Route, http_method};

/// What the description calls the two forms of credential.
const TOKEN: &str = "token";
const KEY: &str = "key";
/// A login by which to get a token, as Swagger UI and clients of OAuth do it.
const PASSWORD: &str = "password";

/// The document without its paths.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Latchkey",
        description = "User login and API keys for services, where *revoked means revoked*.\n\n\
            Every error is a problem document (RFC 9457) whose `detail` is a sentence for a person and \
            whose `type` is stable.",
        license(name = "MIT", identifier = "MIT")
    ),
    tags(
        (name = "auth", description = "Accounts and logins"),
        (name = "oauth", description = "Tokens by the OAuth standards"),
        (name = "keys", description = "A user's own API keys"),
        (name = "audit", description = "What happened to a user's account, sessions and keys"),
        (name = "protected", description = "What a verified caller may see"),
        (name = "meta", description = "What this is, and whether it works")
    ),
    // Relative to where the document is: a proxy may have put the server under a prefix.
    servers((url = ".", description = "This server")),
    components(schemas(ProblemSchema, FieldErrorSchema))
)]
struct Skeleton;

/// A problem document (RFC 9457).
#[derive(ToSchema)]
#[schema(as = Problem)]
#[expect(dead_code, reason = "it is the description of problem::Document")]
struct ProblemSchema {
    /// A stable name of the kind of problem.
    r#type: String,
    /// The kind of problem in a few words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What is wrong, in a sentence for a person.
    detail: String,
    /// Every faulty field; on 422 alone.
    errors: Option<Vec<FieldErrorSchema>>,
    /// Scopes of which one text's would be enough, all of them; empty where no scope would be. On `insufficient-scope`.
    required: Option<Vec<String>>,
    /// The state that does not allow what was asked; on `conflict`.
    state: Option<String>,
    /// What RFC 6749 §5.2 calls it; where a login was sent as a form.
    error: Option<String>,
    /// The detail once more; beside `error`.
    error_description: Option<String>,
    /// The request's id, which is in our logs too.
    request_id: String,
    /// The id of the request's trace, where it is traced.
    trace_id: Option<String>,
}

/// A field that breaks a rule.
#[derive(ToSchema)]
#[schema(as = FieldError)]
#[expect(dead_code, reason = "it is the description of problem::DocumentError")]
struct FieldErrorSchema {
    /// The field's name.
    field: String,
    /// What is wrong and what is accepted.
    message: String,
}

/// How any route may be refused whose body is JSON, and how any at all.
const BODY: [&ProblemType; 4] = [&SLOW_BODY, &TOO_LARGE, &NOT_JSON, &INVALID];
const ALWAYS: [&ProblemType; 3] = [&BAD_HOST, &INTERNAL, &UNAVAILABLE];

/// Describes the routes.
fn describe(routes: &[Route]) -> utoipa::openapi::OpenApi {
    let mut document = Skeleton::openapi();
    env!("CARGO_PKG_VERSION").clone_into(&mut document.info.version);
    let components = document.components.get_or_insert_default();
    let token = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some("An access token from `POST /auth/login`"));
    components.add_security_scheme(TOKEN, SecurityScheme::Http(token.build()));
    let key = ApiKeyValue::with_description("x-api-key", "An API key from `POST /keys/create`");
    components.add_security_scheme(KEY, SecurityScheme::ApiKey(ApiKey::Header(key)));
    components.add_security_scheme(PASSWORD, password());
    for route in routes {
        let Some(Description { schemas, mut operation }) = route.description().cloned() else {
            continue;
        };
        components.schemas.extend(schemas);
        operation.security = route.facts().who.map(security);
        add_answers(&mut operation, route);
        let Facts { method, path, .. } = route.facts();
        document.paths.add_path_operation(path, vec![http_method(method.as_ref())], operation);
    }
    document
}

/// The password flow (RFC 6749 §4.3): a login as a form.
fn password() -> SecurityScheme {
    let scopes = [("offline_access", "Also a refresh token, by which the session goes on")];
    let flow = Password::with_refresh_url("/auth/login", Scopes::from_iter(scopes), "/oauth/token");
    SecurityScheme::OAuth2(OAuth2::new([Flow::Password(flow)]))
}

/// The schemes by which whoever meets the requirement may authenticate.
fn security(requirement: Requirement<'_>) -> Vec<SecurityRequirement> {
    let scheme = |name: &str| SecurityRequirement::new(name, Vec::<String>::new());
    match accepts(requirement) {
        Accepts::Token => vec![scheme(TOKEN), scheme(PASSWORD)],
        Accepts::Key => vec![scheme(KEY)],
        Accepts::Either => vec![scheme(TOKEN), scheme(PASSWORD), scheme(KEY)],
    }
}

/// How a route may be refused: as it says of itself, and as follows from who may call it, from what counts its
/// requests and from its body.
fn problems_of(route: &Route) -> Vec<&'static ProblemType> {
    let Facts { who, limit, max_body, .. } = route.facts();
    let mut all = route.own_problems().to_vec();
    if let Some(requirement) = who {
        all.extend([&CREDENTIAL_TWICE, &NOT_ACCEPTED]);
        // Whoever looks at keys and takes users alone knows a key when it sees one.
        if requirement.forms().contains(&Form::Key) && accepts(*requirement) == Accepts::Token {
            all.push(&USERS_ONLY);
        }
        // A key may have a list of the addresses from which it may be used.
        if requirement.forms().contains(&Form::Key) {
            all.push(&IP_DENIED);
        }
    }
    if limit.is_some() {
        all.push(&TOO_MANY_REQUESTS);
    }
    if max_body.is_some() {
        all.extend(BODY);
    }
    all.extend(ALWAYS);
    all
}

/// What an example puts into a detail with a place for it.
fn example_of(row: &ProblemType, max_body: Option<usize>) -> String {
    match max_body {
        Some(max) if *row == TOO_LARGE => max.to_string(),
        _ => "name is required and must be a text".to_owned(),
    }
}

/// Of problem documents.
const MEDIA: &str = "application/problem+json";

fn add_answers(operation: &mut Operation, route: &Route) {
    let mut by_status: BTreeMap<u16, Vec<&ProblemType>> = BTreeMap::new();
    for answer in problems_of(route) {
        by_status.entry(answer.status).or_default().push(answer);
    }
    for (status, answers) in by_status {
        let mut titles: Vec<&str> = answers.iter().map(|answer| answer.title).collect();
        titles.dedup();
        let example = json!({
            "type": answers[0].uri(),
            "title": answers[0].title,
            "status": status,
            "detail": answers[0].filled(&example_of(answers[0], route.facts().max_body)),
            "request_id": "4f6c1c1e9a1b2d3c-1",
        });
        let content = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name("Problem")))
            .example(Some(example));
        // What the route itself says of the status is of another type.
        if let Some(RefOr::T(described)) =
            operation.responses.responses.get_mut(&status.to_string())
        {
            described.content.insert(MEDIA.to_owned(), content.build().into());
            continue;
        }
        let response = ResponseBuilder::new()
            .description(titles.join(", or "))
            .content(MEDIA, content.build());
        operation.responses.responses.insert(status.to_string(), response.build().into());
    }
}

/// The document's text.
pub(crate) fn text(routes: &[Route]) -> String {
    // The document is built from constants; a test reads it.
    describe(routes).to_pretty_json().unwrap_or_default()
}
