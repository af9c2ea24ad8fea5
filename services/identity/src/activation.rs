//! Deactivating an account, by an operator: its tokens and its keys are refused from the reply on.

use std::sync::Arc;

use latchkey_authority::Change;
use latchkey_bus::Context;
use latchkey_contract::authority::Receipt;
use latchkey_contract::identity::{
    ActiveSet, FindUser, NameUser, ReadUser, SetActive, UserName, UserState,
};
use latchkey_contract::{CallError, Failure, Refusal, UserId};

use crate::store::account as users;
use crate::store::activity::{self as rows, Outcome};
use crate::store::outbox::Letter;
use crate::{Identity, NAME, outbox, rules};

/// Commits here first, together with what the key service has to be told, and returns when no edge accepts
/// the tokens, nor the keys if the key service answers in time. If it does not, it is told until it has.
pub(crate) async fn set_active(
    identity: Arc<Identity>,
    context: Context,
    request: SetActive,
) -> Result<ActiveSet, Failure> {
    let caller = context.caller()?;
    let (change, letter) = match rows::set(&identity.db, &request, caller, identity.now()).await? {
        Outcome::Set { change, letter } => (change, letter),
        Outcome::Stale => return Err(Refusal::Stale.into()),
        Outcome::NoSuchUser => return Err(Refusal::UserNotFound.into()),
    };
    let SetActive { user, active, .. } = request;
    let (actor, request_id) = (context.actor(), &context.request_id);
    tracing::info!(target: "audit", service = NAME, actor, %user, active, %request_id, "an account was set");
    let (tokens, keys) = see_through(&identity, &context, change, (user, &letter)).await?;
    Ok(ActiveSet { user, tokens, keys })
}

/// Sees a change of an account to its end, here and at the key service; both receipts. `None`: the key service has not
/// confirmed it yet, and is told until it has.
///
/// # Errors
/// [`Refusal::Stale`] where something newer was decided.
pub(crate) async fn see_through(
    identity: &Identity,
    context: &Context,
    change: Change,
    (user, letter): (UserId, &Letter),
) -> Result<(Receipt, Option<Receipt>), Failure> {
    let (tokens, keys) = tokio::join!(
        identity.authority.confirm(change, async { Ok(()) }),
        outbox::deliver(&identity.db, (&identity.bus, identity.change_attempt()), context, letter),
    );
    match keys {
        Ok(keys) => Ok((tokens, Some(keys))),
        // Something newer was decided, and the key service was told of that first.
        Err(CallError::Refused(Refusal::Stale)) => Err(Refusal::Stale.into()),
        Err(error) => {
            let request_id = &context.request_id;
            tracing::warn!(%user, %request_id, %error, "the key service cannot be told yet of an account that was changed: it is told later");
            Ok((tokens, None))
        }
    }
}

/// The present state of a user, for a command of their own.
pub(crate) async fn read(
    identity: Arc<Identity>,
    context: Context,
    request: ReadUser,
) -> Result<UserState, Failure> {
    context.caller()?.acts_as(request.user)?;
    let state = users::state(&identity.db, request.user).await?;
    Ok(state.ok_or(Refusal::SessionEnded)?)
}

/// The same for an operator's.
pub(crate) async fn find(
    identity: Arc<Identity>,
    context: Context,
    request: FindUser,
) -> Result<UserState, Failure> {
    context.caller()?;
    let username = rules::typed_username(&request.username).ok_or(Refusal::UserNotFound)?;
    let state = users::state_by_name(&identity.db, &username).await?;
    Ok(state.ok_or(Refusal::UserNotFound)?)
}

/// What a user is called.
pub(crate) async fn name(
    identity: Arc<Identity>,
    _: Context,
    NameUser { user }: NameUser,
) -> Result<UserName, Failure> {
    let username = users::name(&identity.db, user).await?.ok_or(Refusal::UserNotFound)?;
    Ok(UserName { username })
}
