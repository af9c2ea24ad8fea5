//! A new epoch of the database that all services share, by an operator who has restored it.

use std::time::Duration;

use latchkey_audit::operator::{caller, note_epoch};
use latchkey_authority::operator::{carry_out, failed};
use latchkey_contract::Timestamp;
use latchkey_identity::store as identity;
use latchkey_keys::store as keys;
use latchkey_runtime::process;
use latchkey_runtime::{Clock, Entropy, Environment, StartError};
use latchkey_store::config::DATABASE_POOL;
use latchkey_store::{Db, StoreError};

use crate::config;

/// How long a server that is away is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Begins a new epoch of both authorities in one transaction. A file that a process uses is refused.
///
/// # Errors
/// [`StartError`] where there is no database, it is in use, or it does not do it.
pub async fn begin(environment: &Environment) -> Result<(), StartError> {
    let url = environment.read(&config::DATABASE_URL)?;
    let connections = environment.read(&DATABASE_POOL)?;
    config::check_is_there(&url)?;
    let db = Db::open(&url, "latchkey", connections).await?;
    let begin = async {
        db.prepare(latchkey_identity::NAME, identity::MIGRATIONS, Some(PATIENCE)).await?;
        db.prepare(latchkey_keys::NAME, keys::MIGRATIONS, Some(PATIENCE)).await?;
        let begun = new_epoch(&db, &Clock::System, &Entropy::System).await;
        begun.map_err(|error| failed(&error))
    };
    carry_out(&db, &Clock::System, begin).await?;
    db.close().await;
    process::print_line(
        "The database has begun a new epoch, and every session from before has ended.",
    );
    Ok(())
}

async fn new_epoch(db: &Db, clock: &Clock, entropy: &Entropy) -> Result<(), StoreError> {
    let made = || i64::from_ne_bytes(entropy.bytes());
    let now = Timestamp(clock.unix_millis());
    let by = caller(entropy);
    identity::session::end_every(db, now).await?;
    let mut tx = db.begin("new epoch").await?;
    identity::new_epoch(&mut tx, made(), now).await?;
    note_epoch(&mut tx, &identity::AUDIT, &by, now).await?;
    keys::new_epoch(&mut tx, made()).await?;
    note_epoch(&mut tx, &keys::AUDIT, &by, now).await?;
    tx.commit().await
}
