//! Finding one's own key by its text, or by what lists show of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use latchkey_contract::keys::{KnownBy, LookUpKeys, rules};
use latchkey_contract::problem::USERS_ONLY;
use latchkey_contract::{Actor, CredentialHash, FieldError};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::fields::unknown;
use super::object::KeyBody;
use crate::body::JsonBody;
use crate::credential::{Owner, Read};
use crate::problem::Problem;
use crate::state::Edge;

/// Bytes of a body that names a key at most.
pub const MAX_LOOKUP_BODY: usize = 4 * 1_024;
/// Bytes of a key's text and of a hint at most.
const MAX_TEXT: usize = 512;

/// What is known of a key: the description of [`LookUpMembers`].
#[derive(ToSchema)]
#[schema(as = LookUpKeyBody)]
pub enum LookUpKeyBody {
    /// Its text.
    #[schema(rename = "key")]
    Key(String),
    /// What lists show of it; three dots stand for the one sign.
    #[schema(rename = "hint")]
    Hint(String),
}

/// The members of such a body.
#[derive(Deserialize)]
pub struct LookUpMembers {
    key: Option<Value>,
    hint: Option<Value>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

/// Find your own key by its text or its hint
#[utoipa::path(post, path = "/keys/lookup", tag = "keys",
    request_body = LookUpKeyBody,
    responses((status = 200, description = "Your keys that this is known of", body = Vec<KeyBody>)))]
pub(crate) async fn look_up(
    State(edge): State<Arc<Edge>>,
    Owner { user: owner, context, .. }: Owner<Read>,
    JsonBody(body): JsonBody<LookUpMembers, MAX_LOOKUP_BODY>,
) -> Result<Json<Vec<KeyBody>>, Problem> {
    if matches!(context.caller.as_deref().map(|by| &by.actor), Some(Actor::Key { .. })) {
        return Err(Problem::of(&USERS_ONLY));
    }
    let by = body.read().map_err(Problem::invalid)?;
    let found = edge.bus.call(&context, &LookUpKeys { owner, by }).await?;
    Ok(Json(found.into_iter().map(|key| KeyBody::new(key, owner)).collect()))
}

impl LookUpMembers {
    fn read(self) -> Result<KnownBy, Vec<FieldError>> {
        let mut faults: Vec<FieldError> = self.others.keys().map(|name| unknown(name)).collect();
        let read = match (self.key, self.hint) {
            (Some(key), None) => {
                text("key", &key).map(|text| KnownBy::Hash(CredentialHash::of(text)))
            }
            (None, Some(hint)) => text("hint", &hint).and_then(|text| {
                let hint = text.replace("...", "…");
                rules::hint(&hint).map(|()| KnownBy::Hint(hint))
            }),
            (Some(_), Some(_)) => {
                Err(FieldError::new("hint", "must be left out where `key` is given"))
            }
            (None, None) => Err(FieldError::new("key", "is required, or `hint`")),
        };
        match read {
            Ok(by) if faults.is_empty() => Ok(by),
            Ok(_) => Err(faults),
            Err(fault) => {
                faults.push(fault);
                Err(faults)
            }
        }
    }
}

fn text<'a>(field: &str, value: &'a Value) -> Result<&'a str, FieldError> {
    let text = value.as_str().filter(|text| (1..=MAX_TEXT).contains(&text.len()));
    text.ok_or_else(|| FieldError::new(field, "must be a text of 1 to 512 bytes"))
}
