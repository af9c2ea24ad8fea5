//! `/auth/…`: accounts and logins.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use latchkey_bus::Context;
use latchkey_contract::identity::{LogIn, LogOut, LogOutAll, SignUp};

use crate::Edge;
use crate::address::ClientAddress;
use crate::body::{JsonBody, MAX_AUTH_BODY};
use crate::credential::User;
use crate::problem::Problem;
use crate::shape::{
    AccountBody, ChangePasswordBody, EndedBody, LogInBody, ReceiptBody, SignUpBody, TokenBody,
};

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
    responses((status = 200, description = "The session has ended", body = EndedBody)))]
pub(crate) async fn log_out(
    State(edge): State<Arc<Edge>>,
    Extension(context): Extension<Context>,
    User(user): User,
) -> Result<Json<EndedBody>, Problem> {
    let receipt = edge.bus.call(&context, &LogOut { session: user.session }).await?;
    let receipt = receipt.map(ReceiptBody::from);
    Ok(Json(EndedBody { message: "Logged out successfully", receipt }))
}

/// Log out everywhere: every token of the user is refused from the answer on
#[utoipa::path(post, path = "/auth/logout-all", tag = "auth", security(("token" = [])),
    responses((status = 200, description = "Every session has ended", body = EndedBody)))]
pub(crate) async fn log_out_all(
    State(edge): State<Arc<Edge>>,
    Extension(context): Extension<Context>,
    User(user): User,
) -> Result<Json<EndedBody>, Problem> {
    let receipt = edge.bus.call(&context, &LogOutAll { user: user.user }).await?;
    let receipt = Some(receipt.into());
    Ok(Json(EndedBody { message: "Logged out everywhere successfully", receipt }))
}

/// Change the password: every other session's token is refused from the answer on
#[utoipa::path(post, path = "/auth/password", tag = "auth", security(("token" = [])),
    request_body = ChangePasswordBody,
    responses((status = 200, description = "The password is changed", body = EndedBody)))]
pub(crate) async fn change_password(
    State(edge): State<Arc<Edge>>,
    Extension(context): Extension<Context>,
    Extension(client): Extension<ClientAddress>,
    User(user): User,
    JsonBody(body): JsonBody<ChangePasswordBody, MAX_AUTH_BODY>,
) -> Result<Json<EndedBody>, Problem> {
    edge.limits.login(client)?;
    let receipt = edge.bus.call(&context, &body.of(&user)).await?;
    let receipt = Some(receipt.into());
    Ok(Json(EndedBody { message: "Password changed successfully", receipt }))
}
