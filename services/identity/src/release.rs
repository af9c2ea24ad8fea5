//! What is offered only once no older release may use the tables: it would not understand what is taken away.

use latchkey_store::{Db, StoreError};

use crate::NAME;

/// The step that brought ceilings and narrowed sessions.
const SCOPES: i64 = 13;

/// Whether everybody who uses the tables knows ceilings and narrowed sessions. Once they do they always will.
pub(crate) async fn knows_scopes(db: &Db) -> Result<bool, StoreError> {
    Ok(db.lowest(NAME).await? >= SCOPES)
}
