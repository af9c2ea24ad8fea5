//! Ending a key, or all keys of a user: the reply comes when no edge accepts them any more.

use std::sync::Arc;

use latchkey_bus::Context;
use latchkey_contract::authority::{Changed, Receipt};
use latchkey_contract::keys::{DisableOwner, RevokeKey};
use latchkey_contract::{Failure, Refusal};

use crate::{Keys, NAME, store};

/// Revoking twice is no error; a key that does not exist and one of another owner are the same. A retry
/// waits for the edges like the first try, unless that one was seen to its end.
pub(crate) async fn revoke(
    keys: Arc<Keys>,
    context: Context,
    request: RevokeKey,
) -> Result<Changed, Failure> {
    let key = request.key;
    let change = store::revoke(&keys.db, request.owner, key, keys.now()).await?;
    let change = change.ok_or(Refusal::KeyNotFound)?;
    let (user, request_id) = (request.owner, &context.request_id);
    tracing::debug!(target: "audit", service = NAME, %user, %key, %request_id, "a key was revoked");
    let (db, position) = (keys.db.clone(), change.position());
    let settle = async move { store::settle(&db, key, position).await };
    Box::pin(keys.authority.answer(change, request.wait, settle)).await
}

/// The keys of a deactivated user are refused until the user is reactivated.
pub(crate) async fn disable_owner(
    keys: Arc<Keys>,
    context: Context,
    request: DisableOwner,
) -> Result<Receipt, Failure> {
    let DisableOwner { owner: user, disabled } = request;
    let change = store::disable(&keys.db, user, disabled, keys.now()).await?;
    let request_id = &context.request_id;
    tracing::debug!(target: "audit", service = NAME, %user, disabled, %request_id, "a user's keys were set");
    Ok(keys.authority.confirm(change, async { Ok(()) }).await)
}
