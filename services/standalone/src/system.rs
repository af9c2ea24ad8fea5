//! The three services of one process while they run.

use std::future::ready;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;

use latchkey_bus::Bus;
use latchkey_edge::Server;
use latchkey_identity::serving::Serving;
use latchkey_runtime::supervisor::Running as Actors;
use latchkey_runtime::{StartError, process};
use latchkey_service::{Process, Running, failed_too_often};
use latchkey_store::{Db, address};

use crate::{Config, operator};

/// The system while it runs.
pub struct System {
    pub(crate) server: Server,
    pub(crate) edge: latchkey_edge::Started,
    pub(crate) keys: Actors,
    pub(crate) identity: Serving,
    pub(crate) needs: (Bus, Db),
    pub(crate) shown: Shown,
    pub(crate) socket: PathBuf,
}

/// Where everything is, for whoever has started it.
#[derive(Clone)]
pub struct Shown {
    address: String,
    data: String,
    is_secret_made: bool,
}

impl System {
    /// Where HTTP is served, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.shown.address
    }
}

impl Running for System {
    /// Serves, and then finishes what is in hand: requests first, services after.
    async fn serve(self, process: &Process) -> Result<(), StartError> {
        let Self { server, mut edge, mut keys, identity, needs, shown, socket } = self;
        let readiness = Arc::clone(&edge.readiness);
        process.stop().unless_asked(readiness.look()).await;
        process.begin(&needs, move || ready(readiness.state().is_ready)).await;
        // Also while one of the services waits: everything else serves meanwhile.
        let shown = &shown;
        let announce = |_named| async { shown.announce(process.monitor()) };
        let (mut outcome, mut identity_running) = (Ok(()), None);
        let ended = async {
            outcome = tokio::select! {
                () = process.stop().asked() => Ok(()),
                error = identity.serve(&mut identity_running, announce, || ()) => Err(error),
                () = keys.failed() => Err(failed_too_often("keys")),
                () = edge.running.failed() => Err(failed_too_often("edge")),
                error = take_commands(socket, needs.0.as_user(latchkey_identity::operator::NAME)) => Err(error),
            };
            process.ends(&outcome);
        };
        server.serve(edge.service, ended).await;
        for running in [Some(edge.running), Some(keys), identity_running].into_iter().flatten() {
            running.stop_by(process.stop()).await;
        }
        tracing::info!("ended");
        outcome
    }
}

/// Takes operators' commands for as long as it is polled, where there is a place for them.
async fn take_commands(socket: PathBuf, bus: Bus) -> StartError {
    match operator::listen(&socket) {
        Ok(listener) => operator::serve(listener, bus).await,
        Err(error) => tracing::warn!(%error, "operators' commands cannot be received"),
    }
    std::future::pending().await
}

impl Shown {
    /// What is to be shown of a system that will serve by `server`.
    pub(crate) fn of(server: &Server, config: &Config) -> Self {
        let address = server.address().unwrap_or(config.edge.listen);
        Self {
            address: format!("http://{address}"),
            data: data(&config.database_url),
            is_secret_made: config.secret_file.is_some(),
        }
    }

    /// Says where everything is: in words on a terminal, as a log line everywhere else.
    fn announce(&self, monitor: &str) {
        let Self { address: url, data, is_secret_made } = self;
        let made = if *is_secret_made {
            "made now and kept beside the database"
        } else {
            "given by SECRET_KEY, or kept from an earlier start"
        };
        if io::stdout().is_terminal() {
            let version = env!("CARGO_PKG_VERSION");
            process::print_line(&format!(
                "\n  Latchkey {version}\n\n  API      {url}\n  Docs     {url}/docs  {url}/redoc\n  \
                 Data     {data}\n  Secret   {made}\n\n  Stop with Ctrl-C.\n"
            ));
        }
        let docs = format!("{url}/docs");
        tracing::info!(address = url, docs, monitor, data, secret = made, "ready");
    }
}

/// A database's address without the user and password in it, and without parameters.
fn data(database_url: &str) -> String {
    match address::postgres(database_url) {
        Ok(server) => {
            let (host, port) = (server.options.get_host(), server.options.get_port());
            let name = server.options.get_database().unwrap_or_default();
            format!("postgres://{host}:{port}/{name}")
        }
        Err(_) => database_url.to_owned(),
    }
}
