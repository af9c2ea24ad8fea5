//! Ending several keys at once: the reply comes when no edge accepts any of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use latchkey_bus::Context;
use latchkey_contract::keys::{KeyFilter, KeysRevoked, RevokeKeys, Which, rules};
use latchkey_contract::{Failure, FieldError, Refusal};

use crate::store::again;
use crate::store::revoke_many::{self, Many, ManyRevoked};
use crate::{Keys, NAME, acting, list};

/// A repeat takes in what its first try has ended and not every edge is known to know of.
pub(crate) async fn revoke(
    keys: Arc<Keys>,
    context: Context,
    request: RevokeKeys,
) -> Result<KeysRevoked, Failure> {
    check(&request)?;
    let caller = context.caller()?;
    acting::reads(caller, request.owner)?;
    let revoke = || revoke_many::revoke(&keys.db, &request, caller, keys.now());
    let outcome = Box::pin(again(revoke)).await?;
    let many = match outcome {
        ManyRevoked::Done(many) => many,
        ManyRevoked::Barred(barred) => return Err(barred.into()),
    };
    let Many { keys: ended, missing, more, change, unconfirmed } = many;
    let Some(change) = change else {
        return Ok(KeysRevoked { keys: ended, missing, more, changed: None });
    };
    let (user, actor, request_id) = (request.owner, context.actor(), &context.request_id);
    tracing::debug!(target: "audit", service = NAME, actor, %user, keys = ended.len(), %request_id, "keys were revoked");
    let db = keys.db.clone();
    let confirmed = async move { revoke_many::mark_confirmed(&db, &unconfirmed).await };
    let changed = Box::pin(keys.authority.answer(change, request.wait, confirmed)).await?;
    Ok(KeysRevoked { keys: ended, missing, more, changed: Some(changed) })
}

/// What is not named is not ended: a filter that says nothing would be of every key.
fn check(request: &RevokeKeys) -> Result<(), Refusal> {
    let named = match &request.which {
        Which::Ids(ids) => {
            let each: BTreeSet<_> = ids.iter().collect();
            let is_good = (1..=rules::MAX_ENDED).contains(&ids.len()) && each.len() == ids.len();
            let message = "must hold 1 to 1000 ids of keys, each once";
            if is_good { Ok(()) } else { Err(FieldError::new("ids", message)) }
        }
        Which::Filter(filter) if *filter == KeyFilter::default() => {
            let message = "must name at least one thing: an empty filter would end every key";
            Err(FieldError::new("filter", message))
        }
        Which::Filter(filter) => {
            list::check(filter)?;
            Ok(())
        }
    };
    let note = rules::note_of(request.note.as_deref());
    let faults: Vec<FieldError> = [named.err(), note.err()].into_iter().flatten().collect();
    if faults.is_empty() { Ok(()) } else { Err(Refusal::Invalid(faults)) }
}
