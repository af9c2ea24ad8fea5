//! The shortest way through the edge, for routes that do nothing but verify: without the router, whose
//! plumbing costs more than the check. A request that shows a credential which is remembered as good is
//! answered at once; any other waits for the gate alone.
//!
//! The router has the same routes for HEAD and for the API's description. Both must give the same answers.

use axum::http::{HeaderMap, Method, Uri};
use latchkey_bus::Context;
use latchkey_contract::Principal;
use latchkey_gate::{Gate, Requirement};

use crate::api::protected::Greeting;
use crate::credential::presented;
use crate::problem::Problem;

/// A route with a way of its own: what it requires, and how it answers.
#[derive(Clone, Copy)]
pub(crate) struct FastPath {
    requirement: Requirement,
    greet: fn(&Principal) -> Result<Greeting, Problem>,
}

impl FastPath {
    /// The one for this request, if there is one.
    pub(crate) fn of(method: &Method, uri: &Uri) -> Option<Self> {
        let fast_path = match uri.path() {
            "/protected/service" => {
                Self { requirement: Requirement::SERVICE, greet: Greeting::to_service }
            }
            "/protected/user" => Self { requirement: Requirement::USER, greet: Greeting::to_user },
            "/protected/any" => {
                Self { requirement: Requirement::ANYBODY, greet: Greeting::to_anybody }
            }
            _ => return None,
        };
        (*method == Method::GET).then_some(fast_path)
    }

    /// The answer, if the credential is remembered as good. Here is only what can be decided from memory,
    /// and no refusal.
    pub(crate) fn at_once(self, gate: &Gate, uri: &Uri, headers: &HeaderMap) -> Option<Greeting> {
        let presented = presented(uri, headers).ok()?;
        (self.greet)(&*presented.remembered(self.requirement, gate)?).ok()
    }

    /// The answer, by the context's deadline.
    ///
    /// # Errors
    /// [`Problem`] as the router would have it.
    pub(crate) async fn ask(
        self,
        gate: &Gate,
        context: &Context,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Greeting, Problem> {
        let presented = presented(uri, headers)?;
        (self.greet)(&*presented.meet(self.requirement, gate, context).await?)
    }
}
