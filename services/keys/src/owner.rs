//! What the identity service tells of the owners of keys. It is told until it is confirmed, so it may come late
//! and more than once.

use std::sync::Arc;

use latchkey_bus::Context;
use latchkey_contract::authority::Receipt;
use latchkey_contract::keys::{ReadTelling, SetOwner, TellOwners, Telling};
use latchkey_contract::{Failure, FieldError, Refusal, Unavailable};

use crate::store::owner::{self as rows, Outcome};
use crate::store::telling;
use crate::{Keys, NAME};

/// What is told of one owner is of a history of which not all was told.
#[derive(Debug, thiserror::Error)]
#[error(
    "what is told of an owner is of a history of the identity service of which not all was told yet"
)]
struct Untold(#[source] Unavailable);

/// The keys of a deactivated user are refused until the user is reactivated. The reply comes when no edge
/// acts on the old state; a repeat waits like the first. What is older than what was told is refused.
pub(crate) async fn set(
    keys: Arc<Keys>,
    context: Context,
    request: SetOwner,
) -> Result<Receipt, Failure> {
    let change = match rows::set(&keys.db, &request, keys.now()).await? {
        Outcome::Set(change) => change,
        Outcome::Older => return Err(Refusal::Stale.into()),
        Outcome::Untold => return Err(Untold(Unavailable).into()),
    };
    let SetOwner { owner: user, disabled, .. } = request;
    let request_id = &context.request_id;
    tracing::debug!(target: "audit", service = NAME, %user, disabled, %request_id, "a user's keys were set");
    Ok(keys.authority.confirm(change, async { Ok(()) }).await)
}

/// How far owners were told of.
pub(crate) async fn telling(
    keys: Arc<Keys>,
    _: Context,
    ReadTelling: ReadTelling,
) -> Result<Telling, Failure> {
    Ok(telling::read(&keys.db).await?)
}

/// Takes a page of the owners who are deactivated. Of one that is not the page that comes next nothing is done; the
/// reply says in either case how far it is told now.
pub(crate) async fn tell(
    keys: Arc<Keys>,
    _: Context,
    page: TellOwners,
) -> Result<Telling, Failure> {
    check(&page)?;
    let Some(telling) = telling::take(&keys.db, &page, keys.now()).await? else {
        return Ok(telling::read(&keys.db).await?);
    };
    if telling.through.is_none() {
        tracing::info!(service = NAME, "the identity service has reported every owner");
    }
    Ok(telling)
}

fn check(page: &TellOwners) -> Result<(), Refusal> {
    let TellOwners { after, deactivated, more, .. } = page;
    let wrong = |fault: String| Refusal::Invalid(vec![FieldError::new("deactivated", fault)]);
    let ids = after.iter().chain(deactivated);
    if !ids.is_sorted_by(|one, next| one < next) {
        return Err(wrong("must rise, from behind `after`".to_owned()));
    }
    if deactivated.len() > TellOwners::MAX || *more && deactivated.is_empty() {
        return Err(wrong(format!(
            "must be at most {}, and one where more follow",
            TellOwners::MAX
        )));
    }
    Ok(())
}
