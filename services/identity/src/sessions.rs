//! The sessions of a user, as they see them, and the end of one of them.

use std::sync::Arc;

use latchkey_audit::Action;
use latchkey_bus::Context;
use latchkey_contract::Failure;
use latchkey_contract::authority::Receipt;
use latchkey_contract::identity::{EndSession, ListSessions, SessionPage};

use crate::store::session_list as rows;
use crate::{Identity, session};

/// A page of the sessions of whoever acts.
pub(crate) async fn list(
    identity: Arc<Identity>,
    context: Context,
    request: ListSessions,
) -> Result<SessionPage, Failure> {
    context.caller()?.acts_as(request.user)?;
    let name = || session::handle(&identity.entropy);
    Ok(rows::page(&identity.db, &request, name, identity.now()).await?)
}

/// Ends one of them, now or before. Another user's is none.
pub(crate) async fn end(
    identity: Arc<Identity>,
    context: Context,
    request: EndSession,
) -> Result<Option<Receipt>, Failure> {
    let caller = context.caller()?;
    caller.acts_as(request.user)?;
    let found = rows::find(&identity.db, request.user, &request.handle).await?;
    let Some(session) = found else { return Ok(None) };
    session::end(&identity, session, (Action::SessionEnded, caller)).await
}
