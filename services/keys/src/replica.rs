//! The service as a process of its own, on a NATS bus and a Postgres database.

use clap::Subcommand;
use latchkey_audit::command::{AuditCommand, Log};
use latchkey_audit::config::Settings;
use latchkey_audit::operator::finished;
use latchkey_authority::operator;
use latchkey_authority::replica::{self, Needs, Tables, TablesCommand};
use latchkey_bus::{Bus, NatsOptions};
use latchkey_contract::Sender;
use latchkey_runtime::monitor::{self, MonitorAddress};
use latchkey_runtime::{Clock, Entropy, Environment, StartError, Table, process};
use latchkey_service::{Actors, Command, Service};
use latchkey_store::Db;

use crate::operator::{KeyCommand, ask};
use crate::{Config, Deps, NAME, config, store};

/// Where metrics and health checks are served.
pub const MONITOR_ADDR: MonitorAddress = monitor::variable("127.0.0.1:9102");

const TABLES: Tables =
    Tables { process: Replica::PROCESS, service: NAME, migrations: store::MIGRATIONS };

/// One of any number of replicas, configured.
pub struct Replica {
    config: Config,
    needs: Needs,
}

/// The service's own commands.
#[derive(Subcommand)]
pub enum OwnCommand {
    /// What is done to its tables.
    #[command(flatten)]
    Tables(TablesCommand),
    /// Check or print the service's audit log, while it runs or not
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Ask about keys of anybody's, over the bus, as its user `operator`
    #[command(subcommand)]
    Key(KeyCommand),
}

impl Service for Replica {
    const NAME: &'static str = NAME;
    const PROCESS: &'static str = "latchkey-keys";
    const ABOUT: &'static str = "Latchkey's key service";
    const DETAIL: &'static str = replica::DETAIL;
    const MONITOR_ADDR: &'static MonitorAddress = &MONITOR_ADDR;
    type Command = OwnCommand;
    type Needs = (Bus, Db);
    type Opened = Config;
    type Running = Actors<(Bus, Db)>;

    fn tables() -> Vec<Table> {
        replica::tables(config::tables())
    }

    fn configure(environment: &Environment) -> Result<Self, StartError> {
        let config = Config::read(environment)?;
        Ok(Self { config, needs: TABLES.needs(environment)? })
    }

    async fn open(self) -> Result<(Self::Needs, Config), StartError> {
        Ok((self.needs.open().await?, self.config))
    }

    async fn start(config: Config, needs: Self::Needs) -> Result<Self::Running, StartError> {
        let (bus, db) = needs.clone();
        let deps = Deps { bus, db, clock: Clock::System, entropy: Entropy::System };
        Ok(Actors::new(needs, crate::start(config, deps).await?))
    }
}

impl Command for OwnCommand {
    async fn carry_out(self, environment: &Environment) -> Result<(), StartError> {
        let command = match self {
            Self::Tables(command) => command,
            Self::Audit(command) => return read_audit(environment, command).await,
            Self::Key(command) => return ask_of_keys(environment, command).await,
        };
        let begin =
            |db| async move { crate::epoch::begin(&db, &Clock::System, &Entropy::System).await };
        let said = "The key service's database has begun a new epoch: no edge relies on anything older. Keys are \
            accepted again when the identity service has told of the owners, which it does by itself.";
        let note = finished(&store::AUDIT, &Clock::System, &Entropy::System);
        command.carry_out(TABLES.opening(environment)?, note, begin, said).await
    }
}

async fn ask_of_keys(environment: &Environment, command: KeyCommand) -> Result<(), StartError> {
    let options = NatsOptions::read(environment, operator::NAME, &Entropy::System)?
        .giving_commands_of(Sender::Operator)?;
    let wanted = command.read()?;
    let bus = Bus::connect(options).await?;
    process::print_line(&ask(&bus, &wanted, &Entropy::System).await?);
    Ok(())
}

/// Reads the events as the environment says that they are sealed.
async fn read_audit(environment: &Environment, command: AuditCommand) -> Result<(), StartError> {
    let keys = Settings::read(environment)?.keys();
    let db = TABLES.opening(environment)?.open_to_read().await?;
    let log = Log { db: db.clone(), sql: &store::AUDIT, keys };
    let done = command.carry_out(&[log]).await;
    db.close().await;
    done
}
