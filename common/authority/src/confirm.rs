//! A change from its commit to its receipt: it returns when no edge can rely on anything older.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use latchkey_bus::limit::Permit;
use latchkey_contract::authority::{
    Authority as Named, Changed, Invalidating, Receipt as Confirmation,
};
use latchkey_contract::lease::{Acknowledge, Invalidate, Invalidation, MemberId};
use latchkey_contract::wire::{self, WireError};
use latchkey_contract::{CredentialHash, Failure};
use latchkey_revocation::revoker::{Commit, Revocation, Step};
use latchkey_revocation::{Moment, Receipt};
use latchkey_store::StoreError;
use metrics::{counter, histogram};
use tokio::sync::mpsc;

use crate::acknowledgements::Heard;
use crate::awaited::Awaited;
use crate::store::Member;
use crate::{Authority, Change, RETIRED};

impl<A: Named> Authority<A> {
    /// Answers for a change: after every edge is past it, or at once where the sender does not wait. When
    /// it is over, `mark_confirmed` is run: it marks the change as seen to its end.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] where too many unwatched changes are under way already: the change stands, so it is not
    /// [`Failure::Overloaded`], which says that nothing was done. A retry waits for it.
    pub async fn answer<F>(
        self: &Arc<Self>,
        change: Change,
        wait: bool,
        mark_confirmed: F,
    ) -> Result<Changed, Failure>
    where
        F: Future<Output = Result<(), StoreError>> + Send + 'static,
    {
        if wait {
            return Ok(Changed::Confirmed(self.confirm(change, mark_confirmed).await));
        }
        let too_many =
            || Failure::Unavailable("too many changes are seen to their end already".into());
        let permit = self.unwatched.try_enter().ok_or_else(too_many)?;
        let wait_ms = self.bounds().wait() / Moment::MILLISECOND;
        let exact_from = self.now().plus(i64::try_from(wait_ms).unwrap_or(i64::MAX));
        let revision = change.revision();
        self.see_to_its_end(permit, change, mark_confirmed);
        Ok(Changed::Committed { revision, exact_from })
    }

    /// Sees a change to its end that nobody waits for. Where too many are under way already nobody is told of it: edges
    /// learn of it when they renew their leases.
    pub fn tell<F>(self: &Arc<Self>, change: Change, mark_confirmed: F)
    where
        F: Future<Output = Result<(), StoreError>> + Send + 'static,
    {
        if let Some(permit) = self.unwatched.try_enter() {
            self.see_to_its_end(permit, change, mark_confirmed);
        }
    }

    fn see_to_its_end<F>(self: &Arc<Self>, permit: Permit, change: Change, mark_confirmed: F)
    where
        F: Future<Output = Result<(), StoreError>> + Send + 'static,
    {
        let authority = Arc::clone(self);
        self.tasks.spawn(async move {
            authority.confirm(change, mark_confirmed).await;
            drop(permit);
        });
    }

    /// Sees a change to its end.
    pub async fn confirm<F>(self: &Arc<Self>, change: Change, mark_confirmed: F) -> Confirmation
    where
        F: Future<Output = Result<(), StoreError>> + Send + 'static,
    {
        let (revision, is_confirmed) =
            change.earlier.unwrap_or_else(|| (change.row.revision(), false));
        let epoch = change.row.epoch();
        let mut heard = self.acknowledgements.of(revision);
        let mut core = Revocation::new(self.bounds(), self.settings.early);
        let already = change.earlier.is_some();
        let early_from = self.early_from(&change.row);
        let commit = Commit { revision, epoch, already, is_confirmed, early_from };
        core.committed(self.moment(), commit);
        let invalidation = Invalidation { revision, tag: change.tag };
        let receipt =
            self.drive(&mut core, Invalidate { epoch, change: invalidation }, &mut heard).await;
        drop(heard);
        self.acknowledgements.forget(revision);
        let waited = Duration::from_nanos(receipt.waited);
        histogram!("latchkey_revocation_confirm_seconds", "authority" => A::NAME).record(waited);
        let aftermath = core.aftermath(self.moment());
        let authority = Arc::clone(self);
        self.tasks.spawn(async move {
            for member in aftermath.retire {
                authority.retire(member).await;
            }
            if aftermath.mark_confirmed {
                Self::complain(mark_confirmed.await);
            }
        });
        Confirmation {
            revision: receipt.revision,
            edges_confirmed: u32::try_from(receipt.edges_confirmed).unwrap_or(u32::MAX),
            waited_ms: receipt.waited.div_ceil(Moment::MILLISECOND),
        }
    }

    /// Retires a member that was silent through a whole wait. However many changes waited for it: one of them says so.
    async fn retire(&self, member: MemberId) {
        match self.store.retire(member).await {
            Ok(true) => {
                tracing::warn!(
                    authority = A::NAME,
                    "an edge does not answer through a whole wait and is retired"
                );
                counter!(RETIRED, "authority" => A::NAME).increment(1);
            }
            Ok(false) => {}
            Err(error) => Self::complain(Err(error)),
        }
    }

    /// Does what the core says until it returns.
    async fn drive(
        &self,
        core: &mut Revocation,
        invalidate: Invalidate<CredentialHash>,
        heard: &mut mpsc::Receiver<Heard>,
    ) -> Receipt {
        let mut awaited = Awaited::unknown(self.bus.contracts());
        let (mut message, mut has_warned) = (None, false);
        loop {
            let now = self.moment();
            match core.next(now) {
                // It was told of the commit before.
                Step::Commit => {}
                Step::ReadMembers => {
                    let members = self.store.members().await;
                    match &members {
                        Ok((_, members)) => awaited = Awaited::of(self.bus.contracts(), members),
                        Err(error) => {
                            tracing::warn!(authority = A::NAME, %error, "the list of edges cannot be read: this revoke takes the longest wait");
                        }
                    }
                    message = self.message(invalidate, awaited.contract());
                    let ids = |members: Vec<Member>| members.into_iter().map(|it| it.key.id);
                    core.members(members.ok().map(|(epoch, members)| (epoch, ids(members))));
                }
                Step::Publish => {
                    self.publish(message.as_ref()).await;
                    core.published(self.moment());
                }
                Step::Wait(until) => {
                    let span = Duration::from_nanos(until.since(now));
                    let Ok(Some(heard)) = tokio::time::timeout(span, heard.recv()).await else {
                        continue;
                    };
                    let Acknowledge { member, epoch, revision } = heard.acknowledge;
                    match awaited.user(member) {
                        Some(user) if *user == *heard.user => {
                            core.acknowledged(member, epoch, revision);
                        }
                        Some(user) if !has_warned => {
                            has_warned = true;
                            tracing::warn!(
                                authority = A::NAME,
                                user,
                                sender = &*heard.user,
                                "an edge's acknowledgement comes from another user of the bus and does not count"
                            );
                        }
                        // It is not waited for, or the log says already that somebody tries.
                        _ => {}
                    }
                }
                Step::Return(receipt) => return receipt,
            }
        }
    }

    /// A change as members that read `contract` are told of it; `None` where that has no word for it.
    fn message(&self, invalidate: Invalidate<CredentialHash>, contract: u16) -> Option<Bytes> {
        match wire::encode(&Invalidating { invalidate, waiter: self.waiter }, contract) {
            Ok(bytes) => Some(bytes.into()),
            Err(error @ WireError::Untranslatable(_)) => {
                tracing::warn!(authority = A::NAME, contract, %error, "a change cannot be told to an edge of the previous release: that edge learns of it by its next renewal, and the revoke takes the longest wait");
                None
            }
            Err(error) => {
                tracing::error!(authority = A::NAME, %error, "an invalidation cannot be encoded");
                None
            }
        }
    }

    async fn publish(&self, message: Option<&Bytes>) {
        let Some(message) = message else { return };
        if let Err(error) = self.bus.publish(A::INVALIDATIONS, message.clone()).await {
            tracing::debug!(authority = A::NAME, %error, "an invalidation was not sent: it is sent again");
        }
    }

    /// What is not urgent may fail; a retry, or the janitor, does it.
    fn complain(outcome: Result<(), StoreError>) {
        if let Err(error) = outcome {
            tracing::warn!(authority = A::NAME, %error, "the end of a revoke cannot be recorded: if the revoke is repeated, it waits again");
        }
    }
}

#[cfg(test)]
mod tests;
