//! A throw-away NATS server that ends with the test process. A missing one fails loudly.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::postgres::free_port;
use crate::process::{Process, mortal};
use crate::{Folder, poll};

/// Bound on the start of the server.
const START: Duration = Duration::from_mins(1);

/// Names the program where it is in none of the known places.
const VARIABLE: &str = "NATS_SERVER";

/// A running server.
#[derive(Debug)]
pub struct Server {
    port: u16,
    // Both live as long as the server does.
    _folder: Folder,
    _process: Process,
}

impl Server {
    /// Starts a server.
    pub fn start() -> Self {
        let folder = Folder::new();
        let port = free_port();
        let mut command = mortal(program());
        command.current_dir(folder.path()).args(["-a", "127.0.0.1", "-p", &port.to_string()]);
        let mut process = Process::start(command);
        poll::until("NATS is ready", START, || {
            let lines = process.stderr();
            let ready = lines.iter().any(|line| line.contains("Server is ready"));
            assert!(ready || process.ended().is_none(), "NATS ended: {lines:#?}");
            ready.then_some(())
        });
        Self { port, _folder: folder, _process: process }
    }

    /// The server's address.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}

/// The program: by variable, then where `make setup` puts it, then on the search path.
fn program() -> PathBuf {
    let named = std::env::var_os(VARIABLE).map(PathBuf::from);
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/venv/bin/nats-server");
    let search = std::env::var_os("PATH").unwrap_or_default();
    let found = named
        .into_iter()
        .chain([tools])
        .chain(std::env::split_paths(&search).map(|folder| folder.join("nats-server")))
        .find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!("no NATS server: run make setup, or name the program in {VARIABLE}")
    })
}
