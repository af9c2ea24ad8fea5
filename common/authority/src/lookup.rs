//! Looks up what verifications ask for: as many as have queued up, by one statement, so that each request is answered
//! from one snapshot of the database.

use std::collections::HashMap;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use latchkey_contract::authority::Authority as Named;
use latchkey_contract::lease::MemberResult;
use latchkey_contract::wire::MAX_BATCH;
use latchkey_contract::{Failure, Principal, Verdict, Verdicts};
use latchkey_revocation::authority::{self, Snapshot};
use latchkey_runtime::batch::{AskError, BatchClient, Work};
use latchkey_store::{Db, StoreError};

use crate::{MemberKey, Read};

/// The rows behind an authority's verdicts.
pub trait Rows: Send + Sync + 'static {
    /// What a row is found by.
    type Id: Send + Sync + 'static;
    /// What a verdict needs of it.
    type Row: Clone + Send + Sync + 'static;

    /// The bytes that the statement is given.
    fn id(id: &Self::Id) -> &[u8];

    /// Those of a row that was found.
    fn id_of(row: &Self::Row) -> &[u8];

    /// The rows with these ids, those that exist, and which of the members there are, from one snapshot.
    fn find(
        db: &Db,
        ids: &[&[u8]],
        members: &[&[u8]],
    ) -> impl Future<Output = Result<(Read, Vec<Self::Row>), StoreError>> + Send;
}

/// Looks rows up, many at a time.
pub struct Lookup<R> {
    db: Db,
    rows: PhantomData<fn() -> R>,
}

/// What was found for one request, all of it in one snapshot.
#[derive(Clone, Debug)]
pub struct LookupAnswer<R> {
    snapshot: Snapshot,
    /// What every verdict depends on besides its credential's row ([`Read::facts`]).
    pub facts: Arc<[Vec<u8>]>,
    /// The rows, in the order of the question.
    pub rows: Vec<Option<R>>,
}

/// The database did not answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("credentials cannot be looked up")]
pub struct LookupError(#[source] Arc<StoreError>);

impl<R: Rows> Lookup<R> {
    /// Looks up in `db`.
    #[must_use]
    pub fn new(db: Db) -> Self {
        Self { db, rows: PhantomData }
    }
}

impl<R: Rows> Work for Lookup<R> {
    type Item = (Vec<R::Id>, Option<MemberKey>);
    type Answer = LookupAnswer<R::Row>;
    type Error = LookupError;
    const MAX_WEIGHT: usize = 4 * MAX_BATCH;
    // A late statement does not hold everybody up, and the pools have as many connections.
    const IN_FLIGHT: usize = 2;
    const MAX_WAITING: usize = 1_024;

    fn weight((ids, _): &Self::Item) -> usize {
        ids.len().max(1)
    }

    async fn answer(&self, items: Vec<Self::Item>) -> Result<Vec<Self::Answer>, Self::Error> {
        let mut ids: Vec<&[u8]> = items.iter().flat_map(|(ids, _)| ids).map(R::id).collect();
        ids.sort_unstable();
        ids.dedup();
        let askers = items.iter().filter_map(|(_, member)| member.as_ref());
        let mut members: Vec<&[u8]> = askers.map(|member| member.id.0.as_slice()).collect();
        members.sort_unstable();
        members.dedup();
        let found = R::find(&self.db, &ids, &members).await;
        let (read, found) = found.map_err(|error| LookupError(error.into()))?;
        let found: HashMap<&[u8], &R::Row> = found.iter().map(|row| (R::id_of(row), row)).collect();
        let facts: Arc<[Vec<u8>]> = read.facts().into();
        let answer = |(ids, member): &Self::Item| LookupAnswer {
            snapshot: read.for_asker(member.as_ref()),
            facts: Arc::clone(&facts),
            rows: ids.iter().map(|id| found.get(R::id(id)).copied().cloned()).collect(),
        };
        Ok(items.iter().map(answer).collect())
    }
}

/// What the rows with these ids say to `member`.
///
/// # Errors
/// [`Failure::Overloaded`] where too many wait already; any other where the database did not answer.
pub async fn look_up<R: Rows>(
    lookup: &BatchClient<Lookup<R>>,
    ids: Vec<R::Id>,
    member: Option<MemberKey>,
) -> Result<LookupAnswer<R::Row>, Failure> {
    lookup.ask((ids, member)).await.map_err(|error| match error {
        AskError::Overloaded | AskError::Gone => Failure::Overloaded,
        AskError::Failed(error) => Failure::from(error),
    })
}

impl<R> LookupAnswer<R> {
    /// Answers with these verdicts, `None` where this process cannot judge, unless whoever asked is no member.
    #[must_use]
    pub fn answer<A: Named>(
        &self,
        verdicts: Vec<Option<Verdict<Principal>>>,
    ) -> MemberResult<Verdicts<A>> {
        match authority::verify(&self.snapshot, verdicts) {
            MemberResult::NotMember => MemberResult::NotMember,
            MemberResult::Member((read_at, verdicts)) => {
                MemberResult::Member(Verdicts::in_part(read_at, verdicts))
            }
        }
    }
}

#[cfg(test)]
mod tests;
