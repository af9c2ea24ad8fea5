//! A new epoch of the service's database, by an operator who has restored it.

use latchkey_audit::operator;
use latchkey_authority::operator::failed;
use latchkey_contract::Timestamp;
use latchkey_runtime::{Clock, Entropy, StartError};
use latchkey_store::Db;

use crate::store;

/// Ends every session there is, and then begins a new epoch in one transaction: every edge forgets what it was told
/// of tokens, and the key service is told of every owner anew.
///
/// # Errors
/// [`StartError`] where the database does not do it.
pub async fn begin(db: &Db, clock: &Clock, entropy: &Entropy) -> Result<(), StartError> {
    let made = i64::from_ne_bytes(entropy.bytes());
    let (now, by) = (Timestamp(clock.unix_millis()), operator::caller(entropy));
    let work = async {
        store::session::end_every(db, now).await?;
        let mut tx = db.begin("new epoch").await?;
        store::new_epoch(&mut tx, made, now).await?;
        operator::note_epoch(&mut tx, &store::AUDIT, &by, now).await?;
        tx.commit().await
    };
    work.await.map_err(|error| failed(&error))
}
