//! One key: shown, changed, disabled, enabled.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::ETAG;
use axum::http::{HeaderName, StatusCode};
use latchkey_bus::Context;
use latchkey_contract::authority::Changed;
use latchkey_contract::keys::{
    GetKey, KeyChanged, KeyObject, KeyPatch, KeyTarget, SetKeyEnabled, UpdateKey, rules,
};
use latchkey_contract::problem::PRECONDITION_FAILED;
use latchkey_contract::scope::Scopes;
use latchkey_contract::{CallError, KeyId, Mark, Refusal, Rpc, UserId};
use serde::Serialize;
use utoipa::ToSchema;

use super::object::KeyBody;
use super::patch::{KeyPatchSchema, PatchBody};
use super::wait::{ChangedBody, WaitQuery};
use crate::body::{KeyPath, MAX_AUTH_BODY, MaybeBody, MergePatch};
use crate::credential::{Owner, Read, Write};
use crate::fields::Fields;
use crate::if_match::IfMatch;
use crate::problem::Problem;
use crate::state::Edge;

/// How often a change is decided anew at most, where others change the key meanwhile: the last one wins.
const MAX_DECISIONS: usize = 16;

/// A key after a change.
#[derive(Serialize, ToSchema)]
pub struct ChangedKeyBody {
    #[serde(flatten)]
    key: KeyBody,
    #[serde(flatten)]
    changed: ChangedBody,
}

/// Why a key is disabled.
#[derive(ToSchema)]
#[schema(as = DisableKeyBody)]
#[expect(dead_code, reason = "it is the description of what is read")]
pub struct DisableSchema {
    /// For the audit log.
    #[schema(max_length = 500)]
    note: Option<String>,
}

/// Why a key is enabled.
#[derive(ToSchema)]
#[schema(as = EnableKeyBody)]
#[expect(dead_code, reason = "it is the description of what is read")]
pub struct EnableSchema {
    /// For the audit log.
    #[schema(max_length = 500)]
    note: Option<String>,
    /// Whether it is meant although the key, or another of its lineage, is marked as leaked.
    #[schema(value_type = bool, required = false)]
    confirm: Option<bool>,
}

/// An answer with the version that it shows.
type Versioned<T> = (StatusCode, [(HeaderName, String); 1], Json<T>);

/// Show an API key
#[utoipa::path(get, path = "/keys/{key_id}", tag = "keys",
    params(("key_id" = i64, Path, minimum = 1, description = "The key's id")),
    responses((status = 200, description = "The key; `ETag` names its version", body = KeyBody,
        headers(("ETag" = String, description = "`\"v<version>\"`")))))]
pub(crate) async fn show(
    State(edge): State<Arc<Edge>>,
    Owner { user, context, .. }: Owner<Read>,
    KeyPath(key): KeyPath,
) -> Result<Versioned<KeyBody>, Problem> {
    let object = edge.bus.call(&context, &GetKey { owner: user, key }).await?;
    let body = KeyBody::new(object, user);
    Ok((StatusCode::OK, [(ETAG, body.etag())], Json(body)))
}

/// Change an API key (JSON Merge Patch): every edge acts on what it is from the answer on
#[utoipa::path(patch, path = "/keys/{key_id}", tag = "keys",
    params(("key_id" = i64, Path, minimum = 1, description = "The key's id"), WaitQuery),
    request_body(content((KeyPatchSchema = "application/json"), (KeyPatchSchema = "application/merge-patch+json"))),
    responses(
        (status = 200, description = "The key as it is now", body = ChangedKeyBody,
            headers(("ETag" = String, description = "`\"v<version>\"`"))),
        (status = 202, description = "The change is on disk, and exact from the moment it names", body = ChangedKeyBody,
            headers(("ETag" = String, description = "`\"v<version>\"`")))))]
pub(crate) async fn patch(
    State(edge): State<Arc<Edge>>,
    Owner { user, narrowed, context, .. }: Owner<Write>,
    KeyPath(key): KeyPath,
    if_match: IfMatch,
    query: Result<Query<WaitQuery>, QueryRejection>,
    MergePatch(body): MergePatch<PatchBody, MAX_AUTH_BODY>,
) -> Result<Versioned<ChangedKeyBody>, Problem> {
    let wait = WaitQuery::read(query)?;
    // What is faulty of any key is said before anybody is asked.
    let bare = KeyObject::bare(key, latchkey_contract::Owner::User(user), NEVER, NEVER);
    body.read(&bare).map_err(Problem::invalid)?;
    let changing = Changing { edge: &edge, context: &context, user, key, narrowed, if_match };
    let request = |target, object: &KeyObject| {
        let patch: KeyPatch = body.read(object).map_err(Problem::invalid)?;
        Ok(UpdateKey { target, patch, wait })
    };
    changing.run(request).await
}

/// When a key that is made up was made, and ends.
const NEVER: latchkey_contract::Timestamp = latchkey_contract::Timestamp(0);

/// Disable an API key: it is refused from the answer on, until it is enabled
#[utoipa::path(post, path = "/keys/{key_id}/disable", tag = "keys",
    params(("key_id" = i64, Path, minimum = 1, description = "The key's id"), WaitQuery),
    request_body = Option<DisableSchema>,
    responses(
        (status = 200, description = "The key is disabled, now or already", body = ChangedKeyBody,
            headers(("ETag" = String, description = "`\"v<version>\"`"))),
        (status = 202, description = "The change is on disk, and exact from the moment it names", body = ChangedKeyBody,
            headers(("ETag" = String, description = "`\"v<version>\"`")))))]
pub(crate) async fn disable(
    State(edge): State<Arc<Edge>>,
    owner: Owner<Write>,
    key: KeyPath,
    if_match: IfMatch,
    query: Result<Query<WaitQuery>, QueryRejection>,
    MaybeBody(fields): MaybeBody<MAX_AUTH_BODY>,
) -> Result<Versioned<ChangedKeyBody>, Problem> {
    set_enabled(&edge, owner, (key, if_match), WaitQuery::read(query)?, fields, false).await
}

/// Enable an API key: every edge accepts it from the answer on
#[utoipa::path(post, path = "/keys/{key_id}/enable", tag = "keys",
    params(("key_id" = i64, Path, minimum = 1, description = "The key's id"), WaitQuery),
    request_body = Option<EnableSchema>,
    responses(
        (status = 200, description = "The key is enabled, now or already", body = ChangedKeyBody,
            headers(("ETag" = String, description = "`\"v<version>\"`"))),
        (status = 202, description = "The change is on disk, and exact from the moment it names", body = ChangedKeyBody,
            headers(("ETag" = String, description = "`\"v<version>\"`")))))]
pub(crate) async fn enable(
    State(edge): State<Arc<Edge>>,
    owner: Owner<Write>,
    key: KeyPath,
    if_match: IfMatch,
    query: Result<Query<WaitQuery>, QueryRejection>,
    MaybeBody(fields): MaybeBody<MAX_AUTH_BODY>,
) -> Result<Versioned<ChangedKeyBody>, Problem> {
    set_enabled(&edge, owner, (key, if_match), WaitQuery::read(query)?, fields, true).await
}

async fn set_enabled(
    edge: &Edge,
    Owner { user, narrowed, context, .. }: Owner<Write>,
    (KeyPath(key), if_match): (KeyPath, IfMatch),
    wait: bool,
    mut fields: Fields,
    enabled: bool,
) -> Result<Versioned<ChangedKeyBody>, Problem> {
    let note = note(&mut fields);
    // To be refused needs nobody's confirmation.
    let confirm = enabled && fields.flag("confirm");
    fields.end()?;
    let changing = Changing { edge, context: &context, user, key, narrowed, if_match };
    changing
        .run(|target, _| Ok(SetKeyEnabled { target, enabled, note: note.clone(), confirm, wait }))
        .await
}

/// What is added to a change.
pub(super) fn note(fields: &mut Fields) -> Option<String> {
    let note = fields.text_or_null("note");
    fields.check(rules::note_of(note.as_deref()));
    note
}

/// A change of a key that is decided on the key as it is after the client has asked.
struct Changing<'a> {
    edge: &'a Edge,
    context: &'a Context,
    user: UserId,
    key: KeyId,
    narrowed: Option<Scopes>,
    if_match: IfMatch,
}

impl Changing<'_> {
    /// Has the change made that `request` makes of the key, and decides anew where others were faster.
    async fn run<R>(
        self,
        request: impl Fn(KeyTarget, &KeyObject) -> Result<R, Problem>,
    ) -> Result<Versioned<ChangedKeyBody>, Problem>
    where
        R: Rpc<Reply = KeyChanged>,
    {
        let (owner, key, mark) = (self.user, self.key, self.edge.mark());
        self.edge.limits.change(owner, self.context.caller.as_deref())?;
        for _ in 0..MAX_DECISIONS {
            let object = self.edge.bus.call(self.context, &GetKey { owner, key }).await?;
            self.if_match.check(object.version)?;
            let request = request(self.target(mark, object.version), &object)?;
            match self.edge.change(self.context, &request).await {
                Err(CallError::Refused(Refusal::Stale)) if self.if_match.is_named() => {
                    return Err(Problem::of(&PRECONDITION_FAILED));
                }
                Err(CallError::Refused(Refusal::Stale)) => {}
                changed => return Ok(answer(changed?, owner)),
            }
        }
        Err(Problem::unavailable("the key was changed by others again and again"))
    }

    fn target(&self, mark: Mark, version: i64) -> KeyTarget {
        let (owner, key, narrowed) = (self.user, self.key, self.narrowed.clone());
        KeyTarget { owner, key, version, mark, narrowed }
    }
}

fn answer(changed: KeyChanged, owner: UserId) -> Versioned<ChangedKeyBody> {
    let KeyChanged { object, changed } = changed;
    let status = match changed {
        Some(Changed::Committed { .. }) => StatusCode::ACCEPTED,
        Some(Changed::Confirmed(_)) | None => StatusCode::OK,
    };
    let key = KeyBody::new(object, owner);
    let etag = key.etag();
    (status, [(ETAG, etag)], Json(ChangedKeyBody { key, changed: changed.into() }))
}
