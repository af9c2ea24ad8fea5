//! The session in which tables are changed, and the row that says who may use them: one for each service, in
//! `SERVICE_schema`, beside the library's list of the steps that were taken.

use std::borrow::Cow;
use std::time::Duration;

use sqlx::migrate::{Migrate, MigrateError, Migration as Step, MigrationType};
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Executor, Row, raw_sql};
use tokio::time::{Instant, sleep};

use super::step::{Migration, statements};
use crate::statement::safe;
use crate::{Engine, error, release};

/// How long one attempt stands in the queue for the lock under which tables are changed. Whoever makes an index
/// concurrently waits for every transaction to end, also for one that waits for that lock: the server would take
/// a longer wait for a deadlock.
const TURN: Duration = Duration::from_millis(50);
/// All attempts together; beyond, the database counts as away, so that the wait is told.
const TURNS: Duration = Duration::from_secs(5);
/// How long a statement waits for another lock than that.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// What the row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// A release has to know the step of this version to use the tables.
    pub(super) lowest: i64,
    /// Backfills of steps up to here have been seen to their end: no row lacks anything, and none ever will.
    pub(super) filled: i64,
}

/// A connection that changes tables.
pub(super) trait Session: Migrate + Send {
    /// Which kind of database it is.
    const ENGINE: Engine;

    /// Runs one statement, or several in one transaction.
    fn run(&mut self, text: String) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Reads the row.
    fn state(&mut self, service: &str) -> impl Future<Output = Result<State, sqlx::Error>> + Send;

    /// Takes the lock under which tables are changed.
    fn take_turn(&mut self) -> impl Future<Output = Result<(), MigrateError>> + Send;

    /// Keeps older releases out until the session ends; `Some` says who is there.
    fn keep_out_older(
        &mut self,
        service: &str,
        lowest: i64,
    ) -> impl Future<Output = Result<Option<String>, sqlx::Error>> + Send;

    /// Whether statements wait for locks for as long as they may take at all.
    fn wait_for_locks(
        &mut self,
        patiently: bool,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

/// The table with the steps that were taken.
pub(super) fn steps_table(service: &str) -> String {
    format!("{service}_migrations")
}

/// Makes the row where there is none, with this lowest version.
pub(super) async fn begin<S: Session>(
    session: &mut S,
    service: &str,
    lowest: i64,
) -> Result<(), sqlx::Error> {
    let table = format!(
        "CREATE TABLE IF NOT EXISTS {service}_schema \
         (id BIGINT NOT NULL PRIMARY KEY, lowest BIGINT NOT NULL, filled BIGINT NOT NULL)"
    );
    session.run(table).await?;
    let row = format!(
        "INSERT INTO {service}_schema (id, lowest, filled) VALUES (1, {lowest}, 0) \
         ON CONFLICT (id) DO NOTHING"
    );
    session.run(row).await
}

/// Raises the lowest version, which is never lowered, together with a statement that notes it, or nothing.
pub(super) fn raise_text(service: &str, lowest: i64, note: &str) -> String {
    let raise =
        format!("UPDATE {service}_schema SET lowest = {lowest} WHERE id = 1 AND lowest < {lowest}");
    if note.is_empty() { raise } else { format!("BEGIN; {raise}; {note}; COMMIT") }
}

/// Notes up to where backfills have been seen to their end.
pub(super) fn filled_text(service: &str, filled: i64) -> String {
    format!(
        "UPDATE {service}_schema SET filled = {filled} \
         WHERE id = 1 AND filled < {filled} AND lowest >= {filled}"
    )
}

/// Takes a step, and notes that it was taken.
pub(super) async fn take_step<S: Session>(
    session: &mut S,
    table: &str,
    migration: &Migration,
) -> Result<(), MigrateError> {
    let mut step = as_known(migration, S::ENGINE);
    let Some(text) = migration.text(S::ENGINE) else { return session.skip(table, &step).await };
    if migration.in_transaction {
        return session.apply(table, &step).await.map(drop);
    }
    let failed = |error| MigrateError::ExecuteMigration(error, migration.version);
    session.wait_for_locks(true).await?;
    let statements = statements(&text);
    // The library runs the last one, and notes the step.
    let (last, others) = statements.split_last().unwrap_or((&"", &[]));
    for statement in others {
        session.run((*statement).to_owned()).await.map_err(failed)?;
    }
    step.sql = safe((*last).to_owned());
    session.apply(table, &step).await?;
    Ok(session.wait_for_locks(false).await?)
}

/// A step as the library has it, with the checksum of its whole text.
pub(super) fn as_known(migration: &Migration, engine: Engine) -> Step {
    let text = safe(migration.text(engine).unwrap_or_default());
    let description = Cow::Borrowed(migration.description);
    let is_alone = !migration.in_transaction;
    Step::new(migration.version, description, MigrationType::Simple, text, is_alone)
}

macro_rules! basics {
    () => {
        async fn run(&mut self, text: String) -> Result<(), sqlx::Error> {
            self.execute(safe(text)).await.map(drop)
        }

        async fn state(&mut self, service: &str) -> Result<State, sqlx::Error> {
            let text = format!("SELECT lowest, filled FROM {service}_schema WHERE id = 1");
            let row = raw_sql(safe(text)).fetch_one(self).await?;
            Ok(State { lowest: row.try_get("lowest")?, filled: row.try_get("filled")? })
        }
    };
}

impl Session for SqliteConnection {
    const ENGINE: Engine = Engine::Sqlite;

    basics!();

    /// A file is open in one process, and this is its only connection that writes.
    async fn take_turn(&mut self) -> Result<(), MigrateError> {
        Ok(())
    }

    async fn keep_out_older(&mut self, _: &str, _: i64) -> Result<Option<String>, sqlx::Error> {
        Ok(None)
    }

    async fn wait_for_locks(&mut self, _: bool) -> Result<(), sqlx::Error> {
        Ok(())
    }
}

impl Session for PgConnection {
    const ENGINE: Engine = Engine::Postgres;

    basics!();

    async fn take_turn(&mut self) -> Result<(), MigrateError> {
        let begun = Instant::now();
        self.run(lock_timeout(TURN)).await?;
        loop {
            match self.lock().await {
                Ok(()) => break,
                Err(MigrateError::Execute(error))
                    if error::is_lock_wait_over(&error) && begun.elapsed() < TURNS =>
                {
                    sleep(TURN).await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(self.run(lock_timeout(LOCK_WAIT)).await?)
    }

    async fn keep_out_older(
        &mut self,
        service: &str,
        lowest: i64,
    ) -> Result<Option<String>, sqlx::Error> {
        release::keep_out_older(self, service, lowest).await
    }

    async fn wait_for_locks(&mut self, patiently: bool) -> Result<(), sqlx::Error> {
        // Zero is no bound but the statement's own.
        self.run(lock_timeout(if patiently { Duration::ZERO } else { LOCK_WAIT })).await
    }
}

fn lock_timeout(wait: Duration) -> String {
    format!("SET lock_timeout = {}", wait.as_millis())
}
