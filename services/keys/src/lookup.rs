//! Whose key is this? Its owner finds it by its text or by what lists show of it. One that is nobody's and one of another
//! owner are the same. An operator finds everybody's.

use std::sync::Arc;

use latchkey_bus::Context;
use latchkey_contract::keys::{FindKeys, FoundKey, KeyObject, KnownBy, LookUpKeys, rules};
use latchkey_contract::wire::MAX_BATCH;
use latchkey_contract::{Failure, Refusal};

use crate::{Keys, NAME, acting, store};

pub(crate) async fn look_up(
    keys: Arc<Keys>,
    context: Context,
    request: LookUpKeys,
) -> Result<Vec<KeyObject>, Failure> {
    let LookUpKeys { owner, by } = request;
    acting::reads(context.caller()?, owner)?;
    let now = keys.now();
    let found = match by {
        KnownBy::Hash(hash) => {
            let found = store::key::by_hash(&keys.db, owner, hash, now).await?;
            found.into_iter().collect()
        }
        KnownBy::Hint(hint) => {
            rules::hint(&hint).map_err(|fault| Refusal::Invalid(vec![fault]))?;
            let most = i64::try_from(MAX_BATCH).unwrap_or(i64::MAX);
            let found = store::key::by_hint(&keys.db, owner, &hint, most, now).await?;
            // Two of them are chance already.
            store::list::cut(found, MAX_BATCH).keys
        }
    };
    if found.is_empty() { Err(Refusal::KeyNotFound.into()) } else { Ok(found) }
}

/// Also those that have ended, for operators.
pub(crate) async fn find(
    keys: Arc<Keys>,
    context: Context,
    FindKeys { by }: FindKeys,
) -> Result<Vec<FoundKey>, Failure> {
    let most = i64::try_from(FindKeys::MAX).unwrap_or(i64::MAX);
    let found = store::key::anybodys(&keys.db, &by, most, keys.now()).await?;
    let (actor, request_id) = (context.actor(), &context.request_id);
    tracing::info!(target: "audit", service = NAME, actor, keys = found.len(), %request_id, "keys were looked up");
    let shown = found.into_iter().map(|key| {
        let KeyObject { id, name, state, owner, .. } = key;
        FoundKey { id, name, state, owner: owner.user() }
    });
    Ok(shown.collect())
}
