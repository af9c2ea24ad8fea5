//! Ending a session by a token of it, whoever shows that: to have it is enough (RFC 7009), and a refresh token that two
//! have is of no use to either.

use std::sync::Arc;

use latchkey_audit::Action;
use latchkey_bus::Context;
use latchkey_contract::authority::Receipt;
use latchkey_contract::identity::RevokeToken;
use latchkey_contract::{Actor, Caller, Failure, Secret, SessionId, UserId, Verdict};

use crate::refresh::session_of;
use crate::{Identity, NAME, session, verify};

/// Ends the session that a token is of, and returns when no edge accepts any of its tokens. `None`: nobody accepts it, and
/// no session of it is waited for.
pub(crate) async fn revoke(
    identity: Arc<Identity>,
    context: Context,
    request: RevokeToken,
) -> Result<Option<Receipt>, Failure> {
    let caller = context.caller()?;
    let RevokeToken { token, reused } = request;
    let (session, user) = match session_of(&identity, &token, reused).await? {
        Some(holder) => (holder.session, holder.user),
        None if reused => return Ok(None),
        None => match of_access_token(&identity, &context, &token).await? {
            Some(found) => found,
            None => return Ok(None),
        },
    };
    // Whoever shows it acts by it, as by any token of the session.
    let by = Caller { actor: Actor::User { id: user, session }, ..caller.clone() };
    let action = if reused { Action::SessionRefreshReused } else { Action::SessionEnded };
    let ended = session::end(&identity, session, (action, &by)).await?;
    tracing::debug!(target: "audit", service = NAME, actor = by.actor.kind(), %user, request_id = %context.request_id, reused, "a session was ended by a token of it");
    Ok(ended)
}

/// The session of an access token that is accepted, or whose session has ended: a repeat waits like the first.
async fn of_access_token(
    identity: &Identity,
    context: &Context,
    token: &Secret,
) -> Result<Option<(SessionId, UserId)>, Failure> {
    let found = verify::token(identity, context, token).await?;
    let is_it = |(_, verdict): &(_, _)| matches!(verdict, Verdict::Valid(_) | Verdict::Revoked);
    Ok(found.filter(is_it).map(|(verified, _)| (verified.session, verified.user)))
}
