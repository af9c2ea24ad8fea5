//! Listing an owner's keys, a page at a time.

use std::sync::Arc;

use latchkey_bus::Context;
use latchkey_contract::credential::KeyEnvironment;
use latchkey_contract::keys::{KeyFilter, KeyPage, ListKeys, rules};
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
    check(&request.filter)?;
    if request.newest_first || !request.filter.is_empty() {
        return Ok(store::list::page(&keys.db, &request, keys.now()).await?);
    }
    // One more than asked for tells whether there are more.
    let (after, limit_and_one) = (request.after.unwrap_or(KeyId(0)), i64::from(request.limit) + 1);
    let found = store::key::list(&keys.db, request.owner, after, limit_and_one, keys.now()).await?;
    Ok(store::list::cut(found, limit))
}

/// What a filter may hold at most; an edge has named what is faulty.
pub(crate) fn check(filter: &KeyFilter) -> Result<(), Refusal> {
    let tags = rules::tags(filter.tags.clone()).map(drop);
    let is_short = filter.name.as_ref().is_none_or(|part| part.chars().count() <= rules::MAX_NAME);
    let name = if is_short {
        Ok(())
    } else {
        Err(FieldError::new("name", "must have at most 100 characters"))
    };
    let is_environment =
        filter.environment.as_ref().is_none_or(|name| KeyEnvironment::parse(name).is_ok());
    let environment = if is_environment {
        Ok(())
    } else {
        Err(FieldError::new("environment", "must be the name of an environment"))
    };
    let external_id = filter.external_id.as_deref().map_or(Ok(()), rules::external_id);
    let all = [tags.err(), name.err(), environment.err(), external_id.err()];
    let faults: Vec<FieldError> = all.into_iter().flatten().collect();
    if faults.is_empty() { Ok(()) } else { Err(Refusal::Invalid(faults)) }
}
