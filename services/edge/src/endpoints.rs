//! Which of the endpoints that metadata name there are.

use crate::route::Route;

/// Where tokens are got.
pub(crate) const TOKEN: &str = "/oauth/token";
/// Where they are given back.
pub(crate) const REVOKE: &str = "/oauth/revoke";
/// Where the keys are that anybody may check them by.
pub(crate) const KEYS: &str = "/.well-known/jwks.json";

/// Which of the endpoints that metadata name there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Endpoints {
    /// [`TOKEN`]
    pub(crate) token: bool,
    /// [`REVOKE`]
    pub(crate) revoke: bool,
}

impl Endpoints {
    /// Of these routes.
    pub(crate) fn of(routes: &[Route]) -> Self {
        let has = |path: &str| routes.iter().any(|route| route.facts().path == path);
        Self { token: has(TOKEN), revoke: has(REVOKE) }
    }
}
