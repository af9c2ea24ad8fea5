//! Listing an owner's keys, a page at a time.

use std::sync::Arc;

use latchkey_bus::Context;
use latchkey_contract::keys::{KeyPage, ListKeys};
use latchkey_contract::wire::MAX_BATCH;
use latchkey_contract::{Failure, FieldError, KeyId, Refusal};

use crate::{Keys, acting, store};

pub(crate) async fn list(
    keys: Arc<Keys>,
    context: Context,
    request: ListKeys,
) -> Result<KeyPage, Failure> {
    acting::reads(context.caller()?, request.owner)?;
    let limit = request.limit as usize;
    if !(1..=MAX_BATCH).contains(&limit) {
        let fault = FieldError::new("limit", format!("must be from 1 to {MAX_BATCH}"));
        return Err(Refusal::Invalid(vec![fault]).into());
    }
    // One more than asked for tells whether there are more.
    let (after, limit_and_one) = (request.after.unwrap_or(KeyId(0)), i64::from(request.limit) + 1);
    let mut found =
        store::key::list(&keys.db, request.owner, after, limit_and_one, keys.now()).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|key| key.id);
    Ok(KeyPage { keys: found, next })
}
