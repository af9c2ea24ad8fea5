//! Ending a key.

use std::sync::Arc;

use latchkey_bus::Context;
use latchkey_contract::keys::RevokeKey;
use latchkey_contract::{Failure, Refusal};

use crate::{Keys, NAME, store};

/// Revoking twice is no error; a key that does not exist and one of another owner are the same.
pub(crate) async fn revoke(
    keys: Arc<Keys>,
    context: Context,
    request: RevokeKey,
) -> Result<(), Failure> {
    if !store::revoke(&keys.db, request.owner, request.key, keys.now()).await? {
        return Err(Refusal::KeyNotFound.into());
    }
    let (user, key, request_id) = (request.owner, request.key, &context.request_id);
    tracing::debug!(target: "audit", service = NAME, %user, %key, %request_id, "a key was revoked");
    Ok(())
}
