//! Deactivating an account, by an operator: its tokens and its keys are refused from the reply on.

use std::sync::Arc;

use latchkey_bus::Context;
use latchkey_contract::identity::{ActiveSet, SetActive};
use latchkey_contract::keys::DisableOwner;
use latchkey_contract::{CallError, Failure, Refusal};

use crate::store::account as users;
use crate::{Identity, NAME, rules};

/// Commits here first, then has the key service do the same, and returns when no edge accepts either.
/// Whatever fails half-way is done again by a retry.
pub(crate) async fn set_active(
    identity: Arc<Identity>,
    context: Context,
    request: SetActive,
) -> Result<ActiveSet, Failure> {
    let username = rules::canonical_username(&request.username).ok_or(Refusal::UserNotFound)?;
    let active = request.active;
    let set = users::set_active(&identity.db, &username, active, identity.now()).await?;
    let (user, change) = set.ok_or(Refusal::UserNotFound)?;
    let request_id = &context.request_id;
    tracing::info!(target: "audit", service = NAME, %user, active, %request_id, "an account was set");
    let disable = DisableOwner { owner: user, disabled: !active };
    let (tokens, keys) = tokio::join!(
        identity.authority.confirm(change, async { Ok(()) }),
        identity.bus.call(&context, &disable),
    );
    let keys = keys.map_err(|error| match error {
        CallError::Refused(refusal) => Failure::Refused(refusal),
        other => Failure::Unavailable(Box::new(other)),
    })?;
    Ok(ActiveSet { user, tokens, keys })
}
