//! The shortest way through the edge, for routes that do nothing but verify: without the router, whose
//! plumbing costs more than the check. A request that shows a credential which is remembered as good is
//! answered at once; any other waits for the gate alone.
//!
//! The router has the same routes for HEAD and for the API's description. Both must give the same answers.

use axum::http::{HeaderMap, Method, Uri};
use latchkey_bus::Context;
use latchkey_gate::Gate;

use crate::credential::{Presented, presented};
use crate::problem::Problem;
use crate::shape::Greeting;

/// A route with a way of its own.
#[derive(Clone, Copy)]
pub(crate) enum Shortcut {
    User,
    Service,
    Any,
}

impl Shortcut {
    /// The one for this request, if there is one.
    pub(crate) fn of(method: &Method, uri: &Uri) -> Option<Self> {
        let shortcut = match uri.path() {
            "/protected/service" => Self::Service,
            "/protected/user" => Self::User,
            "/protected/any" => Self::Any,
            _ => return None,
        };
        (*method == Method::GET).then_some(shortcut)
    }

    /// The answer, if the credential is remembered as good. Here is only what can be decided from memory,
    /// and no refusal.
    pub(crate) fn at_once(self, gate: &Gate, uri: &Uri, headers: &HeaderMap) -> Option<Greeting> {
        let Presented { token, key } = presented(uri, headers).ok()?;
        let greeting = match (self, token) {
            (Self::User, token) => Greeting::to_user(&*gate.remembered_token(token?)?),
            (Self::Service, _) => Greeting::to_service(&*gate.remembered_key(key?)?),
            // A token that is not remembered may be good, and would win over the key.
            (Self::Any, Some(token)) => Greeting::to_any_user(&*gate.remembered_token(token)?),
            (Self::Any, None) => Greeting::to_any_service(&*gate.remembered_key(key?)?),
        };
        greeting.ok()
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
        match self {
            Self::User => Greeting::to_user(&*presented.user(gate, context).await?),
            Self::Service => Greeting::to_service(&*presented.service(gate, context).await?),
            Self::Any => Greeting::to_caller(&presented.caller(gate, context).await?),
        }
    }
}
