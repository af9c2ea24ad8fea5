//! `/keys/{key_id}/rotate`: a key is replaced by a new one, and both work for a while; `/keys/{key_id}/rotation`: how far
//! a lineage is with that.

use std::slice;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use latchkey_contract::authority::Changed;
use latchkey_contract::keys::{
    ExpiresIn, GetKey, Grace, KeyFilter, KeyObject, KeyTarget, ListKeys, RevocationReason,
    RotateKey, RotatedKey,
};
use latchkey_contract::verify::MinRevision;
use latchkey_contract::wire::MAX_BATCH;
use latchkey_contract::{Actor, CallError, Idempotency, IdempotentRoute, KeyId, Refusal, UserId};
use latchkey_gate::{CredentialText, Form, Requirement};
use serde::Serialize;
use utoipa::ToSchema;

use super::json::CreatedKeyBody;
use super::wait::{ChangedBody, WaitQuery};
use crate::api::json::rfc3339;
use crate::body::{KeyPath, MaybeBody};
use crate::credential::{Acting, KeyScope, Owner, Read, Write};
use crate::fields::Fields;
use crate::idempotency::{IdempotencyHeader, Repeatable, Replayed};
use crate::if_match::IfMatch;
use crate::problem::Problem;
use crate::state::Edge;

/// Times that a rotation is decided anew where something newer came, at most.
const MAX_DECISIONS: usize = 4;
/// Pages of a lineage at most: one has as many keys as it was rotated, and those that ended long ago are deleted.
const MAX_PAGES: usize = 16;
/// The names of all reasons.
pub(super) const REASONS: &str = "must be one of unspecified, key_compromise, superseded, affiliation_changed, \
    privilege_withdrawn, cessation_of_operation";

/// To replace the very key that is shown.
pub enum RotateSelf {}

impl KeyScope for RotateSelf {
    const REQUIREMENT: Requirement<'static> =
        Requirement::managing_itself("latchkey:keys:rotate-self");
}

/// `POST /keys/{key_id}/rotate`.
#[derive(ToSchema)]
#[schema(example = json!({"grace_seconds": 86400}))]
pub struct RotateKeyBody {
    /// Seconds until the old key ends. 0: it is revoked at once. Left out, without `until`: as configured.
    #[schema(value_type = i64, required = false, minimum = 0, maximum = 315_360_000)]
    grace_seconds: Option<i64>,
    /// The moment at which the old key ends, instead.
    #[schema(value_type = String, required = false, format = DateTime)]
    until: Option<latchkey_contract::Timestamp>,
    /// Days until the new key expires; left out: as long as the old one was to live from its creation.
    #[schema(value_type = i64, required = false, minimum = 1, maximum = 3650)]
    expires_in_days: ExpiresIn,
    /// Why the old key ends. `key_compromise` demands that it ends at once, or `confirm`.
    #[schema(value_type = String, required = false, pattern = "^(unspecified|key_compromise|superseded|affiliation_changed|privilege_withdrawn|cessation_of_operation)$")]
    reason: RevocationReason,
    /// Whether it is meant although a key of the lineage may be somebody else's.
    #[schema(value_type = bool, required = false)]
    confirm: bool,
}

/// A key that was made for another: the only answer that shows it.
#[derive(Serialize, ToSchema)]
pub struct RotatedKeyBody {
    #[serde(flatten)]
    created: CreatedKeyBody,
    replaces: ReplacedBody,
    #[serde(flatten)]
    changed: ChangedBody,
}

/// A key that was replaced.
#[derive(Serialize, ToSchema)]
pub struct ReplacedBody {
    id: i64,
    /// When it ends, or ended.
    #[schema(value_type = String, format = DateTime)]
    retires_at: String,
}

/// How far a lineage is.
#[derive(Serialize, ToSchema)]
pub struct RotationBody {
    /// The id of its first key.
    lineage: i64,
    /// Its keys by rising id.
    keys: Vec<ProgressBody>,
}

/// A key of a lineage, and what is known of its use.
#[derive(Serialize, ToSchema)]
pub struct ProgressBody {
    key_id: i64,
    generation: i64,
    #[schema(value_type = String, pattern = "^(revoked|expired|disabled|inactive|retiring|active)$")]
    state: &'static str,
    /// When it ends, where it was replaced.
    #[schema(value_type = Option<String>, format = DateTime)]
    retires_at: Option<String>,
    /// At most 10 seconds behind; null before the first use.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<String>,
    /// Not counted yet.
    #[schema(value_type = Option<String>)]
    verdict: Option<()>,
    #[schema(value_type = Option<i64>)]
    idle_seconds: Option<()>,
    #[schema(value_type = Option<String>)]
    complete_until: Option<()>,
    #[schema(value_type = Option<Object>)]
    uses: Option<()>,
    #[schema(value_type = Option<Object>)]
    callers: Option<()>,
    #[schema(value_type = Option<Object>)]
    successor: Option<()>,
    #[schema(value_type = Option<String>)]
    derived_tokens_possible_until: Option<()>,
}

/// Replace an API key by a new one: the old one works until its grace is over
#[utoipa::path(post, path = "/keys/{key_id}/rotate", tag = "keys",
    params(("key_id" = i64, Path, minimum = 1, description = "The key's id"), WaitQuery, IdempotencyHeader),
    request_body = RotateKeyBody,
    responses(
        (status = 201, description = "The new key, and when the old one ends", body = RotatedKeyBody,
            headers(("Idempotency-Replayed" = bool, description = "There and true where the answer was given before"))),
        (status = 202, description = "The same; the change of the old key is exact from the moment it names", body = RotatedKeyBody,
            headers(("Idempotency-Replayed" = bool, description = "There and true where the answer was given before")))))]
pub(crate) async fn rotate(
    State(edge): State<Arc<Edge>>,
    acting: Acting<Write>,
    KeyPath(key): KeyPath,
    if_match: IfMatch,
    query: Result<Query<WaitQuery>, QueryRejection>,
    Repeatable { body: MaybeBody(fields), named }: Repeatable<MaybeBody>,
) -> Result<(StatusCode, Replayed, Json<RotatedKeyBody>), Problem> {
    let named = named.map(|named| named.of(IdempotentRoute::Rotate, Some(key)));
    replace(&edge, &acting, key, &if_match, (query, fields, named), false).await
}

/// Replace the API key that is shown by a new one
#[utoipa::path(post, path = "/keys/self/rotate", tag = "keys", params(WaitQuery, IdempotencyHeader),
    request_body = RotateKeyBody,
    responses(
        (status = 201, description = "The new key, and when the old one ends", body = RotatedKeyBody,
            headers(("Idempotency-Replayed" = bool, description = "There and true where the answer was given before"))),
        (status = 202, description = "The same; the change of the old key is exact from the moment it names", body = RotatedKeyBody,
            headers(("Idempotency-Replayed" = bool, description = "There and true where the answer was given before")))))]
pub(crate) async fn rotate_self(
    State(edge): State<Arc<Edge>>,
    acting: Acting<RotateSelf>,
    if_match: IfMatch,
    query: Result<Query<WaitQuery>, QueryRejection>,
    Repeatable { body: MaybeBody(fields), named }: Repeatable<MaybeBody>,
) -> Result<(StatusCode, Replayed, Json<RotatedKeyBody>), Problem> {
    let key = itself(&acting).ok_or_else(Problem::internal)?;
    let named = named.map(|named| named.of(IdempotentRoute::RotateSelf, Some(key)));
    replace(&edge, &acting, key, &if_match, (query, fields, named), true).await
}

/// How far the keys of a lineage are with replacing each other
#[utoipa::path(get, path = "/keys/{key_id}/rotation", tag = "keys",
    params(("key_id" = i64, Path, minimum = 1, description = "The id of a key of the lineage")),
    responses((status = 200, description = "The keys of the lineage", body = RotationBody)))]
pub(crate) async fn rotation(
    State(edge): State<Arc<Edge>>,
    Owner { user, context, .. }: Owner<Read>,
    KeyPath(key): KeyPath,
) -> Result<Json<RotationBody>, Problem> {
    let lineage = edge.bus.call(&context, &GetKey { owner: user, key }).await?.lineage.id;
    let filter = KeyFilter { lineage: Some(lineage), ..KeyFilter::default() };
    let limit = u32::try_from(MAX_BATCH).unwrap_or(u32::MAX);
    // No key of a lineage is older than its first.
    let after = Some(KeyId(lineage.0.saturating_sub(1)));
    let mut ask = ListKeys { owner: user, after, limit, newest_first: false, filter };
    let mut keys = Vec::new();
    for _ in 0..MAX_PAGES {
        let page = edge.bus.call(&context, &ask).await?;
        let own = page.keys.into_iter().filter(|key| key.lineage.id == lineage);
        keys.extend(own.map(|key| ProgressBody::of(&key)));
        ask.after = page.next;
        if ask.after.is_none() {
            break;
        }
    }
    Ok(Json(RotationBody { lineage: lineage.0, keys }))
}

/// The key that acts, where one does.
fn itself<S>(acting: &Acting<S>) -> Option<KeyId> {
    match acting.context.caller.as_deref().map(|caller| &caller.actor) {
        Some(Actor::Key { id, .. }) => Some(*id),
        _ => None,
    }
}

/// What a request says besides its path: its query, its body's members, and what its client calls it.
type Said = (Result<Query<WaitQuery>, QueryRejection>, Fields, Option<Idempotency>);

async fn replace<S: KeyScope>(
    edge: &Arc<Edge>,
    acting: &Acting<S>,
    key: KeyId,
    if_match: &IfMatch,
    (query, fields, idempotency): Said,
    is_self: bool,
) -> Result<(StatusCode, Replayed, Json<RotatedKeyBody>), Problem> {
    let (body, wait) = (RotateKeyBody::read(fields)?, WaitQuery::read(query)?);
    let owner = acting.user;
    edge.limits.key(owner)?;
    let (narrowed, is_repeatable) = (acting.narrowed.clone(), idempotency.is_some());
    let target = KeyTarget { owner, key, version: KeyTarget::NEVER, mark: edge.mark(), narrowed };
    let request = RotateKey {
        target,
        grace: body.grace(),
        expires_in: body.expires_in_days,
        reason: body.reason,
        confirm: body.confirm,
        is_self,
        seed: edge.seed(),
        idempotency,
        wait,
    };
    let mut making = edge.unshown.making(&acting.context, request);
    for _ in 0..MAX_DECISIONS {
        // What it is now, after the client has asked.
        let version = edge.bus.call(&acting.context, &GetKey { owner, key }).await?.version;
        let unmet = if_match.check(version).err();
        if !is_repeatable && let Some(problem) = unmet {
            return Err(problem);
        }
        // A repeat names the version that its first try was meant for: it does nothing, and is answered.
        let version = if unmet.is_some() { KeyTarget::NEVER } else { version };
        let rotated = match (making.replace(version).await, unmet) {
            (Err(CallError::Refused(Refusal::Stale)), Some(problem)) => return Err(problem),
            (Err(CallError::Refused(Refusal::Stale)), None) => continue,
            (rotated, _) => rotated?,
        };
        // Whoever acts may have ended while the key was made.
        if let Err(problem) = acting.is_still_good(&edge.gate).await
            && !has_ended_itself(edge, acting, &rotated, &problem).await
        {
            making.withheld(&problem).await;
            return Err(problem);
        }
        making.shown();
        let status = match rotated.changed {
            Changed::Confirmed(_) => StatusCode::CREATED,
            Changed::Committed { .. } => StatusCode::ACCEPTED,
        };
        let replayed = Replayed::of(slice::from_ref(&rotated.issued));
        return Ok((status, replayed, Json(RotatedKeyBody::new(rotated, owner))));
    }
    Err(Problem::unavailable("the key was changed by others again and again"))
}

/// Whether the key that acts is refused since it has replaced itself without a grace, and for no other reason: then the
/// new one, which stands for the same, is good now.
async fn has_ended_itself<S: KeyScope>(
    edge: &Edge,
    acting: &Acting<S>,
    rotated: &RotatedKey,
    problem: &Problem,
) -> bool {
    let key = rotated.replaces;
    if itself(acting) != Some(key) || !problem.is_of_credential() {
        return false;
    }
    let old = edge.bus.call(&acting.context, &GetKey { owner: acting.user, key }).await;
    // A key that retires is refused because somebody has ended it, or its owner.
    if !old.is_ok_and(|old| old.revocation.is_some_and(|end| end.at == rotated.retires_at)) {
        return false;
    }
    let new = CredentialText { form: Form::Key, text: rotated.issued.key.expose() };
    let verdict = edge.gate.decide(&acting.context, new, MinRevision::default()).await;
    verdict.is_ok_and(|verdict| verdict.valid().is_some())
}

impl RotateKeyBody {
    fn read(mut fields: Fields) -> Result<Self, Problem> {
        let grace_seconds = fields.integer("grace_seconds");
        let until = fields.moment("until");
        let expires_in_days = fields.days("expires_in_days");
        let reason = fields.one_of("reason", RevocationReason::named, REASONS);
        let confirm = fields.flag("confirm");
        if grace_seconds.is_some() && until.is_some() {
            fields.fault("until", "must be left out beside grace_seconds");
        }
        fields.end()?;
        let reason = reason.unwrap_or(RevocationReason::Superseded);
        Ok(Self { grace_seconds, until, expires_in_days, reason, confirm })
    }

    fn grace(&self) -> Grace {
        let until = self.until.map_or(Grace::Default, Grace::Until);
        self.grace_seconds.map_or(until, Grace::Seconds)
    }
}

impl RotatedKeyBody {
    fn new(rotated: RotatedKey, owner: UserId) -> Self {
        let RotatedKey { issued, replaces, retires_at, changed } = rotated;
        let replaces = ReplacedBody { id: replaces.0, retires_at: rfc3339(retires_at) };
        Self {
            created: CreatedKeyBody::new(issued, owner),
            replaces,
            changed: Some(changed).into(),
        }
    }
}

impl ProgressBody {
    fn of(key: &KeyObject) -> Self {
        Self {
            key_id: key.id.0,
            generation: key.lineage.generation,
            state: key.state.name(),
            retires_at: key.lineage.retires_at.map(rfc3339),
            last_used_at: key.last_used_at.map(rfc3339),
            verdict: None,
            idle_seconds: None,
            complete_until: None,
            uses: None,
            callers: None,
            successor: None,
            derived_tokens_possible_until: None,
        }
    }
}
