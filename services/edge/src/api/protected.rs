//! `/protected/…`: what a service behind Latchkey would do with a verified caller.
//!
//! A GET of these does not come here: `crate::fast_path` answers it, and what changes here changes there.

use crate::credential::{Anybody, Service, User};
use crate::problem::Problem;

mod greeting;

pub(crate) use greeting::Greeting;
pub use greeting::{AnyBody, Details, ServiceBody, UserBody};

/// Greet a user
#[utoipa::path(get, path = "/protected/user", tag = "protected",
    responses((status = 200, description = "The user", body = UserBody)))]
pub(crate) async fn user(User(user): User) -> Result<Greeting, Problem> {
    Greeting::of_user(&user)
}

/// Greet a service
#[utoipa::path(get, path = "/protected/service", tag = "protected",
    responses((status = 200, description = "The service", body = ServiceBody)))]
pub(crate) async fn service(Service(service): Service) -> Result<Greeting, Problem> {
    Greeting::to_service(&service)
}

/// Greet whoever it is; a valid token wins over a key
#[utoipa::path(get, path = "/protected/any", tag = "protected",
    responses((status = 200, description = "The user or service", body = AnyBody)))]
pub(crate) async fn any(Anybody(caller): Anybody) -> Result<Greeting, Problem> {
    Greeting::to_anybody(&caller)
}
