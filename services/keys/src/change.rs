//! Changing, disabling and enabling a key: the reply comes when no edge acts on what was before.

use std::sync::Arc;

use latchkey_bus::Context;
use latchkey_contract::keys::{KeyChanged, KeyPatch, SetKeyEnabled, UpdateKey, rules};
use latchkey_contract::{Failure, FieldError, KeyId, Refusal};

use crate::store::acting::Barred;
use crate::store::held::{self, Done};
use crate::store::update::Allowed;
use crate::store::{again, state, update};
use crate::{Keys, NAME};

/// A message that comes twice changes nothing and waits like the first; one that comes after something newer is refused.
pub(crate) async fn update(
    keys: Arc<Keys>,
    context: Context,
    request: UpdateKey,
) -> Result<KeyChanged, Failure> {
    let caller = context.caller()?;
    let UpdateKey { target, patch, wait } = request;
    let (key, user) = (target.key, target.owner);
    let request = UpdateKey { target, patch: checked(patch)?, wait };
    let may_restrict = keys.restrictions.are_known(&keys.db).await?;
    let allowed = Allowed { max_days: keys.config.max_days, may_restrict };
    let update = || update::update(&keys.db, &request, allowed, caller, keys.now());
    let done = again(update).await?;
    let (actor, request_id) = (context.actor(), &context.request_id);
    tracing::debug!(target: "audit", service = NAME, actor, %user, %key, %request_id, "a key is to be changed");
    answer(&keys, key, done, wait).await
}

/// The same of a key that is to be refused, or accepted again.
pub(crate) async fn set_enabled(
    keys: Arc<Keys>,
    context: Context,
    request: SetKeyEnabled,
) -> Result<KeyChanged, Failure> {
    let caller = context.caller()?;
    rules::note_of(request.note.as_deref()).map_err(|fault| Refusal::Invalid(vec![fault]))?;
    let (key, user, enabled) = (request.target.key, request.target.owner, request.enabled);
    let may_restrict = keys.restrictions.are_known(&keys.db).await?;
    let set = || state::set(&keys.db, &request, may_restrict, caller, keys.now());
    let done = again(set).await?;
    let (actor, request_id) = (context.actor(), &context.request_id);
    tracing::debug!(target: "audit", service = NAME, actor, %user, %key, enabled, %request_id, "a key's state is to be set");
    answer(&keys, key, done, request.wait).await
}

async fn answer(
    keys: &Arc<Keys>,
    key: KeyId,
    done: Result<Done, Barred>,
    wait: bool,
) -> Result<KeyChanged, Failure> {
    let Done { object, change } = done?;
    let Some(change) = change else { return Ok(KeyChanged { object, changed: None }) };
    let (db, revision) = (keys.db.clone(), change.revision());
    let settled = async move { held::settle(&db, key, revision).await };
    let changed = Box::pin(keys.authority.answer(change, wait, settled)).await?;
    Ok(KeyChanged { object, changed: Some(changed) })
}

/// A patch whose fields keep their rules.
fn checked(mut patch: KeyPatch) -> Result<KeyPatch, Refusal> {
    let mut faults: Vec<FieldError> = Vec::new();
    if let Some(name) = patch.name.take() {
        match rules::name(Some(&name)) {
            Ok(name) => patch.name = Some(name),
            Err(fault) => faults.push(fault),
        }
    }
    if let Some(tags) = patch.tags.take() {
        match rules::tags(tags) {
            Ok(tags) => patch.tags = Some(tags),
            Err(fault) => faults.push(fault),
        }
    }
    faults.extend(patch.description.as_deref().and_then(|text| rules::description(text).err()));
    let external_id = patch.external_id.as_ref().and_then(Option::as_deref);
    faults.extend(external_id.and_then(|text| rules::external_id(text).err()));
    if faults.is_empty() { Ok(patch) } else { Err(Refusal::Invalid(faults)) }
}
