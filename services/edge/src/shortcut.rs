//! The shortest way through the edge. A request that shows a credential which is remembered as good is
//! answered at once: without the router, whose plumbing costs more than the check.
//!
//! Whatever is unusual about a request takes the usual way, which gives the same answer: here is only
//! what can be decided from memory, and no refusal.

use axum::http::{HeaderMap, Method, Uri};
use latchkey_gate::Gate;

use crate::credential::{Presented, presented};
use crate::shape::{AnyBody, Greeting, ServiceBody, UserBody};

/// The answer to this request, if its credential is remembered.
pub(crate) fn answer(
    gate: &Gate,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Option<Greeting> {
    let greet: fn(&Gate, Presented<'_>) -> Option<Greeting> = match uri.path() {
        "/protected/service" => service,
        "/protected/user" => user,
        "/protected/any" => any,
        _ => return None,
    };
    if *method == Method::GET { greet(gate, presented(uri, headers).ok()?) } else { None }
}

fn service(gate: &Gate, presented: Presented<'_>) -> Option<Greeting> {
    Greeting::of(&ServiceBody::from(&*gate.remembered_key(presented.key?)?)).ok()
}

fn user(gate: &Gate, presented: Presented<'_>) -> Option<Greeting> {
    Greeting::of(&UserBody::from(&*gate.remembered_token(presented.token?)?)).ok()
}

/// A token that is not remembered may be good, and would win over the key.
fn any(gate: &Gate, presented: Presented<'_>) -> Option<Greeting> {
    match presented.token {
        Some(token) => Greeting::of(&AnyBody::from(&*gate.remembered_token(token)?)).ok(),
        None => Greeting::of(&AnyBody::from(&*gate.remembered_key(presented.key?)?)).ok(),
    }
}
