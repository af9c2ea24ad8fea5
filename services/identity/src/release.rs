//! What is offered only once no older release may use the tables: it would not understand what is taken away.

use std::sync::atomic::{AtomicBool, Ordering};

use latchkey_store::{Db, StoreError};

use crate::NAME;

/// The step that brought ceilings and narrowed sessions.
const SCOPES: i64 = 13;
/// The step that brought sessions with several tokens.
const SESSIONS: i64 = 14;

/// The step that brought signing keys.
const SIGNING_KEYS: i64 = 15;

/// Whether everybody who uses the tables knows ceilings and narrowed sessions. Once they do they always will.
pub(crate) async fn knows_scopes(db: &Db) -> Result<bool, StoreError> {
    Ok(db.lowest(NAME).await? >= SCOPES)
}

/// Whether everybody who uses the tables reads tokens of signing keys. Once they do they always will.
pub(crate) async fn knows_signing_keys(db: &Db) -> Result<bool, StoreError> {
    Ok(db.lowest(NAME).await? >= SIGNING_KEYS)
}

/// Whether everybody who uses the tables knows that a session may have several tokens, and takes it from `sid`. That
/// never changes back.
#[derive(Debug, Default)]
pub(crate) struct Several(AtomicBool);

impl Several {
    /// Whether a session may have several tokens.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(crate) async fn are_known(&self, db: &Db) -> Result<bool, StoreError> {
        if self.0.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let are_known = db.lowest(NAME).await? >= SESSIONS;
        self.0.store(are_known, Ordering::Relaxed);
        Ok(are_known)
    }
}
