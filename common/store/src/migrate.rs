//! Brings a service's tables to the steps that this program knows, under a lock, and lets programs that know fewer
//! go on using them: a step adds, and the row `SERVICE_schema` says which the lowest release is that may use the tables.
//!
//! - A start takes the steps that are missing. It finds steps that it does not know: a later release has been here, and
//!   this one may use the tables unless the row says otherwise, so that an update can be taken back.
//! - [`Db::finish`] raises the lowest release to this one, where nothing older uses the tables (`release.rs`), and a step
//!   that takes something away does so before it.
//! - A backfill is run at every start for as long as a release that may use the tables can write rows without it.
//!
//! The library keeps the list of what was applied (with checksums) in a table of each service and,
//! on Postgres, takes an advisory lock; a SQLite file is locked by whoever has it open.

use std::time::Duration;

use sqlx::migrate::{AppliedMigration, MigrateError};
use sqlx::{Connection, PgConnection};
use tokio::time::timeout;

pub(crate) mod session;

mod backfill;
mod error;
mod step;

pub use error::MigrationError;
pub use step::{Backfill, MAX_STEPS, Migration, Sql, newest};

use crate::driver::ANSWER_TIMEOUT;
use crate::postgres::Postgres;
use crate::{Db, Engine, StoreError, fitness, wait_while_away};
use error::explain;
use session::{Session, State};

/// How long all steps together may take on a server.
const MIGRATION_TIMEOUT: Duration = Duration::from_mins(30);

/// What [`Db::finish`] has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The version that a release has to know from now on.
    pub lowest: i64,
    /// Whether it was a lower one before.
    pub is_raised: bool,
}

/// What one attempt has found and done.
struct Round {
    taken: Vec<i64>,
    /// The tables are as far as this step.
    reached: i64,
    state: State,
    /// A step comes next that takes something away: first nothing may use the tables that knows less than this.
    needs: Option<i64>,
}

impl Db {
    /// Takes every step of `service` that was not taken yet, and gives their versions. While the
    /// server is away it waits, for at most `patience` where there is one.
    ///
    /// # Errors
    /// [`MigrationError`] where the tables are for later releases, or the database refuses or stays away.
    pub async fn prepare(
        &self,
        service: &'static str,
        migrations: &[Migration],
        patience: Option<Duration>,
    ) -> Result<Vec<i64>, MigrationError> {
        let (taken, _) = self.bring_up(service, self.known(migrations), patience).await?;
        if let Self::Postgres(postgres) = self {
            postgres.warm().await;
        }
        Ok(taken)
    }

    /// The same without waiting.
    ///
    /// # Errors
    /// As [`Self::prepare`].
    pub async fn migrate(
        &self,
        service: &'static str,
        migrations: &[Migration],
    ) -> Result<Vec<i64>, MigrationError> {
        let done = self.bring_up(service, self.known(migrations), Some(Duration::ZERO)).await;
        Ok(done?.0)
    }

    /// Leaves the tables of `service` to this release and later ones, once nothing older uses them: waits for that
    /// for at most `patience`. From then on there is no row that older releases have written and later
    /// backfills do not know.
    ///
    /// # Errors
    /// [`MigrationError::InUse`] where something older is still there, and as [`Self::prepare`]. Nothing has changed then.
    pub async fn finish(
        &self,
        service: &'static str,
        migrations: &[Migration],
        patience: Duration,
    ) -> Result<Finished, MigrationError> {
        self.finish_noting(service, migrations, patience, "").await
    }

    /// The same, with a statement `note` in the transaction that leaves the tables to this release: it has no arguments.
    ///
    /// # Errors
    /// As [`Self::finish`].
    pub async fn finish_noting(
        &self,
        service: &'static str,
        migrations: &[Migration],
        patience: Duration,
        note: &str,
    ) -> Result<Finished, MigrationError> {
        let (migrations, patience) = (self.known(migrations), Some(patience));
        let lowest = newest(migrations);
        let (_, state) = self.bring_up(service, migrations, patience).await?;
        if state.lowest >= lowest {
            return Ok(Finished { lowest, is_raised: false });
        }
        let is_raised = self.raise(service, migrations, (lowest, note), patience).await?;
        // The last pass: nobody adds to what it fills.
        self.bring_up(service, migrations, patience).await?;
        Ok(Finished { lowest, is_raised })
    }

    async fn bring_up(
        &self,
        service: &'static str,
        migrations: &[Migration],
        patience: Option<Duration>,
    ) -> Result<(Vec<i64>, State), MigrationError> {
        let mut taken = Vec::new();
        loop {
            let take = || self.take(service, migrations);
            let round = wait_while_away(service, patience, MigrationError::passes, take).await?;
            if let Self::Postgres(postgres) = self {
                postgres.uses(service, newest(migrations)).await;
            }
            self.fill(service, migrations, &round, patience).await?;
            taken.extend(round.taken);
            // Each time round, what the next such step needs is one thing nearer, so that there is an end.
            match round.needs {
                None => return Ok((taken, round.state)),
                Some(lowest) => self.raise(service, migrations, (lowest, ""), patience).await?,
            };
        }
    }

    /// Takes the steps that are missing, as far as it may.
    async fn take(
        &self,
        service: &'static str,
        migrations: &[Migration],
    ) -> Result<Round, MigrationError> {
        match self {
            Self::Sqlite(sqlite) => {
                let connection = sqlite.writer.pool().acquire().await;
                let mut connection = connection.map_err(|error| explain(error.into(), service))?;
                take(&mut *connection, service, migrations).await
            }
            Self::Postgres(postgres) => {
                let fault = fitness::fault(postgres).await;
                if let Some(fault) = fault.map_err(|error| explain(error.into(), service))? {
                    return Err(MigrationError::Unfit(fault));
                }
                let mut session = connect(postgres, service, migrations).await?;
                let done = in_time(take(&mut session, service, migrations)).await;
                close(session).await;
                done
            }
        }
    }

    /// Raises the lowest release that may use the tables, and notes it; whether it was a lower one.
    async fn raise(
        &self,
        service: &'static str,
        migrations: &[Migration],
        lowest: (i64, &str),
        patience: Option<Duration>,
    ) -> Result<bool, MigrationError> {
        let attempt = || self.raise_now(service, migrations, lowest);
        wait_while_away(service, patience, MigrationError::passes, attempt).await
    }

    async fn raise_now(
        &self,
        service: &'static str,
        migrations: &[Migration],
        lowest: (i64, &str),
    ) -> Result<bool, MigrationError> {
        match self {
            Self::Sqlite(sqlite) => {
                let connection = sqlite.writer.pool().acquire().await;
                let mut connection = connection.map_err(|error| explain(error.into(), service))?;
                raise(&mut *connection, service, lowest).await
            }
            Self::Postgres(postgres) => {
                let mut session = connect(postgres, service, migrations).await?;
                let done = in_time(raise(&mut session, service, lowest)).await;
                close(session).await;
                done
            }
        }
    }

    /// The version that a release has to know to use the tables of `service`. It never falls, so that whoever has read it
    /// may rely on nothing older being there.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn lowest(&self, service: &'static str) -> Result<i64, StoreError> {
        let state = match self {
            Self::Sqlite(sqlite) => sqlite.readers.pool().acquire().await?.state(service).await?,
            Self::Postgres(postgres) => {
                postgres.connections.pool().acquire().await?.state(service).await?
            }
        };
        Ok(state.lowest)
    }

    /// The steps that this process knows: all of them, but in a test that has it play the release before.
    pub(crate) fn known<'a>(&self, migrations: &'a [Migration]) -> &'a [Migration] {
        let unknown = match self {
            Self::Sqlite(_) => 0,
            Self::Postgres(postgres) => postgres.unknown_steps,
        };
        migrations.get(..migrations.len().saturating_sub(unknown)).unwrap_or_default()
    }
}

/// A session of its own: its locks end with it, and one of the pool would keep them for good.
async fn connect(
    postgres: &Postgres,
    service: &'static str,
    migrations: &[Migration],
) -> Result<PgConnection, MigrationError> {
    let connecting = postgres.connect_for_migrations(service, newest(migrations));
    connecting.await.map_err(|error| explain(error.into(), service))
}

/// Does `work` in time.
async fn in_time<T>(
    work: impl Future<Output = Result<T, MigrationError>> + Send,
) -> Result<T, MigrationError> {
    let late = |_late| Err(MigrationError::Away(crate::error::late()));
    timeout(MIGRATION_TIMEOUT, work).await.unwrap_or_else(late)
}

/// What was done is done; the server ends a connection that is not closed in good order.
async fn close(session: PgConnection) {
    drop(timeout(ANSWER_TIMEOUT, session.close()).await);
}

/// Takes the steps that are missing, under the lock.
async fn take<S: Session>(
    session: &mut S,
    service: &'static str,
    migrations: &[Migration],
) -> Result<Round, MigrationError> {
    let failed = |error| explain(error, service);
    let table = session::steps_table(service);
    session.take_turn().await.map_err(failed)?;
    session.ensure_migrations_table(&table).await.map_err(failed)?;
    let before = session.list_applied_migrations(&table).await.map_err(failed)?;
    // Nobody older has written to tables that are made now.
    let lowest = if before.is_empty() { newest(migrations) } else { 0 };
    session::begin(session, service, lowest).await.map_err(|error| failed(error.into()))?;
    let state = session.state(service).await.map_err(|error| failed(error.into()))?;
    check(S::ENGINE, service, migrations, &before, state)?;
    let mut round = Round { taken: Vec::new(), reached: 0, state, needs: None };
    for migration in migrations {
        if before.iter().all(|step| step.version != migration.version) {
            round.needs = migration.lowest.filter(|lowest| !is_free(migrations, state, *lowest));
            if round.needs.is_some() {
                break;
            }
            session::take_step(session, &table, migration).await.map_err(failed)?;
            round.taken.push(migration.version);
        }
        round.reached = migration.version;
    }
    session.unlock().await.map_err(failed)?;
    Ok(round)
}

/// Whether this program may use the tables, and they are what it takes them for.
fn check(
    engine: Engine,
    service: &'static str,
    migrations: &[Migration],
    taken: &[AppliedMigration],
    state: State,
) -> Result<(), MigrationError> {
    let (known, lowest) = (newest(migrations), state.lowest);
    if known < lowest {
        return Err(MigrationError::Superseded { service, lowest, known });
    }
    let failed = |source| Err(MigrationError::Failed { service, source });
    for step in taken.iter().filter(|step| step.version <= known) {
        match migrations.iter().find(|migration| migration.version == step.version) {
            Some(migration) if session::as_known(migration, engine).checksum == step.checksum => {}
            Some(_) => return failed(MigrateError::VersionMismatch(step.version)),
            None => return failed(MigrateError::VersionMissing(step.version)),
        }
    }
    Ok(())
}

/// Whether what only releases before the step `lowest` need may be taken away.
fn is_free(migrations: &[Migration], state: State, lowest: i64) -> bool {
    let is_open = |step: &&Migration| step.backfill.is_some() && step.version > state.filled;
    let mut open = migrations.iter().filter(is_open);
    state.lowest >= lowest && open.all(|step| step.version > lowest)
}

/// Raises the lowest release where nothing older is there, and notes it; whether it was a lower one.
async fn raise<S: Session>(
    session: &mut S,
    service: &'static str,
    (lowest, note): (i64, &str),
) -> Result<bool, MigrationError> {
    let failed = |error: sqlx::Error| explain(error.into(), service);
    if session.state(service).await.map_err(failed)?.lowest >= lowest {
        return Ok(false);
    }
    if let Some(who) = session.keep_out_older(service, lowest).await.map_err(failed)? {
        return Err(MigrationError::InUse { service, lowest, who });
    }
    session.run(session::raise_text(service, lowest, note)).await.map_err(failed)?;
    Ok(true)
}
