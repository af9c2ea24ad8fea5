//! What a user sees of the log of events on accounts and sessions. That they read the log, this one and the key service's, is an
//! event of this one, once for each user and hour.

use std::sync::Arc;

use latchkey_audit::list;
use latchkey_bus::Context;
use latchkey_contract::Failure;
use latchkey_contract::audit::{EventPage, ListEvents};
use latchkey_contract::identity::IdentityAuthority;

use crate::{Identity, store};

pub(crate) async fn list(
    identity: Arc<Identity>,
    context: Context,
    request: ListEvents<IdentityAuthority>,
) -> Result<EventPage, Failure> {
    let caller = context.caller()?;
    caller.acts_as(request.owner)?;
    list::check(&request)?;
    // First, so that it is on the page.
    store::reads::note(&identity.db, request.owner, caller, identity.now()).await?;
    Ok(list::page(&identity.db, &store::LISTING, &request).await?)
}
