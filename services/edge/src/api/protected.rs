//! `/protected/…`: what a service behind Latchkey would do with a verified caller. These only verify, so each is a value.

use axum::response::{IntoResponse, Response};
use latchkey_contract::Principal;
use latchkey_gate::Requirement;

use crate::fast_path::VerifyRoute;
use crate::problem::Problem;

mod greeting;

use greeting::Greeting;
pub use greeting::{AnyBody, Details, ServiceBody, UserBody};

/// For users, by token. A key is no credential here.
pub(crate) const USER: VerifyRoute = VerifyRoute::get(Requirement::USER, user);
/// For services, by key. A token is no credential here.
pub(crate) const SERVICE: VerifyRoute = VerifyRoute::get(Requirement::SERVICE, service);
/// For either.
pub(crate) const ANYBODY: VerifyRoute = VerifyRoute::get(Requirement::ANYBODY, any);

/// Greet a user
#[utoipa::path(get, path = "/protected/user", tag = "protected",
    responses((status = 200, description = "The user", body = UserBody)))]
pub(crate) fn user(principal: &Principal) -> Result<Response, Problem> {
    Greeting::to_user(principal).map(IntoResponse::into_response)
}

/// Greet a service
#[utoipa::path(get, path = "/protected/service", tag = "protected",
    responses((status = 200, description = "The service", body = ServiceBody)))]
pub(crate) fn service(principal: &Principal) -> Result<Response, Problem> {
    Greeting::to_service(principal).map(IntoResponse::into_response)
}

/// Greet whoever it is; a valid token wins over a key
#[utoipa::path(get, path = "/protected/any", tag = "protected",
    responses((status = 200, description = "The user or service", body = AnyBody)))]
pub(crate) fn any(principal: &Principal) -> Result<Response, Problem> {
    Greeting::to_anybody(principal).map(IntoResponse::into_response)
}
