//! `/keys…`: a user's own API keys.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::LINK;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use latchkey_bus::{Bus, Context};
use latchkey_contract::authority::Changed;
use latchkey_contract::keys::{KeyPage, ListKeys, RevokeKey};
use latchkey_contract::wire::MAX_BATCH;
use latchkey_contract::{CallError, FieldError, KeyId, UserId};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::body::{JsonBody, KeyPath, NoBody, positive};
use crate::credential::{Acting, Owner, Read, Write};
use crate::problem::Problem;
use crate::state::Edge;

mod json;
mod object;
pub(crate) mod revoke_many;
pub(crate) mod rotate;
mod wait;

pub use json::{CreateKeyBody, CreatedKeyBody, RevokedBody};
pub use object::KeyBody;

/// Keys of a page where the client does not say.
const DEFAULT_LIMIT: usize = 100;
/// Keys of a page at most.
const MAX_LIMIT: usize = 1_000;

/// Make an API key; the answer is the only one that shows it
#[utoipa::path(post, path = "/keys/create", tag = "keys",
    request_body = CreateKeyBody,
    responses((status = 201, description = "The key", body = CreatedKeyBody)))]
pub(crate) async fn create(
    State(edge): State<Arc<Edge>>,
    acting: Acting<Write>,
    JsonBody(body): JsonBody<CreateKeyBody>,
) -> Result<(StatusCode, Json<CreatedKeyBody>), Problem> {
    let owner = acting.user;
    edge.limits.key(owner)?;
    let mut making =
        edge.unshown.making(&acting.context, body.of(owner, acting.narrowed.clone(), edge.seed()));
    let issued = making.make().await?;
    // The session may have ended while the key was made, in another service's database.
    if let Err(problem) = acting.is_still_good(&edge.gate).await {
        making.revoke().await;
        return Err(problem);
    }
    making.shown();
    Ok((StatusCode::CREATED, Json(CreatedKeyBody::new(issued, owner))))
}

/// Which keys to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// How many keys at most.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 1000, example = 100)]
    limit: Option<String>,
    /// Only keys with a greater id.
    #[param(value_type = Option<i64>, minimum = 0)]
    after: Option<String>,
}

/// List your API keys, newest last
#[utoipa::path(get, path = "/keys", tag = "keys", params(ListQuery),
    responses((status = 200, description = "A page of keys; `Link` names the next one",
        body = Vec<KeyBody>, headers(("Link" = String, description = "`<…>; rel=\"next\"` while there are more")))))]
pub(crate) async fn list(
    State(edge): State<Arc<Edge>>,
    Owner { user, context, .. }: Owner<Read>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<(HeaderMap, Json<Vec<KeyBody>>), Problem> {
    let (limit, after) = read_query(query)?;
    let page = pages(&edge.bus, &context, user, after, limit).await?;
    let mut headers = HeaderMap::new();
    if let Some(KeyId(next)) = page.next {
        // Relative to the request (RFC 8288 §3.1): a proxy may have stripped a prefix of its path.
        let link = format!("<?limit={limit}&after={next}>; rel=\"next\"");
        headers.extend(HeaderValue::try_from(link).ok().map(|link| (LINK, link)));
    }
    Ok((headers, Json(page.keys.into_iter().map(|key| KeyBody::new(key, user)).collect())))
}

/// How to revoke a key.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct RevokeQuery {
    /// `false`: answer as soon as the revoke is on disk, with the moment from which it is exact.
    #[param(value_type = Option<bool>, example = true)]
    wait: Option<String>,
}

/// Revoke an API key: it is refused from the answer on
#[utoipa::path(delete, path = "/keys/{key_id}", tag = "keys",
    params(("key_id" = i64, Path, minimum = 1, description = "The key's id"), RevokeQuery),
    responses(
        (status = 200, description = "The key is revoked, now or already", body = RevokedBody),
        (status = 202, description = "The revoke is on disk, and exact from the moment it names", body = RevokedBody)))]
pub(crate) async fn revoke(
    State(edge): State<Arc<Edge>>,
    Owner { user, context, .. }: Owner<Write>,
    KeyPath(key): KeyPath,
    query: Result<Query<RevokeQuery>, QueryRejection>,
    _empty: NoBody,
) -> Result<(StatusCode, Json<RevokedBody>), Problem> {
    let wait = read_wait(query)?;
    let revoke = RevokeKey::of(user, key, wait);
    let changed = edge.change(&context, &revoke).await?;
    let status = match changed {
        Changed::Confirmed(_) => StatusCode::OK,
        Changed::Committed { .. } => StatusCode::ACCEPTED,
    };
    Ok((status, Json(RevokedBody::new(key, changed))))
}

fn read_wait(query: Result<Query<RevokeQuery>, QueryRejection>) -> Result<bool, Problem> {
    let wrong = |field, message| Problem::invalid(vec![FieldError::new(field, message)]);
    let Query(query) =
        query.map_err(|_other| wrong("query", "may hold `wait` once, and nothing else"))?;
    match query.wait.as_deref() {
        None | Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(_) => Err(wrong("wait", "must be true or false")),
    }
}

/// Asks for as many messages' worth of keys as the page takes.
async fn pages(
    bus: &Bus,
    context: &Context,
    owner: UserId,
    mut after: KeyId,
    limit: usize,
) -> Result<KeyPage, CallError> {
    let mut keys = Vec::new();
    loop {
        let left = (limit - keys.len()).min(MAX_BATCH);
        let limit_now = u32::try_from(left).unwrap_or(1);
        let ask = ListKeys::of(owner, after, limit_now);
        let page = bus.call(context, &ask).await?;
        keys.extend(page.keys);
        match page.next {
            Some(next) if keys.len() < limit => after = next,
            next => return Ok(KeyPage { keys, next }),
        }
    }
}

fn read_query(query: Result<Query<ListQuery>, QueryRejection>) -> Result<(usize, KeyId), Problem> {
    let wrong = |field, message: &str| Problem::invalid(vec![FieldError::new(field, message)]);
    let Query(query) =
        query.map_err(|_twice| wrong("query", "may hold `limit` and `after`, each once"))?;
    let limit = match query.limit.as_deref().map(positive) {
        None => Some(DEFAULT_LIMIT),
        Some(number) => number.and_then(|number| usize::try_from(number).ok()),
    };
    let limit = limit.filter(|limit| *limit <= MAX_LIMIT);
    let limit = limit.ok_or_else(|| wrong("limit", "must be a whole number from 1 to 1000"))?;
    let after = match query.after.as_deref() {
        None | Some("0") => Some(0),
        Some(text) => positive(text),
    };
    let after = after.ok_or_else(|| wrong("after", "must be a key's id"))?;
    Ok((limit, KeyId(after)))
}
