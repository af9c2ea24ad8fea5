//! The OpenAPI 3.1 document: what the handlers' attributes cannot say once for all.

use std::collections::BTreeMap;

use serde_json::json;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, ResponseBuilder};
use utoipa::{OpenApi, ToSchema};

use crate::problem::TYPE_PREFIX;

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
        (name = "keys", description = "A user's own API keys"),
        (name = "protected", description = "What a verified caller may see"),
        (name = "meta", description = "What this is, and whether it works")
    ),
    // Relative to where the document is: a proxy may have put the server under a prefix.
    servers((url = ".", description = "This server")),
    components(schemas(ProblemSchema, FieldErrorSchema))
)]
pub struct Skeleton;

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
    /// The request's id, which is in our logs too.
    request_id: String,
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

/// One answer that a route may give in place of the one it is for.
struct Answer {
    status: &'static str,
    code: &'static str,
    title: &'static str,
    detail: &'static str,
}

const fn answer(
    status: &'static str,
    code: &'static str,
    title: &'static str,
    detail: &'static str,
) -> Answer {
    Answer { status, code, title, detail }
}

const TAKEN: Answer =
    answer("400", "email-taken", "Email already registered", "Email already registered");
const INACTIVE: Answer =
    answer("400", "inactive-user", "Inactive user account", "Inactive user account");
const MISUSED: Answer = answer(
    "400",
    "bad-request",
    "Bad request",
    "A header with a credential was sent more than once.",
);
const NO_HOST: Answer = answer(
    "400",
    "bad-request",
    "Bad request",
    "The header `Host` must be there once, and name a host and no more.",
);
const WRONG_LOGIN: Answer =
    answer("401", "wrong-credentials", "Login refused", "Incorrect username or password");
const UNAUTHENTICATED: Answer = answer(
    "401",
    "unauthenticated",
    "Unauthenticated",
    "The authentication credentials are not accepted: malformed, expired, revoked or unknown.",
);
const USERS_ONLY: Answer = answer(
    "403",
    "users-only",
    "Users only",
    "Only user accounts may do this: log in and send the token instead of an API key.",
);
const NO_KEY: Answer = answer("404", "key-not-found", "Not found", "API key not found");
const SLOW: Answer = answer(
    "408",
    "request-timeout",
    "Request timeout",
    "The request's body did not arrive in time.",
);
const TOO_LARGE: Answer = answer(
    "413",
    "too-large",
    "Payload too large",
    "The request's body is too large: at most 16384 bytes are accepted.",
);
const NOT_JSON: Answer = answer(
    "415",
    "unsupported-media-type",
    "Unsupported media type",
    "The request's body must be JSON: send `Content-Type: application/json`.",
);
const INVALID: Answer = answer(
    "422",
    "invalid",
    "Invalid request",
    "The request is not valid: name is required and must be a text.",
);
const TOO_MANY: Answer = answer(
    "429",
    "too-many-requests",
    "Too many requests",
    "Too many requests: try again after the time in the header `Retry-After`.",
);
const INTERNAL: Answer = answer(
    "500",
    "internal",
    "Internal error",
    "Something went wrong here. The request's id helps to find out what.",
);
const UNAVAILABLE: Answer = answer(
    "503",
    "unavailable",
    "Service unavailable",
    "The service is unavailable just now: try again shortly.",
);

const BODY: [&Answer; 4] = [&SLOW, &TOO_LARGE, &NOT_JSON, &INVALID];
const ALWAYS: [&Answer; 3] = [&NO_HOST, &INTERNAL, &UNAVAILABLE];

/// What a route answers in place of the answer it is for.
fn answers_of(path: &str) -> Vec<&'static Answer> {
    let own: &[&Answer] = match path {
        "/auth/signup" => &[&TAKEN, &TOO_MANY],
        "/auth/login" => &[&INACTIVE, &WRONG_LOGIN, &TOO_MANY],
        "/keys/create" => &[&MISUSED, &UNAUTHENTICATED, &USERS_ONLY, &TOO_MANY],
        "/keys" => &[&MISUSED, &UNAUTHENTICATED, &USERS_ONLY, &INVALID],
        "/keys/{key_id}" => &[&MISUSED, &UNAUTHENTICATED, &USERS_ONLY, &NO_KEY, &INVALID],
        "/auth/password" => &[&MISUSED, &WRONG_LOGIN, &UNAUTHENTICATED, &TOO_MANY],
        "/auth/logout" | "/auth/logout-all" | "/protected/user" | "/protected/service"
        | "/protected/any" => &[&MISUSED, &UNAUTHENTICATED],
        _ => &[],
    };
    let has_body =
        matches!(path, "/auth/signup" | "/auth/login" | "/auth/password" | "/keys/create");
    let body: &[&Answer] = if has_body { &BODY } else { &[] };
    own.iter().chain(body).chain(&ALWAYS).copied().collect()
}

/// Adds the security schemes and every error answer.
#[must_use]
pub fn complete(mut document: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    env!("CARGO_PKG_VERSION").clone_into(&mut document.info.version);
    let components = document.components.get_or_insert_default();
    let token = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some("An access token from `POST /auth/login`"));
    components.add_security_scheme("token", SecurityScheme::Http(token.build()));
    let key = ApiKeyValue::with_description("x-api-key", "An API key from `POST /keys/create`");
    components.add_security_scheme("key", SecurityScheme::ApiKey(ApiKey::Header(key)));
    for (path, item) in &mut document.paths.paths {
        let operations = [&mut item.get, &mut item.post, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            add_answers(operation, &answers_of(path));
        }
    }
    document
}

fn add_answers(operation: &mut Operation, answers: &[&Answer]) {
    let mut by_status: BTreeMap<&str, Vec<&Answer>> = BTreeMap::new();
    for answer in answers {
        by_status.entry(answer.status).or_default().push(answer);
    }
    for (status, answers) in by_status {
        let mut titles: Vec<&str> = answers.iter().map(|answer| answer.title).collect();
        titles.dedup();
        let example = json!({
            "type": format!("{TYPE_PREFIX}{}", answers[0].code),
            "title": answers[0].title,
            "status": status.parse::<u16>().unwrap_or_default(),
            "detail": answers[0].detail,
            "request_id": "4f6c1c1e9a1b2d3c-1",
        });
        let content = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name("Problem")))
            .example(Some(example));
        let response = ResponseBuilder::new()
            .description(titles.join(", or "))
            .content("application/problem+json", content.build());
        operation.responses.responses.insert(status.to_owned(), response.build().into());
    }
}

/// The document's text.
#[must_use]
pub fn text(document: &utoipa::openapi::OpenApi) -> String {
    // The document is built from constants; a test reads it.
    document.to_pretty_json().unwrap_or_default()
}
