//! Gives rows from before a step what it has added.
//!
//! Nobody notes how far it is: what a row lacks says so. A start that is killed is gone on with by the next, two at once
//! do no harm, and what a release before the step writes meanwhile is found at the next start. When no such release is
//! left ([`Db::finish`]) there is one pass more, and then the row of the schema says that it is over.

use std::time::Duration;

use super::error::explain;
use super::session::{self, Session, State};
use super::step::{Backfill, Migration};
use super::{MigrationError, Round};
use crate::{Db, StoreError, values, wait_while_away};

/// Batches of one backfill at most: beyond, it finds rows that it has filled.
const MAX_BATCHES: usize = 100_000_000;

impl Db {
    /// Gives rows from before what the steps that were taken have added, in batches.
    pub(super) async fn fill(
        &self,
        service: &'static str,
        migrations: &[Migration],
        round: &Round,
        patience: Option<Duration>,
    ) -> Result<(), MigrationError> {
        let State { lowest, filled } = round.state;
        let open = filled + 1..=round.reached;
        for migration in migrations.iter().filter(|step| open.contains(&step.version)) {
            let Some(backfill) = migration.backfill else { continue };
            if let Err(error) = self.fill_for(service, backfill, patience).await {
                let version = migration.version;
                return Err(match error {
                    StoreError::Away { cause, .. } => MigrationError::Away(cause),
                    error => {
                        MigrationError::Unfilled { service, version, cause: error.to_string() }
                    }
                });
            }
        }
        // What may use the tables writes nothing that lacks it, and did not since before the first batch.
        let now = lowest.min(round.reached);
        if now > filled {
            let noted = self.note_filled(service, now).await;
            noted.map_err(|error| explain(error.into(), service))?;
        }
        Ok(())
    }

    async fn fill_for(
        &self,
        service: &'static str,
        backfill: Backfill,
        patience: Option<Duration>,
    ) -> Result<(), StoreError> {
        for _ in 0..MAX_BATCHES {
            let attempt = || async { self.execute(backfill.sql, values![backfill.batch]).await };
            if wait_while_away(service, patience, StoreError::is_away, attempt).await? == 0 {
                return Ok(());
            }
        }
        Err(StoreError::Unexpected("rows that were filled are found again"))
    }

    async fn note_filled(&self, service: &str, filled: i64) -> Result<(), sqlx::Error> {
        let text = session::filled_text(service, filled);
        match self {
            Self::Sqlite(sqlite) => sqlite.writer.pool().acquire().await?.run(text).await,
            Self::Postgres(postgres) => {
                postgres.connections.pool().acquire().await?.run(text).await
            }
        }
    }
}
