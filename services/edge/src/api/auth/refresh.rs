//! Refreshing a session, as JSON and as OAuth have it.

use latchkey_bus::Context;
use latchkey_contract::identity::{LoggedIn, Refresh, Refreshed, RevokeToken};
use latchkey_contract::{CallError, RefreshToken, Refusal, Secret};

use crate::state::Edge;

/// The next tokens of the session that a refresh token is of. Where the token was used before, two have it: the session is
/// ended before this returns.
///
/// # Errors
/// [`Refusal::SessionEnded`] for any token that is not accepted; others where nobody could say, or the scope is wrong.
pub(in crate::api) async fn next_tokens(
    edge: &Edge,
    context: &Context,
    token: String,
    scope: Option<String>,
) -> Result<LoggedIn, CallError> {
    let token = Secret::new(token);
    if RefreshToken::parse(&token).is_err() {
        return Err(CallError::Refused(Refusal::SessionEnded));
    }
    let request = Refresh { token, scope, mark: edge.mark() };
    match edge.bus.call(context, &request).await? {
        Refreshed::Next(login) => Ok(login),
        Refreshed::Reused => {
            edge.change(context, &RevokeToken { token: request.token, reused: true }).await?;
            Err(CallError::Refused(Refusal::SessionEnded))
        }
    }
}
