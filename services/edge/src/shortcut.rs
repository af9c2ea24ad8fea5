//! The shortest way through the edge. A request that shows a credential which is remembered as good is
//! answered at once: without the router, whose plumbing costs more than the check.
//!
//! Whatever is unusual about a request takes the usual way, which gives the same answer: here is only
//! what can be decided from memory, and no refusal.

use axum::http::{HeaderMap, Method, Uri};

use crate::Edge;
use crate::credential::presented;
use crate::shape::{AnyBody, Greeting, ServiceBody, UserBody};

/// The answer to this request, if its credential is remembered.
pub(crate) fn answer(
    edge: &Edge,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Option<Greeting> {
    let body: fn(&Edge, &Uri, &HeaderMap) -> Option<Greeting> = match uri.path() {
        "/protected/service" => service,
        "/protected/user" => user,
        "/protected/any" => any,
        _ => return None,
    };
    if *method == Method::GET { body(edge, uri, headers) } else { None }
}

fn service(edge: &Edge, uri: &Uri, headers: &HeaderMap) -> Option<Greeting> {
    let key = presented(uri, headers).ok()?.key?;
    Greeting::of(&ServiceBody::from(&*edge.gate.remembered_key(key)?)).ok()
}

fn user(edge: &Edge, uri: &Uri, headers: &HeaderMap) -> Option<Greeting> {
    let token = presented(uri, headers).ok()?.token?;
    Greeting::of(&UserBody::from(&*edge.gate.remembered_token(token)?)).ok()
}

/// A token that is not remembered may be good, and would win over the key.
fn any(edge: &Edge, uri: &Uri, headers: &HeaderMap) -> Option<Greeting> {
    let presented = presented(uri, headers).ok()?;
    if let Some(token) = presented.token {
        return Greeting::of(&AnyBody::from(&*edge.gate.remembered_token(token)?)).ok();
    }
    Greeting::of(&AnyBody::from(&*edge.gate.remembered_key(presented.key?)?)).ok()
}
