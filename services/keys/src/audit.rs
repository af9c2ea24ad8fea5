//! What a user sees of the log of events on keys.

use std::sync::Arc;

use latchkey_audit::list;
use latchkey_bus::Context;
use latchkey_contract::Failure;
use latchkey_contract::audit::{EventPage, ListEvents};
use latchkey_contract::keys::KeysAuthority;

use crate::{Keys, store};

pub(crate) async fn list(
    keys: Arc<Keys>,
    context: Context,
    request: ListEvents<KeysAuthority>,
) -> Result<EventPage, Failure> {
    context.caller()?.acts_as(request.owner)?;
    list::check(&request)?;
    Ok(list::page(&keys.db, &store::LISTING, &request).await?)
}
