//! What a user may do and grant to keys at most, set by an operator: from the reply on their tokens and keys may do no
//! more.

use std::sync::Arc;

use latchkey_bus::Context;
use latchkey_contract::identity::{CeilingSet, SetCeiling};
use latchkey_contract::refusal::Conflict;
use latchkey_contract::{Failure, FieldError, Refusal, Scopes};

use crate::activation::see_through;
use crate::store::activity::Outcome;
use crate::store::ceiling as rows;
use crate::{Identity, NAME, release, role_scopes};

/// Commits here first, like a deactivation, and returns when no edge lets a token or a key do more.
pub(crate) async fn set(
    identity: Arc<Identity>,
    context: Context,
    request: SetCeiling,
) -> Result<CeilingSet, Failure> {
    let caller = context.caller()?;
    let user = request.user;
    if let Some(ceiling) = &request.ceiling {
        Scopes::of(ceiling.iter()).map_err(|error| {
            Refusal::Invalid(vec![FieldError::new("ceiling", error.to_string())])
        })?;
        role_scopes::check(ceiling).map_err(|error| {
            Refusal::Invalid(vec![FieldError::new("ceiling", error.to_string())])
        })?;
        if !release::knows_scopes(&identity.db).await? {
            return Err(Refusal::Conflict(Conflict::OlderRelease).into());
        }
    }
    let (change, letter) = match rows::set(&identity.db, &request, caller, identity.now()).await? {
        Outcome::Set { change, letter } => (change, letter),
        Outcome::Stale => return Err(Refusal::Stale.into()),
        Outcome::NoSuchUser => return Err(Refusal::UserNotFound.into()),
    };
    let (actor, request_id) = (context.actor(), &context.request_id);
    tracing::info!(target: "audit", service = NAME, actor, %user, %request_id, "a user's ceiling was set");
    let (tokens, keys) = see_through(&identity, &context, change, (user, &letter)).await?;
    Ok(CeilingSet { user, tokens, keys })
}
