//! Ending a key: the reply comes when no edge accepts it any more.

use std::sync::Arc;

use latchkey_authority::Change;
use latchkey_bus::Context;
use latchkey_contract::authority::Changed;
use latchkey_contract::keys::{RevokeKey, RevokeShown, rules};
use latchkey_contract::{Actor, Caller, Failure, Owner, Refusal};

use crate::store::{self, Revoked, again};
use crate::{Keys, NAME};

/// Revoking twice is no error; a key that does not exist and one of another owner are the same. A retry
/// waits for the edges like the first try, unless that one was seen to its end.
pub(crate) async fn revoke(
    keys: Arc<Keys>,
    context: Context,
    request: RevokeKey,
) -> Result<Changed, Failure> {
    let caller = context.caller()?;
    rules::note_of(request.note.as_deref()).map_err(|fault| Refusal::Invalid(vec![fault]))?;
    let change = match again(|| store::revoke(&keys.db, &request, caller, keys.now())).await? {
        Revoked::Change(change) => change,
        Revoked::NotFound => return Err(Refusal::KeyNotFound.into()),
        Revoked::Barred(barred) => return Err(barred.into()),
    };
    answer(&keys, &context, &request, change).await
}

/// The same by whoever shows the key: to have it is enough (RFC 7009), and it acts on itself.
pub(crate) async fn revoke_shown(
    keys: Arc<Keys>,
    context: Context,
    request: RevokeShown,
) -> Result<Option<Changed>, Failure> {
    let caller = context.caller()?;
    let Some((key, owner)) = store::shown(&keys.db, request.hash, keys.now()).await? else {
        return Ok(None);
    };
    let actor = Actor::Key { id: key, owner: Owner::User(owner) };
    let by = Caller { actor, ..caller.clone() };
    let revoke = RevokeKey { is_self: true, ..RevokeKey::of(owner, key, true) };
    let change = match again(|| store::revoke(&keys.db, &revoke, &by, keys.now())).await? {
        Revoked::Change(change) => change,
        Revoked::NotFound => return Ok(None),
        Revoked::Barred(barred) => return Err(barred.into()),
    };
    answer(&keys, &context, &revoke, change).await.map(Some)
}

async fn answer(
    keys: &Keys,
    context: &Context,
    request: &RevokeKey,
    change: Change,
) -> Result<Changed, Failure> {
    let key = request.key;
    let (user, actor, request_id) = (request.owner, context.actor(), &context.request_id);
    tracing::debug!(target: "audit", service = NAME, actor, %user, %key, %request_id, "a key was revoked");
    let (db, revision) = (keys.db.clone(), change.revision());
    let confirmed = async move { store::mark_confirmed(&db, key, revision).await };
    Box::pin(keys.authority.answer(change, request.wait, confirmed)).await
}
