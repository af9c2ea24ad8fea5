//! Who API keys stand for: hashes are looked up together, as many as have queued up, by one statement.

use std::collections::HashMap;
use std::sync::Arc;

use latchkey_bus::Context;
use latchkey_contract::keys::VerifyKeys;
use latchkey_contract::wire::MAX_BATCH;
use latchkey_contract::{
    CredentialHash, Failure, FieldError, KeyId, KeyPrincipal, Refusal, Timestamp, UserId, Verdict,
};
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
    type Item = Vec<CredentialHash>;
    type Answer = Vec<Option<VerifyRow>>;
    type Error = LookupError;
    const MAX_WEIGHT: usize = 4 * MAX_BATCH;
    // One slow statement does not hold everybody up, and the pools have as many connections.
    const IN_FLIGHT: usize = 2;
    const MAX_WAITING: usize = 1_024;

    fn weight(item: &Self::Item) -> usize {
        item.len()
    }

    async fn answer(&self, items: Vec<Self::Item>) -> Result<Vec<Self::Answer>, Self::Error> {
        let mut hashes: Vec<&[u8]> = items.iter().flatten().map(|hash| hash.0.as_slice()).collect();
        hashes.sort_unstable();
        hashes.dedup();
        let found =
            store::find(&self.db, &hashes).await.map_err(|error| LookupError(error.into()))?;
        let found: HashMap<&[u8], &VerifyRow> =
            found.iter().map(|row| (row.hash.as_slice(), row)).collect();
        let look = |hash: &CredentialHash| found.get(hash.0.as_slice()).copied().cloned();
        Ok(items.iter().map(|hashes| hashes.iter().map(look).collect()).collect())
    }
}

/// Answers one request's hashes.
pub(crate) async fn keys(
    keys: Arc<Keys>,
    _: Context,
    request: VerifyKeys,
) -> Result<Vec<Verdict<KeyPrincipal>>, Failure> {
    if request.hashes.len() > MAX_BATCH {
        let fault = FieldError::new("hashes", format!("must be at most {MAX_BATCH}"));
        return Err(Refusal::Invalid(vec![fault]).into());
    }
    let found = keys.lookup.ask(request.hashes).await.map_err(|error| match error {
        AskError::Overloaded | AskError::Gone => Failure::Overloaded,
        AskError::Failed(error) => Failure::from(error),
    })?;
    let now = keys.now();
    Ok(found.into_iter().map(|row| judge(row, now)).collect())
}

/// What a key is worth at `now`, given its row.
fn judge(row: Option<VerifyRow>, now: Timestamp) -> Verdict<KeyPrincipal> {
    match row {
        None => Verdict::Unknown,
        Some(row) if row.revoked_at.is_some() => Verdict::Revoked,
        Some(row) if now.0 >= row.expires_at => Verdict::Expired,
        Some(row) => Verdict::Valid(KeyPrincipal {
            key: KeyId(row.id),
            name: row.name,
            owner: UserId(row.owner_id),
            expires_at: Timestamp(row.expires_at),
        }),
    }
}
