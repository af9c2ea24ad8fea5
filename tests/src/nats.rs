//! A throw-away NATS server that ends with the test process. A missing one fails loudly.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::process::{Process, free_port, mortal};
use crate::{Folder, poll};

/// Bound on the start of the server.
const START: Duration = Duration::from_mins(1);

/// Names the program where it is in none of the known places.
const VARIABLE: &str = "NATS_SERVER";

/// A server, running unless it was killed. It keeps its port over a restart.
#[derive(Debug)]
pub struct Server {
    port: u16,
    folder: Folder,
    arguments: Vec<String>,
    process: Option<Process>,
}

impl Server {
    /// Starts a server that lets everybody in.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts a server with further arguments, such as `-c` and a configuration file. They come last.
    pub fn with(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let mut server =
            Self { port: free_port(), folder: Folder::new(), arguments, process: None };
        server.launch();
        server
    }

    /// The server's address.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The server's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Every line logged since the last start.
    pub fn logs(&self) -> Vec<String> {
        self.process.as_ref().map(Process::stderr).unwrap_or_default()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("NATS runs").id()
    }

    /// Kills it (SIGKILL).
    pub fn kill(&mut self) {
        self.process.take().expect("NATS runs").kill();
    }

    /// Asks it to end (SIGTERM) and waits for that.
    pub fn stop(&mut self) {
        let process = self.process.take().expect("NATS runs");
        process.terminate();
        process.finish();
    }

    /// Starts it again on the same port, killed first where it runs.
    pub fn restart(&mut self) {
        if self.process.is_some() {
            self.kill();
        }
        self.launch();
    }

    /// Stops it (SIGSTOP): connections stay and nothing is answered.
    pub fn pause(&self) {
        self.process.as_ref().expect("NATS runs").pause();
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.process.as_ref().expect("NATS runs").resume();
    }

    fn launch(&mut self) {
        let mut command = mortal(program());
        command.current_dir(self.folder.path());
        command.args(["-a", "127.0.0.1", "-p", &self.port.to_string()]).args(&self.arguments);
        let mut process = Process::start(command);
        poll::until("NATS is ready", START, || {
            let lines = process.stderr();
            let ready = lines.iter().any(|line| line.contains("Server is ready"));
            assert!(ready || process.ended().is_none(), "NATS ended: {lines:#?}");
            ready.then_some(())
        });
        self.process = Some(process);
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
