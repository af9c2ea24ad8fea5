//! Gives accounts of the release before their folded names: all of them before this one answers, and those
//! that a replica of the release before opens meanwhile at each sweep.

use latchkey_runtime::{Exit, StartError};
use latchkey_store::Db;

use crate::store::names;

/// Accounts that are read at once.
pub const BATCH: i64 = 200;
/// How often a start tries again: each other replica that starts may be at the same accounts.
const ATTEMPTS: usize = 20;

/// Gives every account that has none its folded names.
///
/// # Errors
/// [`StartError`] where the database does not take them.
pub async fn complete(db: &Db) -> Result<(), StartError> {
    let mut failures = 0;
    loop {
        match names::fold(db, BATCH).await {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if failures < ATTEMPTS => {
                failures += 1;
                tracing::debug!(%error, "names are folded again");
            }
            Err(error) => {
                let message = format!("the names of the accounts cannot be folded: {error}");
                return Err(StartError::new(Exit::Unavailable, message));
            }
        }
    }
}
