//! A database as something that a service needs outside its process.

use latchkey_runtime::{ConfigError, Environment, Resource, StartError};

use crate::config::Config;
use crate::{Db, Migration};

/// Which database a service uses, and which tables of it.
pub struct Opening {
    /// The database.
    pub config: Config,
    /// The process, as a server sees it.
    pub process: &'static str,
    /// Whose tables they are.
    pub service: &'static str,
    /// The steps that lead to them.
    pub migrations: &'static [Migration],
}

impl Opening {
    /// The database that the environment names, for a service's tables.
    ///
    /// # Errors
    /// [`ConfigError`] names the first variable that cannot be used.
    pub fn read(
        environment: &Environment,
        process: &'static str,
        service: &'static str,
        migrations: &'static [Migration],
    ) -> Result<Self, ConfigError> {
        Ok(Self { config: Config::read(environment)?, process, service, migrations })
    }
}

impl Opening {
    /// Opens the database for reading what is in these tables, and leaves them as they are.
    ///
    /// # Errors
    /// [`StartError`] where the address cannot be used.
    pub async fn open_to_read(self) -> Result<Db, StartError> {
        let db = self.config.open(self.process).await?;
        db.reads(self.service, self.migrations).await;
        Ok(db)
    }
}

impl Resource for Db {
    type Options = Opening;

    /// Opens the database, waits for it, and brings the tables up to date.
    async fn open(options: Opening) -> Result<Self, StartError> {
        let Opening { config, process, service, migrations } = options;
        let db = config.open(process).await?;
        db.prepare(service, migrations, None).await?;
        Ok(db)
    }

    async fn is_ready(&self) -> bool {
        self.check_ready().await.is_ok()
    }

    async fn close(&self) {
        Self::close(self).await;
    }
}
