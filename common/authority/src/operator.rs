//! What operators' commands on an authority's database have in common: they change its rows, and return when no edge
//! relies on anything older.

use std::time::Duration;

use latchkey_bus::{Bus, Context, RequestId};
use latchkey_contract::{Actor, Caller};
use latchkey_revocation::config::MAX_WAIT;
use latchkey_runtime::process::Signals;
use latchkey_runtime::{Clock, Exit, StartError};
use latchkey_store::{Db, Opening, StoreError};

/// Who asks, on the bus and in logs.
pub const NAME: &str = "operator";
/// How long a command waits for a database that is away.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Brings a service's tables up to date, does `begin` on its database, and waits as [`carry_out`] does.
///
/// # Errors
/// As [`carry_out`].
pub async fn new_epoch<F>(
    opening: Opening,
    begin: impl FnOnce(Db) -> F + Send,
) -> Result<(), StartError>
where
    F: Future<Output = Result<(), StartError>> + Send,
{
    let Opening { config, process, service, migrations } = opening;
    let db = config.open(process).await?;
    let change = async {
        db.prepare(service, migrations, Some(PATIENCE)).await?;
        begin(db.clone()).await
    };
    carry_out(&db, &Clock::System, change).await
}

/// Does `change`, and waits until no edge relies on an answer from before it. A file has one process at a time, with
/// its edges in it, and this one has it: then there is nobody to wait for.
///
/// # Errors
/// [`StartError`] where the change was not made, or the process is asked to end before it is over.
pub async fn carry_out(
    db: &Db,
    clock: &Clock,
    change: impl Future<Output = Result<(), StartError>> + Send,
) -> Result<(), StartError> {
    let mut signals = Signals::listen()?;
    let done = signals.unless_ended(Box::pin(async {
        change.await?;
        if let Db::Postgres(_) = db {
            outwait(clock).await;
        }
        Ok(())
    }));
    done.await.unwrap_or_else(|| {
        let message = "asked to end before every edge had forgotten what it was told: run it again";
        Err(StartError::new(Exit::Unavailable, message))
    })
}

/// Waits until every lease that was given before now has run out, whatever the settings of the processes are.
pub async fn outwait(clock: &Clock) {
    wait_by(clock, Duration::from_millis(MAX_WAIT)).await;
}

/// Waits for so long by the clock of leases, which goes on while the machine is suspended.
async fn wait_by(clock: &Clock, wait: Duration) {
    let now = || Duration::from_nanos(clock.lease_nanos());
    let begun = now();
    while let Some(left) = wait.checked_sub(now().saturating_sub(begun)).filter(|it| !it.is_zero())
    {
        tokio::time::sleep(left).await;
    }
}

/// What an operator's command on the bus says of who acts: the user that it is there. Parts of it have `timeout` in all.
#[must_use]
pub fn context(bus: &Bus, request_id: &RequestId, timeout: Duration) -> Context {
    let actor = Actor::Operator { name: bus.user().into() };
    Context::new(request_id.clone(), timeout).acting(Caller::of(actor, request_id.clone()))
}

/// What is said where the database did not do it.
#[must_use]
pub fn failed(error: &StoreError) -> StartError {
    let exit = if error.is_away() { Exit::Unavailable } else { Exit::Data };
    StartError::new(exit, format!("it may or may not have been done, run it again: {error}"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::time::timeout;

    use super::*;
    use crate::bench::bench;

    #[tokio::test]
    async fn a_wait_is_as_long_as_it_is_said_to_be() {
        let (clock, wait) = (Clock::System, Duration::from_millis(30));
        let begun = clock.lease_nanos();
        wait_by(&clock, wait).await;
        let waited = Duration::from_nanos(clock.lease_nanos() - begun);
        assert!((wait..Duration::from_secs(5)).contains(&waited), "{waited:?}");
        assert!(timeout(wait, outwait(&clock)).await.is_err(), "some lease may be longer");
    }

    #[tokio::test]
    async fn a_change_of_a_file_is_carried_out_and_waits_for_nobody() {
        let bench = bench("operator").await;
        let made = AtomicBool::new(false);
        let change = async {
            made.store(true, Ordering::Relaxed);
            Ok(())
        };
        let begun = Clock::System.lease_nanos();
        carry_out(&bench.store.db, &Clock::System, change).await.unwrap();
        assert!(made.load(Ordering::Relaxed));
        let waited = Clock::System.lease_nanos() - begun;
        assert!(waited < 8_000_000_000, "{waited}");
        let fails = async { Err(failed(&StoreError::Unexpected("broken"))) };
        assert!(carry_out(&bench.store.db, &Clock::System, fails).await.is_err());
        bench.end().await;
    }
}
