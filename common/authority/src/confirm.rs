//! A change from its commit to its receipt: it returns when no edge can rely on anything older.

use std::sync::Arc;
use std::time::Duration;

use latchkey_contract::CredentialHash;
use latchkey_contract::authority::{
    Authority as Named, Changed, Invalidating, Receipt as Confirmation,
};
use latchkey_contract::lease::{Acknowledge, Invalidate, Invalidation, Position, Subject};
use latchkey_contract::{Failure, wire};
use latchkey_revocation::revoker::{Commit, Revocation, Step};
use latchkey_revocation::{Moment, Receipt};
use metrics::{counter, histogram};
use tokio::sync::mpsc;

use crate::{Authority, PositionRow};

/// A change that is on disk.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// What it changes.
    pub subject: Subject<CredentialHash>,
    /// Its position: the one it took, or the one it had, with the row as it is now.
    pub row: PositionRow,
    /// The position of an earlier change that did the same, if there was one, and whether that one was
    /// seen to its end.
    pub earlier: Option<(Position, bool)>,
}

impl Change {
    /// The position that is waited for: an earlier one, where the same was done before.
    #[must_use]
    pub fn position(&self) -> Position {
        self.earlier.map_or_else(|| self.row.position(), |(position, _)| position)
    }
}

impl<A: Named> Authority<A> {
    /// Answers for a change: after every edge is past it, or at once where the sender does not wait. When
    /// it is over, `settle` is run: it marks the change as seen to its end.
    ///
    /// # Errors
    /// [`Failure::Overloaded`] where too many unwatched changes are under way already: the change
    /// stands, and a retry waits for it.
    pub async fn answer<F>(
        self: &Arc<Self>,
        change: Change,
        wait: bool,
        settle: F,
    ) -> Result<Changed, Failure>
    where
        F: Future<Output = Result<(), sqlx::Error>> + Send + 'static,
    {
        if wait {
            return Ok(Changed::Confirmed(self.confirm(change, settle).await));
        }
        let permit = self.unwatched.try_enter().ok_or(Failure::Overloaded)?;
        let wait_ms = self.bounds().wait() / Moment::MILLISECOND;
        let exact_from = self.now().plus(i64::try_from(wait_ms).unwrap_or(i64::MAX));
        let revision = change.position();
        let authority = Arc::clone(self);
        self.tasks.spawn(async move {
            authority.confirm(change, settle).await;
            drop(permit);
        });
        Ok(Changed::Committed { revision, exact_from })
    }

    /// Sees a change to its end.
    pub async fn confirm<F>(self: &Arc<Self>, change: Change, settle: F) -> Confirmation
    where
        F: Future<Output = Result<(), sqlx::Error>> + Send + 'static,
    {
        let (position, settled) = change.earlier.unwrap_or_else(|| (change.row.position(), false));
        let epoch = change.row.epoch();
        let mut heard = self.acknowledgements.of(position);
        let mut core = Revocation::new(self.bounds(), self.settings.early);
        let already = change.earlier.is_some();
        let early_from = self.early_from(&change.row);
        let commit = Commit { position, epoch, already, settled, early_from };
        core.committed(self.moment(), commit);
        let invalidation = Invalidation { position, subject: change.subject };
        let receipt =
            self.drive(&mut core, Invalidate { epoch, change: invalidation }, &mut heard).await;
        drop(heard);
        self.acknowledgements.forget(position);
        let waited = Duration::from_nanos(receipt.waited);
        histogram!("latchkey_revocation_confirm_seconds", "authority" => A::NAME).record(waited);
        let aftermath = core.aftermath(self.moment());
        let authority = Arc::clone(self);
        self.tasks.spawn(async move {
            for member in aftermath.retire {
                tracing::warn!(
                    authority = A::NAME,
                    "an edge was silent through a whole wait: it is retired"
                );
                counter!("latchkey_members_retired_total", "authority" => A::NAME).increment(1);
                Self::complain(authority.store.retire(member).await);
            }
            if aftermath.settle {
                Self::complain(settle.await);
            }
        });
        Confirmation {
            revision: receipt.revision,
            edges_confirmed: u32::try_from(receipt.edges_confirmed).unwrap_or(u32::MAX),
            waited_ms: receipt.waited.div_ceil(Moment::MILLISECOND),
        }
    }

    /// Does what the core says until it returns.
    async fn drive(
        &self,
        core: &mut Revocation,
        invalidate: Invalidate<CredentialHash>,
        heard: &mut mpsc::Receiver<Acknowledge>,
    ) -> Receipt {
        loop {
            let now = self.moment();
            match core.next(now) {
                // It was told of the commit before.
                Step::Commit => {}
                Step::ReadMembers => {
                    let members = self.store.members().await;
                    if let Err(error) = &members {
                        tracing::warn!(authority = A::NAME, %error, "members cannot be read: a revoke waits the whole wait");
                    }
                    core.members(members.ok());
                }
                Step::Publish => {
                    self.publish(invalidate).await;
                    core.published(self.moment());
                }
                Step::Wait(until) => {
                    let span = Duration::from_nanos(until.since(now));
                    if let Ok(Some(Acknowledge { member, epoch, position })) =
                        tokio::time::timeout(span, heard.recv()).await
                    {
                        core.acknowledged(member, epoch, position);
                    }
                }
                Step::Return(receipt) => return receipt,
            }
        }
    }

    async fn publish(&self, invalidate: Invalidate<CredentialHash>) {
        let message = Invalidating { invalidate, waiter: self.waiter };
        let sent = match wire::encode(&message) {
            Ok(bytes) => self.bus.publish(A::INVALIDATIONS, bytes.into()).await,
            Err(error) => {
                tracing::error!(authority = A::NAME, %error, "an invalidation cannot be encoded");
                return;
            }
        };
        if let Err(error) = sent {
            tracing::debug!(authority = A::NAME, %error, "an invalidation was not sent: it is sent again");
        }
    }

    /// What is not urgent may fail; a retry, or the janitor, does it.
    fn complain(outcome: Result<(), sqlx::Error>) {
        if let Err(error) = outcome {
            tracing::warn!(authority = A::NAME, %error, "the end of a revoke was not noted");
        }
    }
}
