//! What a handler's commands say of who acts, and from where: the envelope's caller, of the request's credential, its
//! client's address and what the client says of itself.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::header::USER_AGENT;
use axum::http::request::Parts;
use latchkey_bus::{Context, RequestId};
use latchkey_contract::caller::UserAgent;
use latchkey_contract::{Actor, Caller, Principal};

use crate::address::KnownAddress;
use crate::name::NAME;
use crate::problem::Problem;

/// Whoever needs no credential: what they ask is asked for nobody known.
pub struct Anonymous(pub Context);

impl<S: Send + Sync> FromRequestParts<S> for Anonymous {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        named(parts, Actor::Anonymous).map(Self)
    }
}

/// The request's context, in which nobody acts.
pub(crate) fn context(parts: &Parts) -> Result<&Context, Problem> {
    parts.extensions.get().ok_or_else(Problem::internal)
}

/// The address of the request's client, where it is known.
pub(crate) fn client(parts: &Parts) -> Result<Option<IpAddr>, Problem> {
    let KnownAddress(address) = parts.extensions.get().copied().ok_or_else(Problem::internal)?;
    Ok(address)
}

/// The context for what is done by whoever was verified.
pub(crate) fn by(parts: &Parts, principal: &Principal) -> Result<Context, Problem> {
    named(parts, Actor::of(principal))
}

/// What the edge does of its own accord because of a request.
pub(crate) fn itself(request_id: RequestId) -> Caller {
    Caller::of(Actor::System { service: NAME.into() }, request_id)
}

fn named(parts: &Parts, actor: Actor) -> Result<Context, Problem> {
    let (context, address) = (context(parts)?, client(parts)?);
    let user_agent = parts.headers.get(USER_AGENT);
    let user_agent = user_agent.and_then(|value| UserAgent::clean(value.as_bytes()));
    let request_id = context.request_id.clone();
    Ok(context.acting(Caller { address, user_agent, ..Caller::of(actor, request_id) }))
}
