//! `POST /keys/revoke`: several keys are ended by one request, and are refused from its answer on.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use latchkey_contract::authority::Changed;
use latchkey_contract::credential::KeyEnvironment;
use latchkey_contract::keys::{
    KeyFilter, KeyOrigin, KeyState, KeysRevoked, RevocationReason, RevokeKeys, RevokedOne, Which,
    rules,
};
use latchkey_contract::{KeyId, UserId};
use serde::Serialize;
use utoipa::ToSchema;

use super::change::note;
use super::rotate::REASONS;
use super::wait::{ChangedBody, WaitQuery};
use crate::api::json::rfc3339;
use crate::body::JsonBody;
use crate::credential::{Owner, Write};
use crate::fields::Fields;
use crate::problem::Problem;
use crate::state::Edge;

/// Commands of one request at most: each ends as many keys as one may.
const MAX_COMMANDS: usize = 20;

/// `POST /keys/revoke`: `ids` or `filter`.
#[derive(ToSchema)]
#[schema(example = json!({"filter": {"tag": "team:core"}, "reason": "superseded", "dry_run": true}))]
#[expect(dead_code, reason = "it is the description of what `read` takes")]
pub struct RevokeKeysBody {
    /// Ids of keys, at most 1,000.
    #[schema(value_type = Vec<i64>, required = false)]
    ids: Option<Vec<i64>>,
    /// All of it has to hold: `state`, `tag` (each a text or a list), `environment`, `name` (a part of it), `origin`,
    /// `external_id`, `expires_before`, `unused_since`, `lineage`.
    #[schema(value_type = Object, required = false)]
    filter: Option<KeyFilter>,
    #[schema(value_type = String, required = false, pattern = "^(unspecified|key_compromise|superseded|affiliation_changed|privilege_withdrawn|cessation_of_operation)$")]
    reason: Option<RevocationReason>,
    #[schema(max_length = 500)]
    note: Option<String>,
    /// `true`: say which keys it would end, and end none.
    #[schema(value_type = bool, required = false)]
    dry_run: Option<bool>,
}

/// Keys that were revoked, or would be.
#[derive(Serialize, ToSchema)]
pub struct RevokedKeysBody {
    /// How many they are.
    count: usize,
    ids: Vec<i64>,
    /// Ids that are no keys of yours.
    missing: Vec<i64>,
    /// Whether there are more than one request ends: the same request ends those.
    more: bool,
    /// On `dry_run` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<Vec<LastUseBody>>,
    #[serde(flatten)]
    changed: ChangedBody,
}

/// A key, and when it was last used.
#[derive(Serialize, ToSchema)]
pub struct LastUseBody {
    id: i64,
    /// At most 10 seconds behind; null before the first use.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<String>,
}

/// Revoke several API keys: they are refused from the answer on
#[utoipa::path(post, path = "/keys/revoke", tag = "keys", params(WaitQuery),
    request_body = RevokeKeysBody,
    responses(
        (status = 200, description = "The keys are revoked, now or already", body = RevokedKeysBody),
        (status = 202, description = "The revokes are on disk, and exact from the moment it names", body = RevokedKeysBody)))]
pub(crate) async fn revoke_many(
    State(edge): State<Arc<Edge>>,
    Owner { user, context, .. }: Owner<Write>,
    query: Result<Query<WaitQuery>, QueryRejection>,
    JsonBody(fields): JsonBody<Fields>,
) -> Result<(StatusCode, Json<RevokedKeysBody>), Problem> {
    let wait = WaitQuery::read(query)?;
    let request = read(fields, user, wait)?;
    edge.limits.key(user)?;
    let mut answer = edge.change(&context, &request).await?;
    for _ in 1..MAX_COMMANDS {
        if request.dry_run || !answer.more {
            break;
        }
        let next = edge.change(&context, &request).await?;
        answer.keys.extend(next.keys);
        // It comes after those before, and each was waited for.
        answer.changed = next.changed.or(answer.changed);
        answer.more = next.more;
    }
    answer.keys.sort_unstable_by_key(|key| key.id);
    answer.keys.dedup_by_key(|key| key.id);
    let status = match answer.changed {
        Some(Changed::Committed { .. }) => StatusCode::ACCEPTED,
        _ => StatusCode::OK,
    };
    Ok((status, Json(RevokedKeysBody::new(answer, request.dry_run))))
}

fn read(mut fields: Fields, owner: UserId, wait: bool) -> Result<RevokeKeys, Problem> {
    let has_ids = fields.has("ids");
    let ids = fields.ids("ids");
    let filter = fields.object("filter").map(|mut object| {
        let filter = read_filter(&mut object);
        fields.join(object);
        filter
    });
    let which = match (ids, filter) {
        (Some(ids), None) => Which::Ids(each_once(ids, &mut fields)),
        // What is wrong with them was said.
        (None, None) if has_ids => Which::Ids(Vec::new()),
        (None, Some(filter)) => {
            if filter == KeyFilter::default() {
                let message = "must name at least one thing: an empty one would be of every key";
                fields.fault("filter", message);
            }
            Which::Filter(filter)
        }
        _ => {
            let message =
                if has_ids { "must be left out beside ids" } else { "or ids is required" };
            fields.fault("filter", message);
            Which::Ids(Vec::new())
        }
    };
    let reason = fields.one_of("reason", RevocationReason::named, REASONS).unwrap_or_default();
    let note = note(&mut fields);
    let dry_run = fields.flag("dry_run");
    fields.end()?;
    Ok(RevokeKeys { owner, which, reason, note, dry_run, wait })
}

fn each_once(ids: Vec<i64>, fields: &mut Fields) -> Vec<KeyId> {
    let ids: BTreeSet<KeyId> = ids.into_iter().map(KeyId).collect();
    if !(1..=rules::MAX_ENDED).contains(&ids.len()) {
        fields.fault("ids", "must hold 1 to 1000 ids of keys");
    }
    ids.into_iter().collect()
}

fn read_filter(fields: &mut Fields) -> KeyFilter {
    let names = fields.texts("state");
    let state_of = |name: &String| KeyState::ALL.into_iter().find(|state| state.name() == *name);
    let states: Option<Vec<KeyState>> = names.iter().map(state_of).collect();
    if states.is_none() {
        let rule = "must be of revoked, expired, disabled, inactive, retiring, active";
        fields.fault("state", rule);
    }
    let tags = fields.texts("tag");
    if !tags.iter().all(|tag| rules::is_tag(tag)) {
        fields.fault("tag", "must be a tag, or a list of tags");
    }
    let origin = |name: &str| {
        [KeyOrigin::Issued, KeyOrigin::Imported].into_iter().find(|origin| origin.name() == name)
    };
    let external_id = fields.text("external_id");
    fields.check(external_id.as_deref().map_or(Ok(()), rules::external_id));
    let name = fields.text("name");
    if name.as_deref().is_some_and(str::is_empty) {
        fields.fault("name", "must have at least one character");
    }
    let environment = fields.text("environment");
    if environment.as_deref().is_some_and(|name| KeyEnvironment::parse(name).is_err()) {
        fields.fault("environment", "must be the name of an environment");
    }
    let lineage = fields.integer("lineage");
    if lineage.is_some_and(|id| id <= 0) {
        fields.fault("lineage", "must be the id of a key");
    }
    KeyFilter {
        states: states.unwrap_or_default(),
        tags,
        environment,
        name,
        origin: fields.one_of("origin", origin, "must be issued or imported"),
        external_id,
        expires_before: fields.moment("expires_before"),
        unused_since: fields.moment("unused_since"),
        lineage: lineage.map(KeyId),
    }
}

impl RevokedKeysBody {
    fn new(answer: KeysRevoked, is_dry: bool) -> Self {
        let KeysRevoked { keys, missing, more, changed } = answer;
        let ids = keys.iter().map(|key| key.id.0).collect();
        let missing = missing.into_iter().map(|key| key.0).collect();
        let shown = is_dry.then(|| keys.iter().map(LastUseBody::of).collect());
        Self { count: keys.len(), ids, missing, more, keys: shown, changed: changed.into() }
    }
}

impl LastUseBody {
    fn of(key: &RevokedOne) -> Self {
        Self { id: key.id.0, last_used_at: key.last_used_at.map(rfc3339) }
    }
}
