//! Taking away what is said of a revoked key.

use std::sync::Arc;

use latchkey_bus::Context;
use latchkey_contract::Failure;
use latchkey_contract::keys::PurgeKey;

use crate::store::purge as rows;
use crate::{Keys, NAME};

/// A key that was purged is purged; one that lives, or of whose end not every edge knows, is not.
pub(crate) async fn purge(
    keys: Arc<Keys>,
    context: Context,
    request: PurgeKey,
) -> Result<(), Failure> {
    rows::purge(&keys.db, &request, context.caller()?, keys.now()).await??;
    let PurgeKey { owner: user, key } = request;
    let (actor, request_id) = (context.actor(), &context.request_id);
    tracing::debug!(target: "audit", service = NAME, actor, %user, %key, %request_id, "a key was purged");
    Ok(())
}
