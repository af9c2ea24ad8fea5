//! The last thing of a start: the tables are left to this release and later ones.

use std::time::Duration;

use latchkey_runtime::StartError;
use latchkey_store::{Db, Finished, MigrationError};

/// How long a start waits for processes of an older release to end before it goes on beside them.
const OLDER_PATIENCE: Duration = Duration::from_secs(1);

/// Leaves the tables to this release and later ones, as `migrate --finish` does in the cluster. With a server of its own
/// there may be further processes, of which the last one to be exchanged does it.
///
/// # Errors
/// [`StartError`] where the tables cannot be used.
pub(crate) async fn leave_to_this_one(db: &Db) -> Result<(), StartError> {
    let all = [
        (latchkey_identity::NAME, latchkey_identity::store::MIGRATIONS),
        (latchkey_keys::NAME, latchkey_keys::store::MIGRATIONS),
    ];
    for (service, migrations) in all {
        match db.finish(service, migrations, OLDER_PATIENCE).await {
            Ok(Finished { lowest, is_raised: true }) => tracing::info!(
                service,
                lowest,
                "the tables are for this release and later ones from now on: to go back, restore a backup"
            ),
            Ok(_) => {}
            Err(error @ MigrationError::InUse { .. }) => {
                tracing::info!(service, cause = %error, "older releases may use the tables");
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
