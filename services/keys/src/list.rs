//! Listing an owner's keys, a page at a time.

use std::sync::Arc;

use latchkey_bus::Context;
use latchkey_contract::keys::{KeyPage, ListKeys};
use latchkey_contract::wire::MAX_BATCH;
use latchkey_contract::{Failure, FieldError, Refusal};

use crate::{Keys, store};

pub(crate) async fn list(
    keys: Arc<Keys>,
    context: Context,
    request: ListKeys,
) -> Result<KeyPage, Failure> {
    context.caller()?.acts_as(request.owner)?;
    let limit = request.limit as usize;
    if !(1..=MAX_BATCH).contains(&limit) {
        let fault = FieldError::new("limit", format!("must be from 1 to {MAX_BATCH}"));
        return Err(Refusal::Invalid(vec![fault]).into());
    }
    // One more than asked for tells whether there are more.
    let mut found =
        store::list(&keys.db, request.owner, request.after, i64::from(request.limit) + 1).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    Ok(KeyPage { keys: found, more })
}
