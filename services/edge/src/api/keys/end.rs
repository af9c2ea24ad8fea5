//! The end of a key: revoked by its owner or by itself, and purged.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderName;
use axum::http::StatusCode;
use axum::http::header::ETAG;
use latchkey_bus::Context;
use latchkey_contract::authority::Changed;
use latchkey_contract::keys::{GetKey, KeyObject, PurgeKey, RevocationReason, RevokeKey};
use latchkey_contract::problem::USERS_ONLY;
use latchkey_contract::{Actor, FieldError, KeyId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::change::note;
use super::json::RevokedBody;
use super::object::OwnKeyBody;
use super::wait::WaitQuery;
use crate::api::json::rfc3339;
use crate::body::{KeyPath, MAX_AUTH_BODY, MaybeBody, NoBody};
use crate::credential::{Itself, Owner, Write};
use crate::problem::Problem;
use crate::state::Edge;

/// What is accepted as a reason.
const REASONS: &str = "must be unspecified, key_compromise, superseded, affiliation_changed, privilege_withdrawn or \
    cessation_of_operation";

/// How to end a key.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct EndQuery {
    /// `false`: answer as soon as the revoke is on disk, with the moment from which it is exact.
    #[param(value_type = Option<bool>, example = true)]
    wait: Option<String>,
    /// Why (RFC 5280 §5.3.1). A second revoke may raise it to `key_compromise`, and change it no further.
    #[param(value_type = Option<String>, pattern = "^(unspecified|key_compromise|superseded|affiliation_changed|privilege_withdrawn|cessation_of_operation)$")]
    reason: Option<String>,
    /// `true`: take away what is said of a key that is revoked already. Nothing else may be said beside it.
    #[param(value_type = Option<bool>, example = false)]
    purge: Option<String>,
}

/// Why a key ends.
#[derive(ToSchema)]
#[schema(as = RevokeKeyBody)]
#[expect(dead_code, reason = "it is the description of what is read")]
pub struct RevokeSchema {
    /// Why (RFC 5280 §5.3.1).
    #[schema(
        value_type = String,
        required = false,
        pattern = "^(unspecified|key_compromise|superseded|affiliation_changed|privilege_withdrawn|cessation_of_operation)$"
    )]
    reason: Option<String>,
    #[schema(max_length = 500)]
    note: Option<String>,
    /// Whether to say which keys would end, and end none.
    #[schema(value_type = bool, required = false)]
    dry_run: Option<bool>,
}

/// Why a key ends itself.
#[derive(ToSchema)]
#[schema(as = RevokeSelfBody)]
#[expect(dead_code, reason = "it is the description of what is read")]
pub struct RevokeSelfSchema {
    /// Why (RFC 5280 §5.3.1).
    #[schema(
        value_type = String,
        required = false,
        pattern = "^(unspecified|key_compromise|superseded|affiliation_changed|cessation_of_operation)$"
    )]
    reason: Option<String>,
    #[schema(max_length = 500)]
    note: Option<String>,
}

/// A key that was revoked, or what would be.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum EndBody {
    /// It was.
    Revoked(RevokedBody),
    /// It would be.
    Impact(ImpactBody),
}

/// Which keys would end.
#[derive(Serialize, ToSchema)]
pub struct ImpactBody {
    count: usize,
    ids: Vec<i64>,
    keys: Vec<ImpactOnBody>,
}

/// One of them.
#[derive(Serialize, ToSchema)]
pub struct ImpactOnBody {
    id: i64,
    /// At most 10 seconds behind; null before the first use.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<String>,
}

impl ImpactBody {
    fn of(key: &KeyObject) -> Self {
        let on = ImpactOnBody { id: key.id.0, last_used_at: key.last_used_at.map(rfc3339) };
        let keys: Vec<_> = Some(on).filter(|_| !key.is_revoked()).into_iter().collect();
        Self { count: keys.len(), ids: keys.iter().map(|key| key.id).collect(), keys }
    }
}

/// What a query asks for.
enum End {
    Revoke { wait: bool, reason: RevocationReason },
    Purge,
}

impl EndQuery {
    fn read(query: Result<Query<Self>, QueryRejection>) -> Result<End, Problem> {
        let wrong = |field, message| Problem::invalid(vec![FieldError::new(field, message)]);
        let rule = "may hold `wait`, `reason` and `purge`, each once, and nothing else";
        let Query(query) = query.map_err(|_other| wrong("query", rule))?;
        let flag = |field, value: Option<&str>, default| match value {
            None => Ok(default),
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(_) => Err(wrong(field, "must be true or false")),
        };
        let wait = flag("wait", query.wait.as_deref(), true)?;
        let is_purge = flag("purge", query.purge.as_deref(), false)?;
        let reason = query.reason.as_deref().map(RevocationReason::named);
        let reason = match reason {
            None => RevocationReason::default(),
            Some(named) => named.ok_or_else(|| wrong("reason", REASONS))?,
        };
        if !is_purge {
            return Ok(End::Revoke { wait, reason });
        }
        if query.wait.is_some() || query.reason.is_some() {
            return Err(wrong("purge", "must be true alone: nothing else may be said beside it"));
        }
        Ok(End::Purge)
    }
}

/// Revoke an API key: it is refused from the answer on
#[utoipa::path(delete, path = "/keys/{key_id}", tag = "keys",
    params(("key_id" = i64, Path, minimum = 1, description = "The key's id"), EndQuery),
    responses(
        (status = 200, description = "The key is revoked, now or already, or purged", body = RevokedBody),
        (status = 202, description = "The revoke is on disk, and exact from the moment it names", body = RevokedBody)))]
pub(crate) async fn delete(
    State(edge): State<Arc<Edge>>,
    Owner { user, context, .. }: Owner<Write>,
    KeyPath(key): KeyPath,
    query: Result<Query<EndQuery>, QueryRejection>,
    _empty: NoBody,
) -> Result<(StatusCode, Json<RevokedBody>), Problem> {
    match EndQuery::read(query)? {
        End::Revoke { wait, reason } => {
            let revoke = RevokeKey { reason, ..RevokeKey::of(user, key, wait) };
            end(&edge, &context, revoke).await
        }
        End::Purge => {
            let acting = context.caller.as_deref().map(|caller| &caller.actor);
            if !matches!(acting, Some(Actor::User { .. })) {
                return Err(Problem::of(&USERS_ONLY));
            }
            edge.limits.change(user, context.caller.as_deref())?;
            // One that was purged before is nobody's, whichever attempt of this command finds it done.
            edge.bus.call(&context, &GetKey { owner: user, key }).await?;
            edge.bus.call(&context, &PurgeKey { owner: user, key }).await?;
            Ok((StatusCode::OK, Json(RevokedBody::purged(key))))
        }
    }
}

/// Revoke an API key and say why, or learn what that would end
#[utoipa::path(post, path = "/keys/{key_id}/revoke", tag = "keys",
    params(("key_id" = i64, Path, minimum = 1, description = "The key's id"), WaitQuery),
    request_body = Option<RevokeSchema>,
    responses(
        (status = 200, description = "The key is revoked, now or already; or what would be", body = EndBody),
        (status = 202, description = "The revoke is on disk, and exact from the moment it names", body = RevokedBody)))]
pub(crate) async fn revoke(
    State(edge): State<Arc<Edge>>,
    Owner { user, context, .. }: Owner<Write>,
    KeyPath(key): KeyPath,
    query: Result<Query<WaitQuery>, QueryRejection>,
    MaybeBody(mut fields): MaybeBody<MAX_AUTH_BODY>,
) -> Result<(StatusCode, Json<EndBody>), Problem> {
    let wait = WaitQuery::read(query)?;
    let reason = fields.one_of("reason", RevocationReason::named, REASONS).unwrap_or_default();
    let (note, is_dry) = (note(&mut fields), fields.flag("dry_run"));
    fields.end()?;
    if is_dry {
        let object = edge.bus.call(&context, &GetKey { owner: user, key }).await?;
        return Ok((StatusCode::OK, Json(EndBody::Impact(ImpactBody::of(&object)))));
    }
    let request = RevokeKey { reason, note, ..RevokeKey::of(user, key, wait) };
    let (status, Json(body)) = end(&edge, &context, request).await?;
    Ok((status, Json(EndBody::Revoked(body))))
}

/// Show the API key that is sent
///
/// What its owner wrote for themselves is left out: its `description`, and the note of a revocation.
#[utoipa::path(get, path = "/keys/self", tag = "keys",
    responses((status = 200, description = "The key; `ETag` names its version", body = OwnKeyBody,
        headers(("ETag" = String, description = "`\"v<version>\"`")))))]
pub(crate) async fn show_self(
    State(edge): State<Arc<Edge>>,
    Itself { key, user, context }: Itself,
) -> Result<([(HeaderName, String); 1], Json<OwnKeyBody>), Problem> {
    let object = edge.bus.call(&context, &GetKey { owner: user, key }).await?;
    let body = OwnKeyBody::new(object, user);
    Ok(([(ETAG, body.etag())], Json(body)))
}

/// Revoke the API key that is sent: it is refused from the answer on
#[utoipa::path(delete, path = "/keys/self", tag = "keys", params(WaitQuery),
    responses(
        (status = 200, description = "The key is revoked", body = RevokedBody),
        (status = 202, description = "The revoke is on disk, and exact from the moment it names", body = RevokedBody)))]
pub(crate) async fn delete_self(
    State(edge): State<Arc<Edge>>,
    Itself { key, user, context }: Itself,
    query: Result<Query<WaitQuery>, QueryRejection>,
    _empty: NoBody,
) -> Result<(StatusCode, Json<RevokedBody>), Problem> {
    let wait = WaitQuery::read(query)?;
    end(&edge, &context, RevokeKey { is_self: true, ..RevokeKey::of(user, key, wait) }).await
}

/// Revoke the API key that is sent and say why
#[utoipa::path(post, path = "/keys/self/revoke", tag = "keys", params(WaitQuery),
    request_body = Option<RevokeSelfSchema>,
    responses(
        (status = 200, description = "The key is revoked", body = RevokedBody),
        (status = 202, description = "The revoke is on disk, and exact from the moment it names", body = RevokedBody)))]
pub(crate) async fn revoke_self(
    State(edge): State<Arc<Edge>>,
    Itself { key, user, context }: Itself,
    query: Result<Query<WaitQuery>, QueryRejection>,
    MaybeBody(mut fields): MaybeBody<MAX_AUTH_BODY>,
) -> Result<(StatusCode, Json<RevokedBody>), Problem> {
    let wait = WaitQuery::read(query)?;
    let reason = fields.one_of("reason", RevocationReason::named, REASONS).unwrap_or_default();
    if reason == RevocationReason::PrivilegeWithdrawn {
        fields.fault("reason", "may not be privilege_withdrawn where a key ends itself");
    }
    let note = note(&mut fields);
    fields.end()?;
    let request = RevokeKey { reason, note, is_self: true, ..RevokeKey::of(user, key, wait) };
    end(&edge, &context, request).await
}

async fn end(
    edge: &Edge,
    context: &Context,
    request: RevokeKey,
) -> Result<(StatusCode, Json<RevokedBody>), Problem> {
    let key: KeyId = request.key;
    edge.limits.change(request.owner, context.caller.as_deref())?;
    let changed = edge.change(context, &request).await?;
    let status = match changed {
        Changed::Confirmed(_) => StatusCode::OK,
        Changed::Committed { .. } => StatusCode::ACCEPTED,
    };
    Ok((status, Json(RevokedBody::new(key, changed))))
}
