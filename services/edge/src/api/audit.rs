//! `/audit`: what a user did, and what was done to them and their keys: one list of both services' logs.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::LINK;
use axum::http::{HeaderMap, HeaderValue};
use latchkey_bus::{Bus, Context};
use latchkey_contract::audit::{EventPage, ListEvents, Logs};
use latchkey_contract::identity::IdentityAuthority;
use latchkey_contract::keys::KeysAuthority;
use latchkey_contract::wire::MAX_BATCH;
use latchkey_contract::{CallError, UserId};

use crate::credential::Oneself;
use crate::problem::Problem;
use crate::state::Edge;

mod cursor;
mod json;
mod merge;
mod query;

pub use json::EventBody;
use merge::{Logged, Merged, Stream};
use query::{Asked, AuditQuery};

/// Messages to each service for one page at most: where a filter takes few of many events, the page ends early.
const MAX_CALLS: usize = 24;

/// What happened to your account, your sessions and your keys, newest first
///
/// A page may hold fewer events than asked for, also none, while `Link` names a next one.
#[utoipa::path(get, path = "/audit", tag = "audit", params(AuditQuery),
    responses((status = 200, description = "A page of events; `Link` names the next one",
        body = Vec<EventBody>, headers(("Link" = String, description = "`<…>; rel=\"next\"` while there may be more")))))]
pub(crate) async fn list(
    State(edge): State<Arc<Edge>>,
    Oneself { user, context }: Oneself,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<(HeaderMap, Json<Vec<EventBody>>), Problem> {
    if user.is_narrowed {
        // No scope that a login can name is for the whole of one's log.
        return Err(Problem::insufficient_scope(Vec::new()));
    }
    let asked = query::read(query)?;
    let page = page(&edge.bus, &context, user.id, &asked).await?;
    let mut headers = HeaderMap::new();
    if let Some(next) = page.next {
        // Relative to the request (RFC 8288 §3.1): a proxy may have stripped a prefix of its path.
        let link = format!("<{}>; rel=\"next\"", asked.link(next));
        headers.extend(HeaderValue::try_from(link).ok().map(|link| (LINK, link)));
    }
    Ok((headers, Json(page.events.into_iter().map(EventBody::new).collect())))
}

/// Both services' events, merged: both have to answer.
async fn page(
    bus: &Bus,
    context: &Context,
    user: UserId,
    asked: &Asked,
) -> Result<Merged, CallError> {
    let from = asked.from;
    let mut identity = Stream::new(Logged::Identity, from.map(|from| from.identity), asked.order);
    let mut keys = Stream::new(Logged::Keys, from.map(|from| from.keys), asked.order);
    let mut merged = Vec::new();
    for _ in 0..MAX_CALLS {
        let wanted = asked.limit.saturating_sub(merged.len()).min(MAX_BATCH);
        let (one, other) = tokio::join!(
            more::<IdentityAuthority>(bus, context, user, asked, &identity, wanted),
            more::<KeysAuthority>(bus, context, user, asked, &keys, wanted),
        );
        for (stream, page) in [(&mut identity, one?), (&mut keys, other?)] {
            if let Some(page) = page {
                stream.take(page);
            }
        }
        merge::merge(&mut merged, asked.limit, &mut identity, &mut keys);
        let is_dry = identity.is_dry() || keys.is_dry();
        if merged.len() >= asked.limit || !is_dry {
            break;
        }
    }
    Ok(Merged::new(merged, &identity, &keys))
}

/// Further events of a service, where those that came have been used up.
async fn more<A: Logs>(
    bus: &Bus,
    context: &Context,
    user: UserId,
    asked: &Asked,
    stream: &Stream,
    wanted: usize,
) -> Result<Option<EventPage>, CallError> {
    if !stream.is_dry() {
        return Ok(None);
    }
    let limit = u32::try_from(wanted).unwrap_or(1);
    let mut ask = ListEvents::<A>::of(user, limit);
    ask.filter = asked.filter.clone();
    ask.after = stream.ahead();
    ask.oldest_first = asked.order.is_oldest_first();
    bus.call(context, &ask).await.map(Some)
}
