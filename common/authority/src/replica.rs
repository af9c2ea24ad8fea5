//! What the replicas of identity and keys have in common as processes of their own: they answer on a NATS bus and keep
//! their data in Postgres.

use clap::Subcommand;
use latchkey_bus::{Bus, NatsOptions};
use latchkey_runtime::{ConfigError, Entropy, Environment, Resource, StartError, Table, process};
use latchkey_store::command::migrate;
use latchkey_store::config::DATABASE_URL;
use latchkey_store::{Db, Migration, Opening};

use crate::operator;

/// What such a service does, for its help text.
pub const DETAIL: &str =
    "Answers on a NATS bus and keeps its data in Postgres. Any number of replicas may run.";

/// Whose tables they are, and which.
#[derive(Clone, Copy, Debug)]
pub struct Tables {
    /// The process, as a server sees it.
    pub process: &'static str,
    /// The service.
    pub service: &'static str,
    /// The steps that lead to them.
    pub migrations: &'static [Migration],
}

/// How what they need is reached.
pub struct Needs {
    nats: NatsOptions,
    opening: Opening,
}

/// What an operator does to their tables.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum TablesCommand {
    /// Bring the tables up to date, say what was done, and end
    Migrate {
        /// Leave the tables to this release and later ones: refused while something older uses them, and there is no
        /// going back
        #[arg(long)]
        finish: bool,
    },
    /// After a restore of the database: begin a new epoch. When it returns, no edge relies on anything older
    NewEpoch,
}

/// The variables of such a service that reads `own`, too.
#[must_use]
pub fn tables(own: Vec<Table>) -> Vec<Table> {
    let data = latchkey_store::config::table(&DATABASE_URL);
    [data].into_iter().chain(own).chain([latchkey_bus::config::table()]).collect()
}

impl Tables {
    /// The database that the environment names, for these tables.
    ///
    /// # Errors
    /// [`ConfigError`] names the first variable that cannot be used.
    pub fn opening(self, environment: &Environment) -> Result<Opening, ConfigError> {
        Opening::read(environment, self.process, self.service, self.migrations)
    }

    /// Both, as the environment says.
    ///
    /// # Errors
    /// [`ConfigError`] names the first variable that cannot be used.
    pub fn needs(self, environment: &Environment) -> Result<Needs, ConfigError> {
        let opening = self.opening(environment)?;
        let nats = NatsOptions::read(environment, self.service, &Entropy::System)?;
        Ok(Needs { nats, opening })
    }
}

impl Needs {
    /// Opens both at the same time, and waits for them.
    ///
    /// # Errors
    /// [`StartError`] where waiting cannot help.
    pub async fn open(self) -> Result<(Bus, Db), StartError> {
        <(Bus, Db)>::open((self.nats, self.opening)).await
    }
}

impl TablesCommand {
    /// Carries it out; a new epoch is begun by `begin`, and `said` is printed when it was. That the tables were left to
    /// this release is noted by the statement `note`, in the transaction that does it.
    ///
    /// # Errors
    /// [`StartError`] where it cannot be done.
    pub async fn carry_out<F>(
        self,
        opening: Opening,
        note: String,
        begin: impl FnOnce(Db) -> F + Send,
        said: &str,
    ) -> Result<(), StartError>
    where
        F: Future<Output = Result<(), StartError>> + Send,
    {
        match self {
            Self::Migrate { finish } => Box::pin(migrate(opening, finish.then_some(note))).await,
            Self::NewEpoch => {
                Box::pin(operator::new_epoch(opening, begin)).await?;
                process::print_line(said);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use latchkey_runtime::process::WORKER_THREADS;
    use latchkey_store::config::DATABASE_POOL;
    use tokio::time::timeout;

    use super::*;

    #[test]
    fn it_reads_where_its_data_and_its_bus_are_and_what_is_its_own() {
        let own = Table::new("Own", &[&WORKER_THREADS]);
        let shown = |tables: &[Table]| -> Vec<_> {
            tables.iter().flat_map(|table| &table.settings).map(|setting| setting.name()).collect()
        };
        let names = shown(&tables(vec![own]));
        let others = [DATABASE_URL.name, DATABASE_POOL.name, WORKER_THREADS.name];
        for name in shown(&[latchkey_bus::config::table()]).into_iter().chain(others) {
            assert!(names.contains(&name), "{name}");
        }
    }

    /// What they do to a server's tables is tried by the suite, which has one.
    #[tokio::test]
    async fn a_command_whose_database_is_not_there_begins_nothing_and_has_not_been_carried_out() {
        let url = "postgres://keys:secret@127.0.0.1:1/latchkey".to_owned();
        let environment = Environment::of([(DATABASE_URL.name.to_owned(), url)]);
        let tables = Tables { process: "test", service: "keys", migrations: &[] };
        for command in [TablesCommand::Migrate { finish: false }, TablesCommand::NewEpoch] {
            let opening = tables.opening(&environment).unwrap();
            let begun = AtomicBool::new(false);
            let change = |_: Db| {
                begun.store(true, Ordering::Relaxed);
                async { Ok(()) }
            };
            // It waits for the database, for longer than this.
            let doing = command.carry_out(opening, String::new(), change, "It has begun.");
            let done = timeout(Duration::from_millis(30), doing).await;
            assert!(!matches!(done, Ok(Ok(()))), "{command:?}");
            assert!(!begun.load(Ordering::Relaxed), "{command:?}");
        }
    }
}
