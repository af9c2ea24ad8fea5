//! All three services in one process, on a bus inside it and a SQLite file: the embedded default.
//! No logic of its own.

pub mod config;
pub mod operator;

use std::io::{self, IsTerminal};
use std::net::SocketAddr;

use clap::{Parser, Subcommand};
use latchkey_bus::Bus;
use latchkey_edge::Server;
use latchkey_edge::handler::health;
use latchkey_identity::operator::UserCommand;
use latchkey_runtime::process::{self, Signals};
use latchkey_runtime::supervisor::Running;
use latchkey_runtime::telemetry::Telemetry;
use latchkey_runtime::{
    Clock, Entropy, Environment, Exit, Monitor, Readiness, StartError, Variable, telemetry,
};
use latchkey_store::Db;

pub use config::Config;

/// User login and API keys for services, where revoked means revoked.
///
/// Serves the whole system from one process: HTTP, accounts, keys, and a SQLite file.
#[derive(Parser)]
#[command(name = "latchkey", version, after_help = Variable::help(&config::variables()))]
#[command(disable_help_subcommand = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Check the variables, say whether they are good, and end
    #[arg(long)]
    check_config: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Deactivate or reactivate a user of the running process, on this machine
    #[command(subcommand)]
    User(UserCommand),
}

/// The system while it runs.
pub struct Standalone {
    server: Server,
    edge: latchkey_edge::Started,
    services: [Running; 2],
    bus: Bus,
    db: Db,
}

/// Starts everything, and returns when the process is asked to end.
///
/// # Errors
/// [`StartError`] where something cannot be used, or failed too often.
pub async fn run(arguments: Arguments, environment: Environment) -> Result<(), StartError> {
    let mut telemetry = telemetry::start(&environment, "latchkey", env!("CARGO_PKG_VERSION"))?;
    let outcome = Box::pin(serve(arguments, &environment, &mut telemetry)).await;
    telemetry.end().await;
    outcome
}

async fn serve(
    arguments: Arguments,
    environment: &Environment,
    telemetry: &mut Telemetry,
) -> Result<(), StartError> {
    if let Some(Command::User(command)) = arguments.command {
        let database_url = config::database_url(environment)?;
        process::say(&operator::ask(&database_url, &command.request()).await?);
        return Ok(());
    }
    let (config, secret) = Config::read(environment, !arguments.check_config, &Entropy::System)?;
    if arguments.check_config {
        process::say("The configuration is good.");
        return Ok(());
    }
    let listen = config.edge.listen;
    let data = shown(&config.database_url);
    let socket = operator::path(&config.database_url);
    let mut signals = Signals::listen()?;
    let render = telemetry.metrics(config.monitor.is_some()).await?;
    let monitor = Monitor::bind(config.monitor).await?;
    let starting = start(config, Clock::System, Entropy::System);
    let Some(standalone) = signals.unless_ended(starting).await else { return Ok(()) };
    let standalone = standalone?;
    let address = standalone.address().unwrap_or(listen);
    announce(address, &monitor.shown(), &data, secret.as_deref());
    let _monitoring = monitor.serve(render, standalone.readiness());
    let bus = standalone.bus.clone();
    let commands = async {
        match socket.map(|path| operator::listen(&path)).transpose() {
            Ok(Some(listener)) => operator::serve(listener, bus).await,
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "operator commands are not taken"),
        }
        std::future::pending::<()>().await;
    };
    let ended = async {
        tokio::select! {
            () = signals.ended() => {}
            () = commands => {}
        }
    };
    standalone.serve(ended).await
}

/// Opens the database, takes the address, and starts the three services.
///
/// # Errors
/// [`StartError`] where something cannot be used.
pub async fn start(
    config: Config,
    clock: Clock,
    entropy: Entropy,
) -> Result<Standalone, StartError> {
    let server = Server::bind(config.edge.listen).await?;
    let db = Db::open(&config.database_url, "latchkey", config.database_pool).await?;
    latchkey_identity::prepare(&db).await?;
    latchkey_keys::prepare(&db).await?;
    let bus = Bus::local();
    let (deps_db, deps_clock) = (db.clone(), clock.clone());
    let deps = latchkey_identity::Deps {
        bus: bus.clone(),
        db: deps_db,
        clock: deps_clock,
        entropy: entropy.clone(),
    };
    let identity = latchkey_identity::start(config.identity, deps).await?;
    let deps = latchkey_keys::Deps {
        bus: bus.clone(),
        db: db.clone(),
        clock: clock.clone(),
        entropy: entropy.clone(),
    };
    let keys = latchkey_keys::start(config.keys, deps).await?;
    let deps = latchkey_edge::Deps { bus: bus.clone(), clock, entropy };
    let edge = latchkey_edge::start(&config.edge, deps).await?;
    Ok(Standalone { server, edge, services: [identity, keys], bus, db })
}

impl Standalone {
    /// Where HTTP is served.
    ///
    /// # Errors
    /// Where the system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.server.address()
    }

    /// Whether every service and the database answers, for the monitor.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let (readiness, bus) = (Readiness::default(), self.bus.clone());
        readiness.decide(move || {
            let bus = bus.clone();
            async move { health::everyone_is_ready(&bus).await }
        });
        readiness
    }

    /// Serves until `end` returns, then finishes what is in hand: requests first, services after.
    ///
    /// # Errors
    /// [`StartError`] where a service failed too often and gave up.
    pub async fn serve(self, end: impl Future<Output = ()>) -> Result<(), StartError> {
        let Self { server, mut edge, services: [mut identity, mut keys], bus: _, db } = self;
        let mut outcome = Ok(());
        let ended = async {
            let failed = |name| {
                Err(StartError::new(Exit::Internal, format!("the {name} service failed too often")))
            };
            outcome = tokio::select! {
                () = end => Ok(()),
                () = identity.failed() => failed("identity"),
                () = keys.failed() => failed("key"),
                () = edge.running.failed() => failed("edge"),
            };
        };
        server.serve(edge.service, ended).await;
        for running in [edge.running, keys, identity] {
            running.stop().await;
        }
        db.close().await;
        tracing::info!("ended");
        outcome
    }
}

/// A database's address without the user and password in it.
fn shown(database_url: &str) -> String {
    match (database_url.split_once("://"), database_url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, place))) => format!("{scheme}://{place}"),
        _ => database_url.to_owned(),
    }
}

/// Says where everything is: in words on a terminal, as a log line everywhere else.
fn announce(address: SocketAddr, monitor: &str, data: &str, secret: Option<&str>) {
    let url = format!("http://{address}");
    let made = secret.unwrap_or("given by SECRET_KEY, or kept from an earlier start");
    if io::stdout().is_terminal() {
        let version = env!("CARGO_PKG_VERSION");
        process::say(&format!(
            "\n  Latchkey {version}\n\n  API      {url}\n  Docs     {url}/docs  {url}/redoc\n  \
             Data     {data}\n  Secret   {made}\n\n  Stop with Ctrl-C.\n"
        ));
    }
    let docs = format!("{url}/docs");
    tracing::info!(address = url, docs, monitor, data, secret = made, "ready");
}
