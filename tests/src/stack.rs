//! The system under test behind one set of verbs, so that a cluster can stand where the one process stands.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

use crate::process::{Finished, Process};
use crate::{Api, Folder, binary, poll};

/// The signing secret of every stack that does not choose its own.
pub const SECRET: &str = "e2e-secret-e2e-secret-e2e-secret-e2e-secret";

/// Bound on a start; a start takes well under a second, a loaded machine may need more.
const START: Duration = Duration::from_mins(1);

/// What a test may change before the start.
#[derive(Debug, Clone)]
pub struct Config {
    environment: BTreeMap<String, String>,
    dotenv: Option<String>,
    largest_file: Option<u64>,
}

impl Config {
    fn new(folder: &Path) -> Self {
        let mut config = Self { environment: BTreeMap::new(), dotenv: None, largest_file: None };
        config.set("LISTEN_ADDR", "127.0.0.1:0");
        config.set("DATABASE_URL", &format!("sqlite://{}", database(folder).display()));
        config.set("SECRET_KEY", SECRET);
        config.set("RATE_LIMIT", "off");
        config
    }

    /// Sets an environment variable.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Takes a variable away, so that its default holds.
    pub fn unset(&mut self, name: &str) -> &mut Self {
        self.environment.remove(name);
        self
    }

    /// Writes a `.env` file into the working folder.
    pub fn dotenv(&mut self, text: &str) -> &mut Self {
        self.dotenv = Some(text.to_owned());
        self
    }

    /// Lets no file grow above so many bytes, as a full disk would; `None` lifts the limit.
    pub fn largest_file(&mut self, bytes: Option<u64>) -> &mut Self {
        self.largest_file = bytes;
        self
    }

    /// Makes hashing cheap, for tests that need many accounts and not the cost.
    pub fn cheap_passwords(&mut self) -> &mut Self {
        self.set("ARGON2_MEMORY_KIB", "8192")
            .set("ARGON2_ITERATIONS", "1")
            .set("ARGON2_PARALLELISM", "1")
    }
}

/// A running system.
#[derive(Debug)]
pub struct Stack {
    folder: Folder,
    config: Config,
    process: Option<Process>,
    url: String,
}

/// What is there only where the whole system is one process.
#[derive(Debug, Clone)]
pub struct Embedded {
    /// The working folder.
    pub folder: PathBuf,
    /// The database file.
    pub database: PathBuf,
    /// The process id.
    pub pid: u32,
}

impl Stack {
    /// Starts one with limits off and everything else as shipped.
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    /// Starts one after `change` has had its say.
    pub fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = Folder::new();
        let mut config = Config::new(folder.path());
        change(&mut config);
        if let Some(text) = &config.dotenv {
            std::fs::write(folder.join(".env"), text).expect("write .env");
        }
        let mut stack = Self { folder, config, process: None, url: String::new() };
        stack.launch();
        stack
    }

    /// The one stack of this test process, for tests that need none of their own. Limits are off.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Stack> = OnceLock::new();
        let stack = SHARED.get_or_init(Self::start);
        let runs = stack.process.as_ref().is_some_and(Process::runs);
        assert!(runs, "the shared stack has ended; it logged at last: {:#?}", stack.logs().last());
        stack
    }

    /// The address of one edge, without a slash at the end. It changes with a restart.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The addresses of all edges.
    pub fn edges(&self) -> Vec<String> {
        vec![self.url.clone()]
    }

    /// A client for one edge.
    pub fn api(&self) -> Api {
        Api::new(&self.url)
    }

    /// Stops in good order if it runs, and starts again on the same data.
    pub fn restart(&mut self) {
        if self.process.is_some() {
            let end = self.stop();
            assert_eq!(end.code, Some(0), "a stop in good order: {}", end.stderr);
        }
        self.launch();
    }

    /// The same, with `change` made in between.
    pub fn restart_with(&mut self, change: impl FnOnce(&mut Config)) {
        change(&mut self.config);
        self.restart();
    }

    /// Asks for a stop and returns at once.
    pub fn terminate(&self) {
        self.process.as_ref().expect("it runs").terminate();
    }

    /// Asks for a stop and waits for it.
    pub fn stop(&mut self) -> Finished {
        self.terminate();
        self.process.take().expect("it runs").finish()
    }

    /// Waits for an end that was asked for with [`Stack::terminate`].
    pub fn ended(&mut self) -> Finished {
        self.process.take().expect("it runs").finish()
    }

    /// Kills every process at once, without a word.
    pub fn kill(&mut self) {
        self.process.take().expect("it runs").kill();
    }

    /// Every line logged since the last start.
    pub fn logs(&self) -> Vec<String> {
        self.process.as_ref().map(Process::stderr).unwrap_or_default()
    }

    /// The one process and its files; nothing where the stack is a cluster.
    pub fn embedded(&self) -> Option<Embedded> {
        let pid = self.process.as_ref()?.id();
        let folder = self.folder.path().to_owned();
        Some(Embedded { database: database(&folder), folder, pid })
    }

    fn launch(&mut self) {
        let mut command = binary::command(self.folder.path(), self.config.largest_file);
        command.envs(&self.config.environment);
        let mut process = Process::start(command);
        self.url = poll::until("latchkey is ready", START, || {
            let lines = process.stderr();
            let end = process.ended();
            let ready = lines.iter().find_map(|line| ready_address(line));
            assert!(ready.is_some() || end.is_none(), "the start failed ({end:?}): {lines:#?}");
            ready
        });
        self.process = Some(process);
    }
}

fn database(folder: &Path) -> PathBuf {
    folder.join("data").join("latchkey.db")
}

/// The address in the one log line that says that the start is over.
pub fn ready_address(line: &str) -> Option<String> {
    ready_field(line, "address").map(|address| address.trim_end_matches('/').to_owned())
}

/// A field of that line.
pub fn ready_field(line: &str, name: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    let fields = line.get("fields").unwrap_or(&line);
    if fields.get("message")?.as_str()? != "ready" {
        return None;
    }
    Some(fields.get(name)?.as_str()?.to_owned())
}
