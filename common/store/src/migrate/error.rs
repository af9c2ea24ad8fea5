//! Why tables cannot be used, and which end of a process that is.

use latchkey_runtime::{Exit, StartError};
use sqlx::migrate::MigrateError;

use crate::error::{is_away, is_refused};

/// Why the tables are not at this program's version.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// A later release has taken the tables for itself.
    #[error(
        "the {service} tables are for releases that know step {lowest} or later, and this one knows {known}: run \
         such a release, or restore a backup from before"
    )]
    Superseded {
        /// The service whose tables they are.
        service: &'static str,
        /// The step that a release has to know.
        lowest: i64,
        /// The last step that this program knows.
        known: i64,
    },
    /// Older releases are still there: they may end.
    #[error(
        "the {service} tables are still in use by what may not know step {lowest}: {who}. Stop that, and run this again"
    )]
    InUse {
        /// The service whose tables they are.
        service: &'static str,
        /// The step that a release has to know from then on.
        lowest: i64,
        /// Who is there.
        who: String,
    },
    /// The server is not there, or busy: it may be back.
    #[error("the database is away: {0}")]
    Away(sqlx::Error),
    /// The server does not let this program in: its configuration is wrong, not its state.
    #[error("DATABASE_URL: the database does not let the service in: {0}")]
    Refused(sqlx::Error),
    /// The server is not one on which the tables can be.
    #[error("the database that DATABASE_URL names cannot be used: {0}")]
    Unfit(String),
    /// The database refused a step.
    #[error("the {service} tables cannot be brought up to date: {source}")]
    Failed {
        /// The service whose tables they are.
        service: &'static str,
        /// What the database said.
        source: MigrateError,
    },
    /// The database refused a backfill, or it has no end.
    #[error("the rows of the {service} tables cannot be filled for step {version}: {cause}")]
    Unfilled {
        /// The service whose tables they are.
        service: &'static str,
        /// The step.
        version: i64,
        /// What the database said.
        cause: String,
    },
}

impl From<MigrationError> for StartError {
    fn from(error: MigrationError) -> Self {
        let exit = match error {
            MigrationError::Away(_) | MigrationError::InUse { .. } => Exit::Unavailable,
            MigrationError::Refused(_) => Exit::Config,
            MigrationError::Unfit(_)
            | MigrationError::Superseded { .. }
            | MigrationError::Failed { .. }
            | MigrationError::Unfilled { .. } => Exit::Data,
        };
        Self::new(exit, error.to_string())
    }
}

impl MigrationError {
    /// Whether the same again may be done later.
    pub(super) fn passes(&self) -> bool {
        matches!(self, Self::Away(_) | Self::InUse { .. })
    }
}

/// What the library says, as what it means for the tables of `service`.
pub(super) fn explain(error: MigrateError, service: &'static str) -> MigrationError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)
            if is_away(&error) =>
        {
            MigrationError::Away(error)
        }
        MigrateError::Execute(error) if is_refused(&error) => MigrationError::Refused(error),
        source => MigrationError::Failed { service, source },
    }
}
