//! Who waits for which acknowledgements. They arrive at one subscription and go to the revoke they are for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use latchkey_contract::lease::{Acknowledge, Revision};
use latchkey_contract::wire::{self, Contracts};
use tokio::sync::mpsc;

/// Acknowledgements of one change that wait to be read at most; one that is lost is sent again.
const WAITING: usize = 1_024;

/// An acknowledgement, and who has sent it.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) acknowledge: Acknowledge,
    /// A user of the bus: the last token of the subject, where the server lets each use its own alone.
    pub(crate) user: Arc<str>,
}

/// The changes that are waited for.
#[derive(Default)]
pub(crate) struct Acknowledgements {
    /// Several tasks may wait for one change: a retry beside the first try.
    waiting: Mutex<HashMap<Revision, Vec<mpsc::Sender<Heard>>>>,
}

impl Acknowledgements {
    /// From now on acknowledgements of `revision` are received. Dropping the receiver ends that.
    pub(crate) fn of(&self, revision: Revision) -> mpsc::Receiver<Heard> {
        let (sender, receiver) = mpsc::channel(WAITING);
        self.table().entry(revision).or_default().push(sender);
        receiver
    }

    /// Whoever waited for `revision` has gone.
    pub(crate) fn forget(&self, revision: Revision) {
        let mut table = self.table();
        if let Some(waiting) = table.get_mut(&revision) {
            waiting.retain(|sender| !sender.is_closed());
            if waiting.is_empty() {
                table.remove(&revision);
            }
        }
    }

    /// A message arrived on this subject, where these contracts are read.
    pub(crate) fn hear(&self, subject: &str, message: &[u8], reads: Contracts) {
        let acknowledge: Acknowledge = match wire::decode(message, reads) {
            Ok((_, acknowledge)) => acknowledge,
            Err(error) => {
                tracing::warn!(%error, "an edge's acknowledgement cannot be read and does not count");
                return;
            }
        };
        if let Some(waiting) = self.table().get(&acknowledge.revision) {
            let user = subject.rsplit('.').next().unwrap_or_default();
            let heard = Heard { acknowledge, user: user.into() };
            for sender in waiting {
                // Full or gone: the edge is asked again, or nobody waits any more.
                let _ = sender.try_send(heard.clone());
            }
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "each change is one step of a map or a list: each sender in it waits"
    )]
    fn table(&self) -> MutexGuard<'_, HashMap<Revision, Vec<mpsc::Sender<Heard>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
