//! `/auth/…`: accounts and logins.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use latchkey_bus::Context;
use latchkey_contract::identity::{LogIn, LogOut, SignUp};

use crate::Edge;
use crate::address::ClientAddress;
use crate::body::{JsonBody, MAX_AUTH_BODY};
use crate::credential::User;
use crate::problem::Problem;
use crate::shape::{AccountBody, LogInBody, MessageBody, SignUpBody, TokenBody};

/// Open an account
#[utoipa::path(post, path = "/auth/signup", tag = "auth", request_body = SignUpBody,
    responses((status = 201, description = "The account", body = AccountBody)))]
pub(crate) async fn sign_up(
    State(edge): State<Arc<Edge>>,
    Extension(context): Extension<Context>,
    Extension(client): Extension<ClientAddress>,
    JsonBody(body): JsonBody<SignUpBody, MAX_AUTH_BODY>,
) -> Result<(StatusCode, Json<AccountBody>), Problem> {
    edge.limits.signup(client)?;
    let account = edge.bus.call(&context, &SignUp::from(body)).await?;
    Ok((StatusCode::CREATED, Json(account.into())))
}

/// Log in
#[utoipa::path(post, path = "/auth/login", tag = "auth", request_body = LogInBody,
    responses((status = 200, description = "An access token", body = TokenBody)))]
pub(crate) async fn log_in(
    State(edge): State<Arc<Edge>>,
    Extension(context): Extension<Context>,
    Extension(client): Extension<ClientAddress>,
    JsonBody(body): JsonBody<LogInBody, MAX_AUTH_BODY>,
) -> Result<Json<TokenBody>, Problem> {
    edge.limits.login(client)?;
    let login = edge.bus.call(&context, &LogIn::from(body)).await?;
    Ok(Json(login.into()))
}

/// Log out: the token is refused from the answer on
#[utoipa::path(post, path = "/auth/logout", tag = "auth", security(("token" = [])),
    responses((status = 200, description = "The session has ended", body = MessageBody)))]
pub(crate) async fn log_out(
    State(edge): State<Arc<Edge>>,
    Extension(context): Extension<Context>,
    User(user): User,
) -> Result<Json<MessageBody>, Problem> {
    edge.bus.call(&context, &LogOut { session: user.session }).await?;
    Ok(Json(MessageBody { message: "Logged out successfully" }))
}
