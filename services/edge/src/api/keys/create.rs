//! Making keys: one, as old clients ask for it and as new ones do, or several at once.

use std::collections::BTreeMap;
use std::slice;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use latchkey_contract::keys::{IssueKey, IssueKeys, NewKey, rules};
use latchkey_contract::{FieldError, Idempotency, IdempotentRoute};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::fields::{KeyMembers, Rules, unknown};
use super::json::{CreateKeyBody, CreatedKeyBody, NewKeyBody};
use crate::body::JsonBody;
use crate::credential::{Acting, KeyScope, Write};
use crate::idempotency::{IdempotencyHeader, Repeatable, Replayed};
use crate::problem::Problem;
use crate::state::Edge;
use crate::unshown::Making;

/// Bytes of a body that makes several keys at most: what it becomes has to fit in a message.
pub const MAX_BULK_BODY: usize = 48 * 1_024;

/// Make an API key; the answer is the only one that shows it
#[utoipa::path(post, path = "/keys/create", tag = "keys",
    params(IdempotencyHeader),
    request_body = CreateKeyBody,
    responses((status = 201, description = "The key", body = CreatedKeyBody,
        headers(("Idempotency-Replayed" = bool, description = "There and true where the answer was given before")))))]
pub(crate) async fn create(
    State(edge): State<Arc<Edge>>,
    acting: Acting<Write>,
    Repeatable { body: JsonBody(body), named }: Repeatable<JsonBody<KeyMembers>>,
) -> Result<(StatusCode, Replayed, Json<CreatedKeyBody>), Problem> {
    let named = named.map(|named| named.of(IdempotentRoute::Create, None));
    make(&edge, &acting, (body, Rules::Old), named).await
}

/// Make an API key that may do what you say; the answer is the only one that shows it
#[utoipa::path(post, path = "/keys", tag = "keys",
    params(IdempotencyHeader),
    request_body = NewKeyBody,
    responses((status = 201, description = "The key", body = CreatedKeyBody,
        headers(("Idempotency-Replayed" = bool, description = "There and true where the answer was given before")))))]
pub(crate) async fn create_scoped(
    State(edge): State<Arc<Edge>>,
    acting: Acting<Write>,
    Repeatable { body: JsonBody(body), named }: Repeatable<JsonBody<KeyMembers>>,
) -> Result<(StatusCode, Replayed, Json<CreatedKeyBody>), Problem> {
    let named = named.map(|named| named.of(IdempotentRoute::CreateScoped, None));
    make(&edge, &acting, (body, Rules::Strict), named).await
}

async fn make(
    edge: &Edge,
    acting: &Acting<Write>,
    (body, by): (KeyMembers, Rules),
    idempotency: Option<Idempotency>,
) -> Result<(StatusCode, Replayed, Json<CreatedKeyBody>), Problem> {
    edge.limits.key(acting.user)?;
    let (key, _days) = body.read(by).map_err(Problem::invalid)?;
    let key = of(acting, key);
    let (owner, narrowed, seed) = (acting.user, acting.narrowed.clone(), Some(edge.seed()));
    let ask = IssueKey { owner, narrowed, key, seed, idempotency };
    let mut making = edge.unshown.making(&acting.context, ask);
    let issued = making.make().await?;
    let issued = hand_out(edge, acting, making, issued).await?;
    let replayed = Replayed::of(slice::from_ref(&issued));
    Ok((StatusCode::CREATED, replayed, Json(CreatedKeyBody::new(issued, owner))))
}

/// Several keys to make.
#[derive(Deserialize, ToSchema)]
pub struct CreateKeysBody {
    #[schema(value_type = Vec<NewKeyBody>, required, min_items = 1, max_items = 100)]
    keys: Option<Listed>,
    #[serde(flatten)]
    #[schema(ignore)]
    others: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Listed {
    List(Vec<Item>),
    Other(IgnoredAny),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Item {
    Object(KeyMembers),
    Other(IgnoredAny),
}

type Bulk = JsonBody<CreateKeysBody, MAX_BULK_BODY>;

/// Keys that were made: the only answer that shows them.
#[derive(Serialize, ToSchema)]
pub struct CreatedKeysBody {
    /// In the order of the request.
    keys: Vec<CreatedKeyBody>,
}

/// Make several API keys, all or none; the answer is the only one that shows them
#[utoipa::path(post, path = "/keys/bulk", tag = "keys",
    params(IdempotencyHeader),
    request_body = CreateKeysBody,
    responses((status = 201, description = "The keys", body = CreatedKeysBody,
        headers(("Idempotency-Replayed" = bool, description = "There and true where the answer was given before")))))]
pub(crate) async fn create_many(
    State(edge): State<Arc<Edge>>,
    acting: Acting<Write>,
    Repeatable { body: JsonBody(body), named }: Repeatable<Bulk, MAX_BULK_BODY>,
) -> Result<(StatusCode, Replayed, Json<CreatedKeysBody>), Problem> {
    let wanted = body.read();
    edge.limits.keys(acting.user, wanted.as_ref().map_or(1, Vec::len))?;
    let keys = wanted.map_err(Problem::invalid)?;
    let keys = keys.into_iter().map(|key| of(&acting, key)).collect();
    let (owner, narrowed, seed) = (acting.user, acting.narrowed.clone(), edge.seed());
    let idempotency = named.map(|named| named.of(IdempotentRoute::CreateMany, None));
    let ask = IssueKeys { owner, narrowed, keys, seed, idempotency };
    let mut making = edge.unshown.making(&acting.context, ask);
    let made = making.make_many().await?;
    let made = hand_out(&edge, &acting, making, made).await?;
    let replayed = Replayed::of(&made);
    let keys = made.into_iter().map(|issued| CreatedKeyBody::new(issued, owner)).collect();
    Ok((StatusCode::CREATED, replayed, Json(CreatedKeysBody { keys })))
}

impl CreateKeysBody {
    fn read(self) -> Result<Vec<NewKey>, Vec<FieldError>> {
        let wrong = |message: &str| FieldError::new("keys", message);
        let mut faults: Vec<FieldError> = self.others.keys().map(|name| unknown(name)).collect();
        let (mut keys, mut days) = (Vec::new(), Vec::new());
        match self.keys {
            Some(Listed::List(items)) if (1..=rules::MAX_MADE).contains(&items.len()) => {
                for (place, item) in items.into_iter().enumerate() {
                    let at = |fault: FieldError| {
                        FieldError::new(format!("keys[{place}].{}", fault.field), fault.message)
                    };
                    match item {
                        Item::Object(members) => match members.read(Rules::Strict) {
                            Ok((key, fault)) => {
                                keys.push(key);
                                days.extend(fault.map(at));
                            }
                            Err(found) => faults.extend(found.into_iter().map(at)),
                        },
                        Item::Other(IgnoredAny) => faults.push(FieldError::new(
                            format!("keys[{place}]"),
                            "must be an object that holds each field at most once",
                        )),
                    }
                }
            }
            Some(Listed::List(_)) => faults.push(wrong("must hold 1 to 100 objects")),
            Some(Listed::Other(IgnoredAny)) | None => {
                faults.push(wrong("is required and must be a list of 1 to 100 objects"));
            }
        }
        if faults.is_empty() {
            return Ok(keys);
        }
        faults.extend(days);
        Err(faults)
    }
}

/// What a key is to be that is made by whoever acts: for the same environment as the key that does, unless another is
/// named.
fn of(acting: &Acting<Write>, key: NewKey) -> NewKey {
    let environment = key.environment.or_else(|| acting.environment.clone());
    NewKey { environment, ..key }
}

/// Hands out what was made, if whoever has asked for it is still good when it is there: their session may have ended
/// meanwhile, in another service's database.
///
/// # Errors
/// [`Problem`] where nobody is to be shown it: then it is revoked.
async fn hand_out<T, S: KeyScope>(
    edge: &Edge,
    acting: &Acting<S>,
    making: Making,
    made: T,
) -> Result<T, Problem> {
    if let Err(problem) = acting.is_still_good(&edge.gate).await {
        making.withheld(&problem).await;
        return Err(problem);
    }
    making.shown();
    Ok(made)
}
