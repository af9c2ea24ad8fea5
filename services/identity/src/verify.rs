//! Who access tokens stand for. Signatures are checked here; sessions are looked up together, as many
//! as have queued up, by one statement.

use std::collections::HashMap;
use std::sync::Arc;

use latchkey_bus::Context;
use latchkey_contract::identity::VerifyTokens;
use latchkey_contract::lease::{MemberId, Standing};
use latchkey_contract::wire::MAX_BATCH;
use latchkey_contract::{
    CredentialHash, Failure, FieldError, Refusal, Secret, SessionId, Timestamp, UserId,
    UserPrincipal, Verdict, Verdicts,
};
use latchkey_revocation::authority::{self, Snapshot};
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
    type Item = (Vec<SessionId>, Option<MemberId>);
    type Answer = (Snapshot, Vec<Option<SessionRow>>);
    type Error = LookupError;
    const MAX_WEIGHT: usize = 4 * MAX_BATCH;
    // A late statement does not hold everybody up, and the pools have as many connections.
    const IN_FLIGHT: usize = 2;
    const MAX_WAITING: usize = 1_024;

    fn weight((sessions, _): &Self::Item) -> usize {
        sessions.len().max(1)
    }

    async fn answer(&self, items: Vec<Self::Item>) -> Result<Vec<Self::Answer>, Self::Error> {
        let all = items.iter().flat_map(|(sessions, _)| sessions);
        let mut ids: Vec<&[u8]> = all.map(|id| id.0.as_slice()).collect();
        ids.sort_unstable();
        ids.dedup();
        let askers = items.iter().filter_map(|(_, member)| member.as_ref());
        let mut members: Vec<&[u8]> = askers.map(|member| member.0.as_slice()).collect();
        members.sort_unstable();
        members.dedup();
        let found = rows::find(&self.db, &ids, &members).await;
        let (read, found) = found.map_err(|error| LookupError(error.into()))?;
        let found: HashMap<&[u8], &SessionRow> =
            found.iter().map(|row| (row.id.as_slice(), row)).collect();
        let look = |id: &SessionId| found.get(id.0.as_slice()).copied().cloned();
        let answer = |(sessions, member): &Self::Item| {
            (read.for_asker(*member), sessions.iter().map(look).collect())
        };
        Ok(items.iter().map(answer).collect())
    }
}

/// Answers one request's tokens, from one snapshot of the database.
pub(crate) async fn tokens(
    identity: Arc<Identity>,
    _: Context,
    request: VerifyTokens,
) -> Result<Standing<Verdicts<UserPrincipal>>, Failure> {
    if request.tokens.len() > MAX_BATCH {
        let fault = FieldError::new("tokens", format!("must be at most {MAX_BATCH}"));
        return Err(Refusal::Invalid(vec![fault]).into());
    }
    let read: Vec<Result<Claimed, Forged>> =
        request.tokens.iter().map(|token| identity.tokens.read(token)).collect();
    let asked: Vec<SessionId> = read.iter().flatten().map(|claimed| claimed.session).collect();
    let found = identity.sessions.ask((asked, request.member)).await;
    let (snapshot, found) = found.map_err(|error| match error {
        AskError::Overloaded | AskError::Gone => Failure::Overloaded,
        AskError::Failed(error) => Failure::from(error),
    })?;
    let (mut found, now) = (found.into_iter(), identity.now());
    let judged = request.tokens.iter().zip(read).map(|(token, claimed)| match claimed {
        Err(Forged) => Verdict::Malformed,
        Ok(claimed) => judge(token, claimed, found.next().flatten(), now),
    });
    let verdicts = judged.collect();
    Ok(match authority::verify(&snapshot, verdicts) {
        Standing::NotMember => Standing::NotMember,
        Standing::Member((read_at, verdicts)) => Standing::Member(Verdicts { read_at, verdicts }),
    })
}

/// What a genuine token is worth at `now`, given its session's row.
fn judge(
    token: &Secret,
    claimed: Claimed,
    row: Option<SessionRow>,
    now: Timestamp,
) -> Verdict<UserPrincipal> {
    let Some(row) = row.filter(|row| row.user_id == claimed.user.0) else {
        return Verdict::Unknown;
    };
    // Sessions from before their tokens' hashes were kept are invalidated by owner.
    let hash = CredentialHash::of(token.expose());
    let is_original = row.token_hash.is_none_or(|own| own == hash.0);
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
        username: row.username.into(),
        email: row.email.into(),
        session: claimed.session,
        is_original,
        expires_at,
    })
}
