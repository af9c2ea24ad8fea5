//! What the identity service tells of the owners of keys: whether they are deactivated, and what their keys may do at
//! most. It is told until it is confirmed, so it may come late and more than once.
//!
//! A ceiling that takes something away holds only once no older release may use the tables: such a one goes on
//! accepting keys for everything. Until then whoever tells is told that it is not done, and tells again.

use std::sync::Arc;

use latchkey_bus::Context;
use latchkey_contract::authority::Receipt;
use latchkey_contract::keys::{ReadTelling, SetDefaultCeiling, SetOwner, TellOwners, Telling};
use latchkey_contract::{Failure, FieldError, Refusal, Scopes, Unavailable};

use crate::store::owner::{self as rows, Outcome};
use crate::store::telling;
use crate::{Keys, NAME};

/// What is told of one owner is of a history of which not all was told.
#[derive(Debug, thiserror::Error)]
#[error(
    "what is told of an owner is of a history of the identity service of which not all was told yet"
)]
struct Untold(#[source] Unavailable);

/// A ceiling is not taken yet.
#[derive(Debug, thiserror::Error)]
#[error(
    "a ceiling takes something away, and an older release that knows nothing of it may use the tables of keys: it holds \
     when none may any more (`latchkey-keys migrate --finish`)"
)]
struct OlderRelease(#[source] Unavailable);

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
    let receipt = keys.authority.confirm(change, async { Ok(()) }).await;
    // Whether the user may act holds from now on in every release: it waits for nothing. That the ceiling holds is said once
    // it does.
    if request.ceiling.is_some() {
        understood(&keys).await?;
    }
    Ok(receipt)
}

/// No key whose owner has no ceiling of their own does more. The reply comes when no edge acts on the old state.
pub(crate) async fn set_default(
    keys: Arc<Keys>,
    _: Context,
    request: SetDefaultCeiling,
) -> Result<Receipt, Failure> {
    if restricts(&request.ceiling) {
        understood(&keys).await?;
    }
    let change = match rows::set_default(&keys.db, &request).await? {
        Outcome::Set(change) => change,
        Outcome::Older => return Err(Refusal::Stale.into()),
        Outcome::Untold => return Err(Untold(Unavailable).into()),
    };
    let scopes = request.ceiling.as_text();
    tracing::info!(target: "audit", service = NAME, scopes, "the ceiling of all users was set");
    Ok(keys.authority.confirm(change, async { Ok(()) }).await)
}

/// Whether some key may do less under it than before there were ceilings.
fn restricts(ceiling: &Scopes) -> bool {
    !Scopes::everything().is_within(ceiling)
}

/// Fails while an older release may use the tables.
async fn understood(keys: &Keys) -> Result<(), Failure> {
    if keys.ceilings.are_known(&keys.db).await? {
        Ok(())
    } else {
        Err(OlderRelease(Unavailable).into())
    }
}

/// How far owners were told of.
pub(crate) async fn telling(
    keys: Arc<Keys>,
    _: Context,
    ReadTelling: ReadTelling,
) -> Result<Telling, Failure> {
    Ok(telling::read(&keys.db).await?)
}

/// Takes a page of the owners who are deactivated or have a ceiling of their own. Of one that is not the page that comes next nothing is done; the
/// reply says in either case how far it is told now.
pub(crate) async fn tell(
    keys: Arc<Keys>,
    _: Context,
    page: TellOwners,
) -> Result<Telling, Failure> {
    check(&page)?;
    let mut ceilings = page.owners.iter().filter_map(|told| told.ceiling.as_ref());
    if ceilings.next().is_some() || page.default_ceiling.as_ref().is_some_and(restricts) {
        understood(&keys).await?;
    }
    let Some(telling) = telling::take(&keys.db, &page, keys.now()).await? else {
        return Ok(telling::read(&keys.db).await?);
    };
    if telling.through.is_none() {
        tracing::info!(service = NAME, "the identity service has reported every owner");
    }
    Ok(telling)
}

fn check(page: &TellOwners) -> Result<(), Refusal> {
    let TellOwners { after, owners, more, .. } = page;
    let wrong = |fault: String| Refusal::Invalid(vec![FieldError::new("owners", fault)]);
    let ids = after.iter().copied().chain(owners.iter().map(|told| told.owner));
    if !ids.is_sorted_by(|one, next| one < next) {
        return Err(wrong("must rise, from behind `after`".to_owned()));
    }
    if owners.len() > TellOwners::MAX || *more && owners.is_empty() {
        return Err(wrong(format!(
            "must be at most {}, and one where more follow",
            TellOwners::MAX
        )));
    }
    Ok(())
}
