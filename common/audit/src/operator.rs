//! What an operator's command does to a service's database itself, as the log has it: there is no message of it that would
//! say who acts.

use latchkey_contract::{Actor, Caller, RequestId, Timestamp};
use latchkey_runtime::{Clock, Entropy};
use latchkey_store::{StoreError, Tx};

use crate::AuditSql;
use crate::append::append;
use crate::event::{Action, Event, Target};

/// The name of whoever gives such a command: the one that the bus has for them, too.
const NAME: &str = "operator";

/// Whoever gives a command, once.
#[must_use]
pub fn caller(entropy: &Entropy) -> Caller {
    let request = RequestId::new(&format!("{NAME}-{:016x}", u64::from_be_bytes(entropy.bytes())));
    Caller::of(Actor::Operator { name: NAME.into() }, request)
}

/// Writes down that a service's database began a new epoch, in the transaction in which it does.
///
/// # Errors
/// [`StoreError`]; the transaction has failed.
pub async fn note_epoch(
    tx: &mut Tx,
    sql: &AuditSql,
    by: &Caller,
    now: Timestamp,
) -> Result<(), StoreError> {
    let event = Event::done(Action::EpochBegun, Target::Service(sql.service), now, by);
    append(tx, sql, &event).await
}

/// The statement that writes down that a service's tables were left to this release, for the transaction in which that is
/// done: it has no arguments.
#[must_use]
pub fn finished(sql: &AuditSql, clock: &Clock, entropy: &Entropy) -> String {
    let (by, at) = (caller(entropy), Timestamp(clock.unix_millis()));
    let event = Event::done(Action::TablesFinished, Target::Service(sql.service), at, &by);
    let (service, action, at) = (sql.service, event.action.name(), at.0);
    let (kind, id) = event.target.parts();
    let (actor, request) = (by.actor.kind(), by.request_id);
    format!(
        "INSERT INTO {service}_audit_events \
         (at, action, outcome, actor_type, actor_name, target_type, target_id, request_id) \
         VALUES ({at}, '{action}', 'success', '{actor}', '{NAME}', '{kind}', '{id}', '{request}')"
    )
}
