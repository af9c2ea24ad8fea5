//! Who API keys stand for: hashes are looked up together, as many as have queued up, by one statement.

use std::collections::HashMap;
use std::sync::Arc;

use latchkey_bus::Context;
use latchkey_contract::keys::VerifyKeys;
use latchkey_contract::lease::{MemberId, Standing};
use latchkey_contract::wire::MAX_BATCH;
use latchkey_contract::{
    CredentialHash, Failure, FieldError, KeyId, KeyPrincipal, Refusal, Timestamp, UserId, Verdict,
    Verdicts,
};
use latchkey_revocation::authority::{self, Snapshot};
use latchkey_runtime::batch::{AskError, Work};
use latchkey_store::Db;

use crate::Keys;
use crate::store::{self, VerifyRow};

/// Looks up keys by hash, many at a time.
pub struct Lookup {
    /// Where they are.
    pub db: Db,
}

/// The database did not answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("keys cannot be looked up: {0}")]
pub struct LookupError(Arc<sqlx::Error>);

impl Work for Lookup {
    type Item = (Vec<CredentialHash>, Option<MemberId>);
    type Answer = (Snapshot, Vec<Option<VerifyRow>>);
    type Error = LookupError;
    const MAX_WEIGHT: usize = 4 * MAX_BATCH;
    // A late statement does not hold everybody up, and the pools have as many connections.
    const IN_FLIGHT: usize = 2;
    const MAX_WAITING: usize = 1_024;

    fn weight((hashes, _): &Self::Item) -> usize {
        hashes.len()
    }

    async fn answer(&self, items: Vec<Self::Item>) -> Result<Vec<Self::Answer>, Self::Error> {
        let all = items.iter().flat_map(|(hashes, _)| hashes);
        let mut hashes: Vec<&[u8]> = all.map(|hash| hash.0.as_slice()).collect();
        hashes.sort_unstable();
        hashes.dedup();
        let askers = items.iter().filter_map(|(_, member)| member.as_ref());
        let mut members: Vec<&[u8]> = askers.map(|member| member.0.as_slice()).collect();
        members.sort_unstable();
        members.dedup();
        let found = store::find(&self.db, &hashes, &members).await;
        let (read, found) = found.map_err(|error| LookupError(error.into()))?;
        let found: HashMap<&[u8], &VerifyRow> =
            found.iter().map(|row| (row.hash.as_slice(), row)).collect();
        let look = |hash: &CredentialHash| found.get(hash.0.as_slice()).copied().cloned();
        let answer = |(hashes, member): &Self::Item| {
            (read.for_asker(*member), hashes.iter().map(look).collect())
        };
        Ok(items.iter().map(answer).collect())
    }
}

/// Answers one request's hashes, from one snapshot of the database.
pub(crate) async fn keys(
    keys: Arc<Keys>,
    _: Context,
    request: VerifyKeys,
) -> Result<Standing<Verdicts<KeyPrincipal>>, Failure> {
    if request.hashes.len() > MAX_BATCH {
        let fault = FieldError::new("hashes", format!("must be at most {MAX_BATCH}"));
        return Err(Refusal::Invalid(vec![fault]).into());
    }
    let asked = keys.lookup.ask((request.hashes, request.member)).await;
    let (snapshot, found) = asked.map_err(|error| match error {
        AskError::Overloaded | AskError::Gone => Failure::Overloaded,
        AskError::Failed(error) => Failure::from(error),
    })?;
    let now = keys.now();
    let verdicts = found.into_iter().map(|row| judge(row, now)).collect();
    Ok(match authority::verify(&snapshot, verdicts) {
        Standing::NotMember => Standing::NotMember,
        Standing::Member((read_at, verdicts)) => Standing::Member(Verdicts { read_at, verdicts }),
    })
}

/// What a key is worth at `now`, given its row.
fn judge(row: Option<VerifyRow>, now: Timestamp) -> Verdict<KeyPrincipal> {
    match row {
        None => Verdict::Unknown,
        Some(row) if row.revoked_at.is_some() => Verdict::Revoked,
        Some(row) if now.0 >= row.expires_at => Verdict::Expired,
        Some(row) if row.disabled_at.is_some() => Verdict::Inactive,
        Some(row) => Verdict::Valid(KeyPrincipal {
            key: KeyId(row.id),
            name: row.name.into(),
            owner: UserId(row.owner_id),
            expires_at: Timestamp(row.expires_at),
        }),
    }
}
