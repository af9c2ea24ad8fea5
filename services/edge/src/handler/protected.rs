//! `/protected/…`: what a service behind Latchkey would do with a verified caller.

use axum::Json;

use crate::credential::{Caller, Service, User};
use crate::shape::{AnyBody, ServiceBody, UserBody};

/// Greet a user
#[utoipa::path(get, path = "/protected/user", tag = "protected", security(("token" = [])),
    responses((status = 200, description = "The user", body = UserBody)))]
pub(crate) async fn user(User(user): User) -> Json<UserBody> {
    Json((&*user).into())
}

/// Greet a service
#[utoipa::path(get, path = "/protected/service", tag = "protected", security(("key" = [])),
    responses((status = 200, description = "The service", body = ServiceBody)))]
pub(crate) async fn service(Service(service): Service) -> Json<ServiceBody> {
    Json((&*service).into())
}

/// Greet whoever it is; a valid token wins over a key
#[utoipa::path(get, path = "/protected/any", tag = "protected",
    security(("token" = []), ("key" = [])),
    responses((status = 200, description = "The user or service", body = AnyBody)))]
pub(crate) async fn any(caller: Caller) -> Json<AnyBody> {
    Json(match caller {
        Caller::User(user) => (&*user).into(),
        Caller::Service(service) => (&*service).into(),
    })
}
