//! A throw-away NATS server that ends with the test process. A missing one fails loudly.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::process::{Process, free_port, mortal};
use crate::{Folder, poll};

/// Bound on the start of the server.
const START: Duration = Duration::from_mins(1);

/// Names the program where it is in none of the known places.
const VARIABLE: &str = "NATS_SERVER";

/// How a server is started.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// Further arguments, such as `-c` and a configuration file. They come last.
    pub arguments: Vec<String>,
    /// Variables of its environment.
    pub environment: Vec<(String, String)>,
    /// Whether it asks for TLS.
    pub tls: bool,
}

/// A server, running unless it was killed. It keeps its port over a restart.
#[derive(Debug)]
pub struct Server {
    port: u16,
    folder: Folder,
    setup: Setup,
    process: Option<Process>,
}

impl Setup {
    /// A server with a configuration file of `deploy/nats`, and these variables.
    pub fn shipped(file: &str, environment: &[(&str, &str)]) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/nats").join(file);
        let owned = environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        Self {
            arguments: vec!["-c".to_owned(), path.display().to_string()],
            environment: owned.collect(),
            tls: false,
        }
    }
}

impl Server {
    /// Starts a server that lets everybody in.
    pub fn start() -> Self {
        Self::with(Setup::default())
    }

    /// Starts a server in this way.
    pub fn with(setup: Setup) -> Self {
        let mut server = Self { port: free_port(), folder: Folder::new(), setup, process: None };
        server.launch();
        server
    }

    /// The server's address.
    pub fn url(&self) -> String {
        let scheme = if self.setup.tls { "tls" } else { "nats" };
        format!("{scheme}://127.0.0.1:{}", self.port)
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

    /// Has it read its configuration again, and waits until it has.
    pub fn reload(&self) {
        let done = |lines: &[String]| {
            lines.iter().filter(|line| line.contains("Reloaded server configuration")).count()
        };
        let before = done(&self.logs());
        self.process.as_ref().expect("NATS runs").hang_up();
        poll::until("NATS has read its configuration", START, || {
            (done(&self.logs()) > before).then_some(())
        });
    }

    fn launch(&mut self) {
        let mut command = mortal(program());
        command.current_dir(self.folder.path());
        command.args(["-a", "127.0.0.1", "-p", &self.port.to_string()]);
        command.args(&self.setup.arguments).envs(self.setup.environment.iter().cloned());
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
