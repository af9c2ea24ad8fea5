//! What is offered only once no release may use the tables any more that would not understand it.

use std::sync::atomic::{AtomicBool, Ordering};

use latchkey_store::{Db, StoreError};

use crate::NAME;

/// The step that brought what restricts a key: scopes, addresses, environments, and that it is disabled.
const RESTRICTIONS: i64 = 8;
/// The step that brought ceilings.
const CEILINGS: i64 = 9;

/// Whether every release that may use the tables knows what a step has brought. That never changes back.
#[derive(Debug)]
pub(crate) struct Known {
    step: i64,
    are_known: AtomicBool,
}

impl Known {
    /// Of what restricts a key.
    pub(crate) const fn restrictions() -> Self {
        Self { step: RESTRICTIONS, are_known: AtomicBool::new(false) }
    }

    /// Of ceilings.
    pub(crate) const fn ceilings() -> Self {
        Self { step: CEILINGS, are_known: AtomicBool::new(false) }
    }

    /// Whether it may be relied on.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(crate) async fn are_known(&self, db: &Db) -> Result<bool, StoreError> {
        if self.are_known.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let are_known = db.lowest(NAME).await? >= self.step;
        self.are_known.store(are_known, Ordering::Relaxed);
        Ok(are_known)
    }
}
