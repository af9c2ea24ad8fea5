//! Listing an owner's keys, a page at a time.

use std::sync::Arc;

use latchkey_bus::Context;
use latchkey_contract::keys::{KeyPage, ListKeys};
use latchkey_contract::wire::MAX_BATCH;
use latchkey_contract::{Failure, FieldError, Refusal};

use crate::{Keys, store};

pub(crate) async fn list(
    keys: Arc<Keys>,
    _: Context,
    request: ListKeys,
) -> Result<KeyPage, Failure> {
    let limit = i64::from(request.limit);
    if !(1..=MAX_BATCH as i64).contains(&limit) {
        let fault = FieldError::new("limit", format!("must be from 1 to {MAX_BATCH}"));
        return Err(Refusal::Invalid(vec![fault]).into());
    }
    // One more than asked for tells whether there are more.
    let mut found = store::list(&keys.db, request.owner, request.after, limit + 1).await?;
    let more = found.len() as i64 > limit;
    found.truncate(request.limit as usize);
    Ok(KeyPage { keys: found, more })
}
