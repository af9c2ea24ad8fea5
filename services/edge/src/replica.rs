//! The edge as a process of its own, on a NATS bus.

use std::future::ready;

use latchkey_bus::{Bus, Connecting, NatsOptions};
use latchkey_contract::Sender;
use latchkey_runtime::monitor::{self, MonitorAddress};
use latchkey_runtime::{Clock, Entropy, Environment, StartError, Table};
use latchkey_service::{NoCommand, Process, Running, Service, failed_too_often};

use crate::{Built, Config, Deps, NAME, Server, config, start_actors};

/// Where metrics and health checks are served.
pub const MONITOR_ADDR: MonitorAddress = monitor::variable("127.0.0.1:9100");

/// One of any number of replicas, configured.
pub struct Replica {
    config: Config,
    nats: NatsOptions,
}

/// The replica while it runs: it answers, and connects to the bus beside that.
pub struct RunningReplica {
    bus: Bus,
    connecting: Connecting,
    server: Server,
    address: String,
    built: Built,
}

impl Service for Replica {
    const NAME: &'static str = NAME;
    const PROCESS: &'static str = "latchkey-edge";
    const ABOUT: &'static str = "Latchkey's public HTTP API";
    const DETAIL: &'static str =
        "Asks the other services over a NATS bus. Any number of replicas may run.";
    const MONITOR_ADDR: &'static MonitorAddress = &MONITOR_ADDR;
    type Command = NoCommand;
    type Needs = Bus;
    type Opened = (Config, Server, Connecting);
    type Running = RunningReplica;

    fn tables() -> Vec<Table> {
        let mut tables = config::tables();
        tables.push(latchkey_bus::config::table());
        tables
    }

    fn configure(environment: &Environment) -> Result<Self, StartError> {
        let config = Config::read(environment)?;
        config.check_beside(&MONITOR_ADDR, environment.read(&MONITOR_ADDR)?)?;
        let nats = NatsOptions::read(environment, NAME, &Entropy::System)?
            .giving_commands_of(Sender::Edge)?;
        Ok(Self { config, nats })
    }

    async fn open(self) -> Result<(Bus, Self::Opened), StartError> {
        let Self { config, nats } = self;
        let server = Server::bind(&config).await?;
        let (bus, connecting) = Bus::begin(nats);
        Ok((bus, (config, server, connecting)))
    }

    async fn start(opened: Self::Opened, bus: Bus) -> Result<RunningReplica, StartError> {
        let (config, server, connecting) = opened;
        let deps = Deps { bus: bus.clone(), clock: Clock::System, entropy: Entropy::System };
        let built = crate::build(&config, deps);
        let address = format!("http://{}", server.address().unwrap_or(config.listen));
        Ok(RunningReplica { bus, connecting, server, address, built })
    }
}

impl Running for RunningReplica {
    async fn serve(self, process: &Process) -> Result<(), StartError> {
        let Self { bus, connecting, server, address, built } = self;
        let Built { service, readiness, children } = built;
        let mut actors = None;
        let work = async {
            connecting.await?;
            let running = actors.insert(start_actors(children).await?);
            readiness.look().await;
            let check = move || ready(readiness.state().is_ready);
            if process.begin(&bus, check).await {
                let monitor = process.monitor();
                tracing::info!(service = NAME, address, monitor, "ready");
            }
            running.failed().await;
            Err(failed_too_often(NAME))
        };
        let mut outcome = Ok(());
        let ended = async {
            let worked = process.stop().unless_asked(Box::pin(work)).await;
            outcome = worked.unwrap_or(Ok(()));
            process.ends(&outcome);
        };
        server.serve(service, ended).await;
        if let Some(actors) = actors {
            actors.stop_by(process.stop()).await;
        }
        outcome
    }
}
