//! `/auth/…`: accounts and logins.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, RawQuery, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use latchkey_contract::identity::{LogOut, LogOutAll, ReadUser, SignUp};
use latchkey_contract::problem::CREDENTIAL_IN_URL;
use latchkey_contract::{CallError, Refusal};

use crate::acting::Anonymous;
use crate::address::ClientAddress;
use crate::api::json::ReceiptBody;
use crate::body::{JsonBody, MAX_AUTH_BODY};
use crate::credential::Oneself;
use crate::fields::Fields;
use crate::problem::Problem;
use crate::secret_in_query;
use crate::state::Edge;
use sessions::KeepQuery;

mod json;
mod login;
mod refresh;
pub(crate) mod sessions;
mod slip;

pub use json::{
    AccountBody, ChangePasswordBody, EndedBody, LogInBody, RefreshBody, SignUpBody, TokenBody,
};
pub use login::LogInForm;
use login::LogInInput;
pub(super) use refresh::next_tokens;

/// Times that a change of password is decided anew where something newer came, at most.
const MAX_DECISIONS: usize = 4;

/// Open an account
#[utoipa::path(post, path = "/auth/signup", tag = "auth", request_body = SignUpBody,
    responses((status = 201, description = "The account", body = AccountBody)))]
pub(crate) async fn sign_up(
    State(edge): State<Arc<Edge>>,
    Anonymous(context): Anonymous,
    Extension(client): Extension<ClientAddress>,
    JsonBody(body): JsonBody<SignUpBody, MAX_AUTH_BODY>,
) -> Result<(StatusCode, Json<AccountBody>), Problem> {
    edge.limits.signup(client)?;
    let account = edge.bus.call(&context, &SignUp::from(body)).await?;
    Ok((StatusCode::CREATED, Json(account.into())))
}

/// Log in
#[utoipa::path(post, path = "/auth/login", tag = "auth",
    request_body(content((LogInBody = "application/json"), (LogInForm = "application/x-www-form-urlencoded"))),
    responses((status = 200, description = "An access token", body = TokenBody)))]
pub(crate) async fn log_in(
    State(edge): State<Arc<Edge>>,
    Anonymous(context): Anonymous,
    Extension(client): Extension<ClientAddress>,
    input: LogInInput,
) -> Result<Json<TokenBody>, Problem> {
    edge.limits.login(client)?;
    let (is_form, request) = (input.is_form(), input.body.of(edge.mark()));
    let login = edge.bus.call(&context, &request).await.map_err(|error| {
        let problem = match error {
            CallError::Refused(Refusal::WrongCredentials) => {
                Problem::wrong_credentials(slip::of(&request))
            }
            other => other.into(),
        };
        LogInInput::told(is_form, problem)
    })?;
    Ok(Json(login.into()))
}

/// Go on with a session: the next access token and the next refresh token
#[utoipa::path(post, path = "/auth/refresh", tag = "auth", request_body = RefreshBody,
    responses((status = 200, description = "The next tokens", body = TokenBody)))]
pub(crate) async fn refresh(
    State(edge): State<Arc<Edge>>,
    Anonymous(context): Anonymous,
    Extension(client): Extension<ClientAddress>,
    RawQuery(query): RawQuery,
    JsonBody(mut fields): JsonBody<Fields, MAX_AUTH_BODY>,
) -> Result<Json<TokenBody>, Problem> {
    if query.as_deref().is_some_and(secret_in_query::is_held_by) {
        return Err(Problem::of(&CREDENTIAL_IN_URL));
    }
    let is_there = fields.has("refresh_token");
    let token = fields.text("refresh_token");
    if !is_there {
        fields.fault("refresh_token", "is required and must be a text");
    }
    fields.end()?;
    edge.limits.refresh(client)?;
    Ok(Json(next_tokens(&edge, &context, token.unwrap_or_default(), None).await?.into()))
}

/// Log out: every token of the session is refused from the answer on
#[utoipa::path(post, path = "/auth/logout", tag = "auth",
    responses((status = 200, description = "The session has ended", body = EndedBody)))]
pub(crate) async fn log_out(
    State(edge): State<Arc<Edge>>,
    Oneself { user, context }: Oneself,
) -> Result<Json<EndedBody>, Problem> {
    let receipt = edge.change(&context, &LogOut { session: user.session }).await?;
    let receipt = receipt.map(ReceiptBody::from);
    Ok(Json(EndedBody { message: "Logged out successfully", receipt }))
}

/// Log out everywhere: every token of the user is refused from the answer on
#[utoipa::path(post, path = "/auth/logout-all", tag = "auth", params(KeepQuery),
    responses((status = 200, description = "Every session has ended, or every other", body = EndedBody)))]
pub(crate) async fn log_out_all(
    State(edge): State<Arc<Edge>>,
    Oneself { user, context }: Oneself,
    query: Result<Query<KeepQuery>, QueryRejection>,
) -> Result<Json<EndedBody>, Problem> {
    let keep_current = KeepQuery::read(query)?;
    let user = user.id;
    // What there is now, after the client has asked: whatever is opened from here on stays.
    let through = edge.bus.call(&context, &ReadUser { user }).await?.last_session;
    let receipt = edge.change(&context, &LogOutAll { user, through, keep_current }).await?;
    let receipt = Some(receipt.into());
    Ok(Json(EndedBody { message: "Logged out everywhere successfully", receipt }))
}

/// Change the password: every other session's token is refused from the answer on
#[utoipa::path(post, path = "/auth/password", tag = "auth",
    request_body = ChangePasswordBody,
    responses((status = 200, description = "The password is changed", body = EndedBody)))]
pub(crate) async fn change_password(
    State(edge): State<Arc<Edge>>,
    Oneself { user, context }: Oneself,
    JsonBody(body): JsonBody<ChangePasswordBody, MAX_AUTH_BODY>,
) -> Result<Json<EndedBody>, Problem> {
    edge.limits.password(user.id)?;
    let mut change = body.of(edge.mark());
    for _ in 0..MAX_DECISIONS {
        change.version = edge.bus.call(&context, &ReadUser { user: user.id }).await?.version;
        match edge.change(&context, &change).await {
            Err(CallError::Refused(Refusal::Stale)) => {}
            receipt => {
                let receipt = Some(receipt?.into());
                return Ok(Json(EndedBody { message: "Password changed successfully", receipt }));
            }
        }
    }
    Err(Problem::unavailable("the account was changed by others again and again"))
}
