//! The service as a process of its own, on a NATS bus and a Postgres database.

use clap::Subcommand;
use latchkey_audit::command::{AuditCommand, Log};
use latchkey_audit::config::Settings;
use latchkey_audit::operator::finished;
use latchkey_authority::replica::{self, Needs, Tables, TablesCommand};
use latchkey_bus::{Bus, NatsOptions};
use latchkey_contract::Sender;
use latchkey_runtime::monitor::{self, MonitorAddress};
use latchkey_runtime::process::{self, Signals};
use latchkey_runtime::{Clock, Entropy, Environment, Exit, StartError, Table};
use latchkey_service::{Command, Process, Running, Service};
use latchkey_store::Db;

use crate::operator::{self, UserCommand};
use crate::serving::Serving;
use crate::signer::{self, SecretCommand};
use crate::signing::command::SigningKeyCommand;
use crate::{Config, Deps, NAME, config, names, signing, store};

/// Where metrics and health checks are served.
pub const MONITOR_ADDR: MonitorAddress = monitor::variable("127.0.0.1:9101");

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
    /// Deactivate or reactivate a user, over the bus, as its user `operator`
    #[command(subcommand)]
    User(UserCommand),
    /// Change whose access tokens are accepted, in the database itself
    #[command(subcommand)]
    Secret(SecretCommand),
    /// List or revoke the keys that sign access tokens, over the bus, as its user `operator`
    #[command(subcommand)]
    SigningKey(SigningKeyCommand),
}

/// The replica while it runs.
pub struct RunningReplica {
    needs: (Bus, Db),
    serving: Serving,
}

impl Service for Replica {
    const NAME: &'static str = NAME;
    const PROCESS: &'static str = "latchkey-identity";
    const ABOUT: &'static str = "Latchkey's identity service";
    const DETAIL: &'static str = replica::DETAIL;
    const MONITOR_ADDR: &'static MonitorAddress = &MONITOR_ADDR;
    type Command = OwnCommand;
    type Needs = (Bus, Db);
    type Opened = Config;
    type Running = RunningReplica;

    fn tables() -> Vec<Table> {
        replica::tables(config::tables())
    }

    fn configure(environment: &Environment) -> Result<Self, StartError> {
        let config = Config::read(environment, environment.read(&config::SECRET_KEY)?)?;
        Ok(Self { config, needs: TABLES.needs(environment)? })
    }

    async fn open(self) -> Result<(Self::Needs, Config), StartError> {
        let needs = self.needs.open().await?;
        names::complete(&needs.1).await?;
        Ok((needs, self.config))
    }

    async fn start(config: Config, needs: Self::Needs) -> Result<Self::Running, StartError> {
        let (bus, db) = needs.clone();
        let deps = Deps { bus, db, clock: Clock::System, entropy: Entropy::System };
        Ok(RunningReplica { needs, serving: Serving::new(config, deps) })
    }
}

impl Running for RunningReplica {
    async fn serve(self, process: &Process) -> Result<(), StartError> {
        let Self { needs, serving } = self;
        let (needs, mut actors) = (&needs, None);
        let ready = |named: signer::Named| process.begin_with(needs, move || named.is());
        let serving = serving.serve(&mut actors, ready, || process.withdraw());
        let failed = process.stop().unless_asked(Box::pin(serving)).await;
        let outcome = failed.map_or(Ok(()), Err);
        process.ends(&outcome);
        if let Some(actors) = actors {
            actors.stop_by(process.stop()).await;
        }
        outcome
    }
}

impl Command for OwnCommand {
    async fn carry_out(self, environment: &Environment) -> Result<(), StartError> {
        match self {
            Self::Tables(command) => change_tables(environment, command).await,
            Self::Audit(command) => read_audit(environment, command).await,
            Self::User(command) => set_user(environment, command).await,
            Self::Secret(command) => change_secrets(environment, command).await,
            Self::SigningKey(command) => {
                let bus = as_operator(environment).await?;
                let done = signing::command::carry_out(&bus, &command, &Entropy::System);
                process::print_line(&done.await?);
                Ok(())
            }
        }
    }
}

async fn change_secrets(
    environment: &Environment,
    command: SecretCommand,
) -> Result<(), StartError> {
    let SecretCommand::Enforce { new } = command;
    let secret = environment.read(&config::SECRET_KEY)?;
    let tables = TABLES.opening(environment)?;
    let db = tables.config.open(tables.process).await?;
    let mut signals = Signals::listen()?;
    let enforcing = Box::pin(signer::enforce(environment, &db, secret, new));
    let done = signals.unless_ended(enforcing).await.ok_or_else(|| {
        StartError::new(
            Exit::Unavailable,
            "asked to end before it was sure that no edge accepts other tokens: run it again",
        )
    })?;
    process::print_line(&done?);
    db.close().await;
    Ok(())
}

/// The bus, to give commands on.
async fn as_operator(environment: &Environment) -> Result<Bus, StartError> {
    let options = NatsOptions::read(environment, operator::NAME, &Entropy::System)?
        .giving_commands_of(Sender::Operator)?;
    Bus::connect(options).await
}

async fn set_user(environment: &Environment, command: UserCommand) -> Result<(), StartError> {
    let bus = as_operator(environment).await?;
    process::print_line(&operator::set(&bus, &command.into(), &Entropy::System).await?);
    Ok(())
}

async fn change_tables(
    environment: &Environment,
    command: TablesCommand,
) -> Result<(), StartError> {
    let begin =
        |db| async move { crate::epoch::begin(&db, &Clock::System, &Entropy::System).await };
    let said = "The identity service's database has begun a new epoch: no edge relies on anything older, and every \
        session from before has ended. The key service is told of the owners anew.";
    let note = finished(&store::AUDIT, &Clock::System, &Entropy::System);
    command.carry_out(TABLES.opening(environment)?, note, begin, said).await
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
