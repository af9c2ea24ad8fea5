//! What became of the last writes. Every connection notes it, and readiness asks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::{StoreError, error};

/// What became of the last writes.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    last: Mutex<Option<Last>>,
    is_probed: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    at: Instant,
    is_done: bool,
}

/// The one write at a time that finds out.
pub(crate) struct Probe<'a>(&'a AtomicBool);

impl Writes {
    /// Takes the end of a write; errors that say nothing of the disk are passed over.
    #[expect(clippy::disallowed_methods, reason = "each change is one assignment")]
    pub(crate) fn note(&self, outcome: Result<(), &StoreError>) {
        let is_done = match outcome {
            Ok(()) => true,
            Err(StoreError::Away { cause, .. }) if error::is_no_room(cause) => false,
            Err(_) => return,
        };
        let last = Last { at: Instant::now(), is_done };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
    }

    /// The last write, if it was not long ago.
    pub(crate) fn lately(&self, span: Duration) -> Option<bool> {
        #[expect(clippy::disallowed_methods, reason = "each change is one assignment")]
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.filter(|last| last.at.elapsed() < span).map(|last| last.is_done)
    }

    /// Nobody else writes to find out while the answer is kept; `None` while somebody does.
    pub(crate) fn probe(&self) -> Option<Probe<'_>> {
        (!self.is_probed.swap(true, Ordering::AcqRel)).then_some(Probe(&self.is_probed))
    }
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
