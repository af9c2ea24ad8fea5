//! What a login sends: JSON, or a form as OAuth's password flow has it (RFC 6749 §4.3), which Swagger UI sends.

use axum::extract::{FromRequest, Request};
use latchkey_contract::problem::{NOT_JSON, UNSUPPORTED_GRANT_TYPE};
use utoipa::ToSchema;

use super::LogInBody;
use crate::body::{JsonBody, MAX_AUTH_BODY};
use crate::form::Form;
use crate::problem::Problem;

/// The one way of getting a token here.
const GRANT: &str = "password";
/// Among the scopes: a refresh token is asked for (OIDC Core §11).
const OFFLINE: &str = "offline_access";

/// A login as a form.
#[derive(ToSchema)]
#[schema(example = json!({"grant_type": "password", "username": "ada", "password": "correct horse battery staple"}))]
#[expect(dead_code, reason = "it is the description of a form that is read field by field")]
pub struct LogInForm {
    /// `password`, or left out.
    #[schema(nullable = false)]
    grant_type: Option<String>,
    /// The username.
    username: String,
    /// The password.
    #[schema(format = Password)]
    password: String,
    /// What the token is to be narrowed to; with `offline_access` among it there is a refresh token, too.
    #[schema(nullable = false)]
    scope: Option<String>,
    /// Not looked at.
    #[schema(nullable = false)]
    client_id: Option<String>,
    /// Not looked at.
    #[schema(nullable = false)]
    client_secret: Option<String>,
}

/// A login, and how it came.
pub struct LogInInput {
    /// What was sent.
    pub(super) body: LogInBody,
    is_form: bool,
}

impl<S: Send + Sync> FromRequest<S> for LogInInput {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !Form::is_in(request.headers()) {
            let JsonBody(body) = JsonBody::<_, MAX_AUTH_BODY>::from_request(request, state).await?;
            return Ok(Self { body, is_form: false });
        }
        let form = Form::read(request, MAX_AUTH_BODY).await?;
        let mut form = form.map_err(|faulty| faulty.with_error("invalid_request"))?;
        // Mostly it is JSON that says it is a form: what a client sends that was told nothing of types.
        if !["username", "password", "grant_type"].iter().any(|name| form.has(name)) {
            return Err(Problem::of(&NOT_JSON));
        }
        if form.take("grant_type").is_some_and(|grant| grant != GRANT) {
            let other = Problem::about(&UNSUPPORTED_GRANT_TYPE, GRANT);
            return Err(other.with_error("unsupported_grant_type"));
        }
        let scope = form.take("scope");
        let refresh = scope.as_deref().is_some_and(|it| it.split(' ').any(|it| it == OFFLINE));
        let body = LogInBody {
            username: form.take("username"),
            password: form.take("password"),
            scope,
            refresh: Some(refresh),
            device: None,
        };
        Ok(Self { body, is_form: true })
    }
}

impl LogInInput {
    /// Why the login is refused, in the words of whoever sent it.
    pub(super) fn told(is_form: bool, problem: Problem) -> Problem {
        if !is_form {
            return problem;
        }
        match problem.code() {
            "wrong-credentials" | "inactive-user" => problem.with_error("invalid_grant"),
            "invalid" => problem.with_error("invalid_request"),
            _ => problem,
        }
    }

    /// Whether it came as a form.
    pub(super) fn is_form(&self) -> bool {
        self.is_form
    }
}
