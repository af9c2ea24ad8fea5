//! What a key may be said to be restricted by, while a release that does not look at that may still use the tables.

use std::sync::atomic::{AtomicBool, Ordering};

use latchkey_store::{Db, StoreError};

use crate::NAME;

/// The step that brought what restricts a key: scopes, addresses, environments, and that it is disabled.
const RESTRICTIONS: i64 = 8;

/// Whether every release that may use the tables knows what restricts a key. That never changes back.
#[derive(Debug, Default)]
pub(crate) struct Restrictions(AtomicBool);

impl Restrictions {
    /// Whether a key may be restricted.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(crate) async fn are_known(&self, db: &Db) -> Result<bool, StoreError> {
        if self.0.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let are_known = db.lowest(NAME).await? >= RESTRICTIONS;
        self.0.store(are_known, Ordering::Relaxed);
        Ok(are_known)
    }
}
