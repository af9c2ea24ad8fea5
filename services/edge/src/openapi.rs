//! The OpenAPI 3.1 document: what the handlers' attributes cannot say once for all.

use std::collections::BTreeMap;

use latchkey_contract::problem::{
    BAD_HOST, CREDENTIAL_TWICE, EMAIL_TAKEN, INACTIVE_USER, INTERNAL, INVALID, KEY_NOT_FOUND,
    NOT_ACCEPTED, NOT_JSON, ProblemType, SLOW_BODY, TOO_LARGE, TOO_MANY_REQUESTS, UNAVAILABLE,
    USERS_ONLY, WRONG_CREDENTIALS,
};
use serde_json::json;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, ResponseBuilder};
use utoipa::{OpenApi, ToSchema};

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

const BODY: [&ProblemType; 4] = [&SLOW_BODY, &TOO_LARGE, &NOT_JSON, &INVALID];
const ALWAYS: [&ProblemType; 3] = [&BAD_HOST, &INTERNAL, &UNAVAILABLE];

/// What a route answers in place of the answer it is for.
fn answers_of(path: &str) -> Vec<&'static ProblemType> {
    let own: &[&ProblemType] = match path {
        "/auth/signup" => &[&EMAIL_TAKEN, &TOO_MANY_REQUESTS],
        "/auth/login" => &[&INACTIVE_USER, &WRONG_CREDENTIALS, &TOO_MANY_REQUESTS],
        "/keys/create" => &[&CREDENTIAL_TWICE, &NOT_ACCEPTED, &USERS_ONLY, &TOO_MANY_REQUESTS],
        "/keys" => &[&CREDENTIAL_TWICE, &NOT_ACCEPTED, &USERS_ONLY, &INVALID],
        "/keys/{key_id}" => {
            &[&CREDENTIAL_TWICE, &NOT_ACCEPTED, &USERS_ONLY, &KEY_NOT_FOUND, &INVALID]
        }
        "/auth/password" => {
            &[&CREDENTIAL_TWICE, &WRONG_CREDENTIALS, &NOT_ACCEPTED, &TOO_MANY_REQUESTS]
        }
        "/auth/logout" | "/auth/logout-all" | "/protected/user" | "/protected/service"
        | "/protected/any" => &[&CREDENTIAL_TWICE, &NOT_ACCEPTED],
        _ => &[],
    };
    let has_body =
        matches!(path, "/auth/signup" | "/auth/login" | "/auth/password" | "/keys/create");
    let body: &[&ProblemType] = if has_body { &BODY } else { &[] };
    own.iter().chain(body).chain(&ALWAYS).copied().collect()
}

/// What an example puts into a detail with a place for it.
fn example_of(row: &ProblemType) -> &'static str {
    if *row == TOO_LARGE { "16384" } else { "name is required and must be a text" }
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

fn add_answers(operation: &mut Operation, answers: &[&ProblemType]) {
    let mut by_status: BTreeMap<u16, Vec<&ProblemType>> = BTreeMap::new();
    for answer in answers {
        by_status.entry(answer.status).or_default().push(answer);
    }
    for (status, answers) in by_status {
        let mut titles: Vec<&str> = answers.iter().map(|answer| answer.title).collect();
        titles.dedup();
        let example = json!({
            "type": answers[0].uri(),
            "title": answers[0].title,
            "status": status,
            "detail": answers[0].filled(example_of(answers[0])),
            "request_id": "4f6c1c1e9a1b2d3c-1",
        });
        let content = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name("Problem")))
            .example(Some(example));
        let response = ResponseBuilder::new()
            .description(titles.join(", or "))
            .content("application/problem+json", content.build());
        operation.responses.responses.insert(status.to_string(), response.build().into());
    }
}

/// The document's text.
#[must_use]
pub fn text(document: &utoipa::openapi::OpenApi) -> String {
    // The document is built from constants; a test reads it.
    document.to_pretty_json().unwrap_or_default()
}
