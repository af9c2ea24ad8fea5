//! `/keys…`: a user's own API keys.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use latchkey_contract::FieldError;
use latchkey_contract::authority::Changed;
use latchkey_contract::keys::RevokeKey;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::body::{KeyPath, NoBody};
use crate::credential::{Owner, Write};
use crate::problem::Problem;
use crate::state::Edge;

pub mod create;
pub mod list;
pub mod lookup;

mod fields;
mod json;
mod object;
pub(crate) mod revoke_many;
pub(crate) mod rotate;
mod wait;

pub use json::{CreateKeyBody, CreatedKeyBody, NewKeyBody, RevokedBody};
pub use object::KeyBody;

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
