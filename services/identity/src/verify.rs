//! Who access tokens stand for. Signatures are checked here; sessions are looked up together, as many
//! as have queued up, by one statement.

use std::collections::HashMap;
use std::sync::Arc;

use latchkey_bus::Context;
use latchkey_contract::identity::VerifyTokens;
use latchkey_contract::wire::MAX_BATCH;
use latchkey_contract::{
    Failure, FieldError, Refusal, SessionId, Timestamp, UserId, UserPrincipal, Verdict,
};
use latchkey_runtime::batch::{AskError, Work};
use latchkey_store::Db;

use crate::Identity;
use crate::store::session::{self as rows, SessionRow};
use crate::token::{Claimed, Forged};

/// Looks up sessions, many at a time.
pub struct Lookup {
    /// Where they are.
    pub db: Db,
}

/// The database did not answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("sessions cannot be looked up: {0}")]
pub struct LookupError(Arc<sqlx::Error>);

impl Work for Lookup {
    type Item = Vec<SessionId>;
    type Answer = Vec<Option<SessionRow>>;
    type Error = LookupError;
    const MAX_WEIGHT: usize = 4 * MAX_BATCH;
    // One slow statement does not hold everybody up, and the pools have as many connections.
    const IN_FLIGHT: usize = 2;
    const MAX_WAITING: usize = 1_024;

    fn weight(item: &Self::Item) -> usize {
        item.len()
    }

    async fn answer(&self, items: Vec<Self::Item>) -> Result<Vec<Self::Answer>, Self::Error> {
        let mut ids: Vec<&[u8]> = items.iter().flatten().map(|id| id.0.as_slice()).collect();
        ids.sort_unstable();
        ids.dedup();
        let found = rows::find(&self.db, &ids).await.map_err(|error| LookupError(error.into()))?;
        let found: HashMap<&[u8], &SessionRow> =
            found.iter().map(|row| (row.id.as_slice(), row)).collect();
        let look = |id: &SessionId| found.get(id.0.as_slice()).copied().cloned();
        Ok(items.iter().map(|ids| ids.iter().map(look).collect()).collect())
    }
}

/// Answers one request's tokens.
pub(crate) async fn tokens(
    identity: Arc<Identity>,
    _: Context,
    request: VerifyTokens,
) -> Result<Vec<Verdict<UserPrincipal>>, Failure> {
    if request.tokens.len() > MAX_BATCH {
        let fault = FieldError::new("tokens", format!("must be at most {MAX_BATCH}"));
        return Err(Refusal::Invalid(vec![fault]).into());
    }
    let read: Vec<Result<Claimed, Forged>> =
        request.tokens.iter().map(|token| identity.tokens.read(token)).collect();
    let asked: Vec<SessionId> = read.iter().flatten().map(|claimed| claimed.session).collect();
    let mut found = if asked.is_empty() {
        Vec::new()
    } else {
        identity.sessions.ask(asked).await.map_err(|error| match error {
            AskError::Overloaded | AskError::Gone => Failure::Overloaded,
            AskError::Failed(error) => Failure::from(error),
        })?
    }
    .into_iter();
    let now = identity.now();
    let judged = read.into_iter().map(|claimed| match claimed {
        Err(Forged) => Verdict::Malformed,
        Ok(claimed) => judge(claimed, found.next().flatten(), now),
    });
    Ok(judged.collect())
}

/// What a genuine token is worth at `now`, given its session's row.
fn judge(claimed: Claimed, row: Option<SessionRow>, now: Timestamp) -> Verdict<UserPrincipal> {
    let Some(row) = row.filter(|row| row.user_id == claimed.user.0) else {
        return Verdict::Unknown;
    };
    if claimed.not_before.is_some_and(|start| now < start) {
        return Verdict::Malformed;
    }
    if row.ended_at.is_some() {
        return Verdict::Revoked;
    }
    let expires_at = claimed.expires_at.min(Timestamp(row.expires_at));
    if now >= expires_at {
        return Verdict::Expired;
    }
    if !row.is_active {
        return Verdict::Inactive;
    }
    Verdict::Valid(UserPrincipal {
        user: UserId(row.user_id),
        username: row.username,
        email: row.email,
        session: claimed.session,
        expires_at,
    })
}
