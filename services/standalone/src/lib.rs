//! All three services in one process, on a bus inside it and a SQLite file: the embedded default.
//! No logic of its own.

mod audit;
pub mod config;
pub mod epoch;
pub mod operator;
mod release;
pub mod system;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use latchkey_audit::command::AuditCommand;
use latchkey_bus::Bus;
use latchkey_contract::Secret;
use latchkey_edge::Server;
use latchkey_identity::config::SECRET_KEY;
use latchkey_identity::operator::UserCommand;
use latchkey_identity::signer::{self, SecretCommand};
use latchkey_identity::signing::command::SigningKeyCommand;
use latchkey_keys::operator::KeyCommand;
use latchkey_runtime::monitor::MonitorAddress;
use latchkey_runtime::{Clock, Entropy, Environment, StartError, Table, process};
use latchkey_service::{Command, Service};
use latchkey_store::Db;

pub use config::Config;
use operator::Asked;
use system::{Shown, System};

/// What connections to a database server are named after.
const PROCESS: &str = "latchkey";

/// The system in one process, configured.
pub struct Standalone {
    config: Config,
    socket: PathBuf,
    clock: Clock,
    entropy: Entropy,
}

/// Its own commands.
#[derive(Subcommand)]
pub enum OwnCommand {
    /// Deactivate or reactivate a user of the running process, on this machine
    #[command(subcommand)]
    User(UserCommand),
    /// Ask the running process about keys of anybody's, on this machine
    #[command(subcommand)]
    Key(KeyCommand),
    /// Change whose access tokens are accepted; with SQLite while no process runs: a start does it, too
    #[command(subcommand)]
    Secret(SecretCommand),
    /// List or revoke the keys that sign access tokens, in the running process, on this machine
    #[command(subcommand)]
    SigningKey(SigningKeyCommand),
    /// Check or print the audit log of both services, while the process runs or not
    #[command(subcommand)]
    Audit(AuditCommand),
    /// After a restore of the database, while no process uses it: begin a new epoch
    NewEpoch,
}

/// What is open before the services start.
pub struct Opened {
    server: Server,
    config: Config,
    shown: Shown,
    socket: PathBuf,
    clock: Clock,
    entropy: Entropy,
}

impl Standalone {
    /// The system as `config` says, which goes by `clock`.
    ///
    /// # Errors
    /// [`StartError`] where the address of the database cannot be used.
    pub fn new(config: Config, clock: Clock, entropy: Entropy) -> Result<Self, StartError> {
        let socket = operator::path(&config.database_url)?;
        Ok(Self { config, socket, clock, entropy })
    }
}

impl Service for Standalone {
    const NAME: &'static str = "latchkey";
    const PROCESS: &'static str = PROCESS;
    const ABOUT: &'static str = "User login and API keys for services, where revoked means revoked";
    const DETAIL: &'static str =
        "Serves the whole system from one process: HTTP, accounts, keys, and a SQLite file.";
    const MONITOR_ADDR: &'static MonitorAddress = &config::MONITOR_ADDR;
    type Command = OwnCommand;
    type Needs = (Bus, Db);
    type Opened = Opened;
    type Running = System;

    fn tables() -> Vec<Table> {
        config::tables()
    }

    fn configure(environment: &Environment) -> Result<Self, StartError> {
        Self::new(Config::read(environment)?, Clock::System, Entropy::System)
    }

    /// Takes the address, opens the database, and brings the tables of both services up to date.
    async fn open(self) -> Result<(Self::Needs, Opened), StartError> {
        let Self { mut config, socket, clock, entropy } = self;
        let server = Server::bind(&config.edge).await?;
        let db = Db::open(&config.database_url, PROCESS, config.database_pool).await?;
        latchkey_identity::prepare(&db).await?;
        latchkey_keys::prepare(&db).await?;
        let shown = Shown::of(&server, &config);
        if let Some(file) = &config.secret_file {
            let secret = make_secret(&db, file, &entropy).await?;
            config::seal_by(&secret, &mut config.identity, &mut config.keys);
            config.identity.token.secret = secret;
        }
        config.keys.process_secret = Some(config.identity.token.secret.clone());
        Ok(((Bus::local(), db), Opened { server, config, shown, socket, clock, entropy }))
    }

    async fn start(opened: Opened, (bus, db): Self::Needs) -> Result<System, StartError> {
        let Opened { server, config, shown, socket, clock, entropy } = opened;
        let deps = latchkey_identity::Deps {
            bus: bus.as_user(latchkey_identity::NAME),
            db: db.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
        };
        let identity = latchkey_identity::serving::Serving::begin(config.identity, deps).await?;
        let deps = latchkey_keys::Deps {
            bus: bus.as_user(latchkey_keys::NAME),
            db: db.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
        };
        let keys = latchkey_keys::start(config.keys, deps).await?;
        let deps = latchkey_edge::Deps { bus: bus.as_user(latchkey_edge::NAME), clock, entropy };
        let edge = latchkey_edge::start(&config.edge, deps).await?;
        release::leave_to_this_one(&db).await?;
        Ok(System { server, edge, keys, identity, needs: (bus, db), shown, socket })
    }
}

impl Command for OwnCommand {
    async fn carry_out(self, environment: &Environment) -> Result<(), StartError> {
        match self {
            Self::User(command) => ask(environment, &Asked::Account(command.into())).await,
            Self::SigningKey(command) => ask(environment, &Asked::SigningKey(command)).await,
            Self::Key(command) => ask(environment, &Asked::Key { key: command.read()? }).await,
            Self::Secret(SecretCommand::Enforce { new }) => {
                process::print_line(&enforce(environment, new).await?);
                Ok(())
            }
            Self::Audit(command) => audit::read(environment, command).await,
            Self::NewEpoch => epoch::begin(environment).await,
        }
    }
}

/// Has the running process do what is asked, and says what it says.
async fn ask(environment: &Environment, asked: &Asked) -> Result<(), StartError> {
    let database_url = environment.read(&config::DATABASE_URL)?;
    process::print_line(&operator::ask(&database_url, asked).await?);
    Ok(())
}

/// Makes the secret that nobody has given. One that came about by itself takes no other's place: that would end every
/// token for good because a variable or a file was missing once.
async fn make_secret(db: &Db, file: &Path, entropy: &Entropy) -> Result<Secret, StartError> {
    if signer::is_any_named(db).await? {
        let fault = format!(
            "not set, {} is not there, and the database names a secret from an earlier start: put the file back, or give \
             that secret. To begin anew, which ends every token, set SECRET_KEY to a new one",
            file.display()
        );
        return Err(SECRET_KEY.wrong(fault).into());
    }
    config::make_secret(file, entropy)
}

/// Makes nothing: what is named, and where, has to be there already.
async fn enforce(environment: &Environment, may_be_new: bool) -> Result<String, StartError> {
    let config = Config::read(environment)?;
    if config.secret_file.is_some() {
        return Err(SECRET_KEY.wrong("not set").into());
    }
    config::check_is_there(&config.database_url)?;
    let db = Db::open(&config.database_url, PROCESS, config.database_pool).await?;
    let done = signer::enforce(environment, &db, config.identity.token.secret, may_be_new).await;
    db.close().await;
    done
}
