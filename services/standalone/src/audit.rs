//! The audit logs of both services, as an operator reads them.

use latchkey_audit::command::{AuditCommand, Log};
use latchkey_runtime::{Environment, StartError};
use latchkey_store::Db;

use crate::{Config, PROCESS, config};

/// Does what `command` says on the logs in the database, which a process may use meanwhile.
///
/// # Errors
/// [`StartError`] where a log is not what was sealed, or cannot be read.
pub(crate) async fn read(
    environment: &Environment,
    command: AuditCommand,
) -> Result<(), StartError> {
    let Config { database_url, identity, keys, .. } = Config::read(environment)?;
    config::check_is_there(&database_url)?;
    let db = Db::open_to_read(&database_url, PROCESS).await?;
    db.reads(latchkey_identity::NAME, latchkey_identity::store::MIGRATIONS).await;
    db.reads(latchkey_keys::NAME, latchkey_keys::store::MIGRATIONS).await;
    let of = |sql, audit: &latchkey_audit::config::Settings| Log {
        db: db.clone(),
        sql,
        keys: audit.keys(),
    };
    let logs = [
        of(&latchkey_identity::store::AUDIT, &identity.audit),
        of(&latchkey_keys::store::AUDIT, &keys.audit),
    ];
    let done = command.carry_out(&logs).await;
    db.close().await;
    done
}
