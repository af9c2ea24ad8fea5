//! The system under test behind one set of verbs: the one process of the embedded default or, with
//! `STACK=cluster`, a cluster with two replicas of each service.

mod audit;
mod operator;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use crate::binary::Limits;
use crate::cluster::Replica;
use crate::lines::ready_field;
use crate::process::{Finished, Process};
use crate::{Api, Cluster, Folder, Service, binary, database, poll};

/// The signing secret of every stack that does not choose its own.
pub const SECRET: &str = "e2e-secret-e2e-secret-e2e-secret-e2e-secret";

/// What seals the audit log, and keeps answers for a repeat, of every cluster that has a secret for that.
pub const AUDIT_KEY: &str = "e2e-audit-key-e2e-audit-key-e2e-audit-key";

/// Bound on a start; a start takes well under a second, a loaded machine may need more.
const START: Duration = Duration::from_mins(1);

/// The variable that says what the tests run on: nothing or `embedded`, or `cluster`.
const STACK: &str = "STACK";

/// Replicas of each service of a cluster.
const REPLICAS: usize = 2;

/// What a test may change before the start.
#[derive(Debug, Clone)]
pub struct Config {
    environment: BTreeMap<String, String>,
    dotenv: Option<String>,
    limits: Limits,
    edges: usize,
}

impl Config {
    fn new() -> Self {
        let environment = BTreeMap::new();
        let mut config =
            Self { environment, dotenv: None, limits: Limits::default(), edges: REPLICAS };
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

    /// Leaves a cluster with one edge, for tests of what an edge counts in its own memory.
    pub fn one_edge(&mut self) -> &mut Self {
        self.edges = 1;
        self
    }

    /// Lets no file grow above so many bytes, as a full disk would; `None` lifts the limit. Only the
    /// embedded system writes files.
    pub fn largest_file(&mut self, bytes: Option<u64>) -> &mut Self {
        self.limits.largest_file = bytes;
        self
    }

    /// Starts with so many open files allowed, and no way to more than `hard`. For the embedded system alone.
    pub fn open_files(&mut self, soft: u64, hard: u64) -> &mut Self {
        self.limits.open_files = Some((soft, hard));
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
    config: Config,
    system: System,
}

#[derive(Debug)]
enum System {
    Embedded(One),
    Cluster(Box<Cluster>),
}

/// The system as one process.
#[derive(Debug)]
struct One {
    folder: Folder,
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
        let mut config = Config::new();
        if Self::is_cluster() {
            change(&mut config);
            let cluster = cluster(&config);
            return Self { config, system: System::Cluster(Box::new(cluster)) };
        }
        let mut one = One { folder: Folder::new(), process: None, url: String::new() };
        config.set("LISTEN_ADDR", "127.0.0.1:0");
        let database = database(one.folder.path());
        config.set("DATABASE_URL", &format!("sqlite://{}", database.display()));
        change(&mut config);
        if let Some(text) = &config.dotenv {
            std::fs::write(one.folder.join(".env"), text).expect("write .env");
        }
        one.launch(&config);
        Self { config, system: System::Embedded(one) }
    }

    /// The one stack of this test process, for tests that need none of their own. Limits are off and
    /// hashing is cheap.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Stack> = OnceLock::new();
        let stack = SHARED.get_or_init(|| {
            let stack = Self::with(|config| {
                config.cheap_passwords();
                // As in the cluster that is shipped.
                if Self::is_cluster() {
                    config.set("AUDIT_KEY", AUDIT_KEY);
                }
            });
            stack.until_told();
            stack
        });
        let runs = match &stack.system {
            System::Embedded(one) => one.process.as_ref().is_some_and(Process::runs),
            System::Cluster(cluster) => cluster.runs(),
        };
        assert!(runs, "the shared stack has ended; it logged at last: {:#?}", stack.logs().last());
        stack
    }

    /// Waits until the key service was told what users may grant, as it is soon after a first start: before, no key does
    /// what only a reserved scope allows.
    fn until_told(&self) {
        let url = self.database(Service::Keys);
        let wait = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(database::until_told(&url));
        };
        // The thread that asks for the stack may be one of a runtime.
        std::thread::scope(|scope| scope.spawn(wait).join().unwrap());
    }

    /// Whether stacks are clusters in this run. Tests about the embedded process alone ask this first.
    pub fn is_cluster() -> bool {
        match std::env::var(STACK).as_deref() {
            Ok("cluster") => true,
            Ok("" | "embedded") | Err(_) => false,
            Ok(other) => panic!("{STACK} is embedded or cluster, not {other}"),
        }
    }

    /// The address of one edge, without a slash at the end. The embedded one's changes with a restart.
    pub fn url(&self) -> &str {
        match &self.system {
            System::Embedded(one) => &one.url,
            System::Cluster(cluster) => cluster.replica(Service::Edge, 0).url(),
        }
    }

    /// The addresses of all edges.
    pub fn edges(&self) -> Vec<String> {
        match &self.system {
            System::Embedded(one) => vec![one.url.clone()],
            System::Cluster(cluster) => cluster.edges(),
        }
    }

    /// A client that asks all edges in turn: what one is told, the next has to know.
    pub fn api(&self) -> Api {
        Api::over(self.edges())
    }

    /// Stops in good order if it runs, and starts again on the same data.
    pub fn restart(&mut self) {
        let runs = match &self.system {
            System::Embedded(one) => one.process.is_some(),
            System::Cluster(cluster) => cluster.runs(),
        };
        if runs {
            let end = self.stop();
            assert_eq!(end.code, Some(0), "a stop in good order: {}", end.stderr);
        }
        match &mut self.system {
            System::Embedded(one) => one.launch(&self.config),
            System::Cluster(cluster) => cluster.launch(),
        }
    }

    /// The same, with `change` made in between.
    pub fn restart_with(&mut self, change: impl FnOnce(&mut Config)) {
        let before = self.config.environment.clone();
        change(&mut self.config);
        if let System::Cluster(cluster) = &mut self.system {
            for replica in cluster.all() {
                for name in before.keys() {
                    replica.unset(name);
                }
                for (name, value) in &self.config.environment {
                    replica.set(name, value);
                }
            }
        }
        self.restart();
    }

    /// Asks for a stop and returns at once. A cluster's edges go first, as with Compose: the others are
    /// asked when they have ended, in [`Stack::ended`].
    pub fn terminate(&mut self) {
        match &mut self.system {
            System::Embedded(one) => one.process.as_ref().expect("it runs").terminate(),
            System::Cluster(cluster) => {
                cluster.of(Service::Edge).iter().for_each(Replica::terminate);
            }
        }
    }

    /// Asks for a stop and waits for it.
    pub fn stop(&mut self) -> Finished {
        self.terminate();
        self.ended()
    }

    /// Waits until what [`Stack::terminate`] has asked has ended; [`Stack::ended`] goes on from there.
    pub fn edges_ended(&mut self) {
        match &mut self.system {
            System::Embedded(one) => drop(one.process.as_mut().expect("it runs").end()),
            System::Cluster(cluster) => cluster.of(Service::Edge).iter_mut().for_each(Replica::end),
        }
    }

    /// Waits for an end that was asked for with [`Stack::terminate`]. Of a cluster, the exit code is the
    /// highest, and none if a signal ended one of the processes.
    pub fn ended(&mut self) -> Finished {
        let cluster = match &mut self.system {
            System::Embedded(one) => return one.process.take().expect("it runs").finish(),
            System::Cluster(cluster) => cluster,
        };
        let edges = cluster.of(Service::Edge).iter_mut();
        let mut ends: Vec<Finished> = edges.map(Replica::ended).collect();
        for service in [Service::Identity, Service::Keys] {
            cluster.of(service).iter().for_each(Replica::terminate);
        }
        for service in [Service::Identity, Service::Keys] {
            ends.extend(cluster.of(service).iter_mut().map(Replica::ended));
        }
        let text = |of: fn(&Finished) -> &str| ends.iter().map(of).collect::<Vec<_>>().join("\n");
        let codes: Option<Vec<i32>> = ends.iter().map(|end| end.code).collect();
        Finished {
            code: codes.and_then(|codes| codes.into_iter().max()),
            stdout: text(|end| &end.stdout),
            stderr: text(|end| &end.stderr),
        }
    }

    /// Kills every process of ours at once, without a word. A cluster's Postgres and NATS stay.
    pub fn kill(&mut self) {
        match &mut self.system {
            System::Embedded(one) => one.process.take().expect("it runs").kill(),
            System::Cluster(cluster) => cluster.kill(),
        }
    }

    /// Every line logged since the last start, process after process.
    pub fn logs(&self) -> Vec<String> {
        match &self.system {
            System::Embedded(one) => one.process.as_ref().map(Process::stderr).unwrap_or_default(),
            System::Cluster(cluster) => cluster.logs(),
        }
    }

    /// The address of the database that has a service's tables.
    pub fn database(&self, service: Service) -> String {
        match &self.system {
            System::Embedded(one) => format!("sqlite://{}", database(one.folder.path()).display()),
            System::Cluster(cluster) => cluster.database(service).to_owned(),
        }
    }

    /// The processes that serve `service`: one and the same where the system is one process.
    pub fn pids(&self, service: Service) -> Vec<u32> {
        match &self.system {
            System::Embedded(one) => one.process.iter().map(Process::id).collect(),
            System::Cluster(cluster) => {
                let replicas = 0..cluster.count(service);
                replicas.map(|number| cluster.replica(service, number).pid()).collect()
            }
        }
    }

    /// The addresses of their second listeners. The one process has none unless it was told to.
    pub fn monitors(&self, service: Service) -> Vec<String> {
        match &self.system {
            System::Embedded(_) => {
                let lines = self.logs();
                lines.iter().filter_map(|line| ready_field(line, "monitor")).collect()
            }
            System::Cluster(cluster) => {
                let replicas = 0..cluster.count(service);
                replicas.map(|number| cluster.replica(service, number).monitor()).collect()
            }
        }
    }

    /// Takes back every secret but this one, where that is a command. The one process does it by its next start.
    pub fn enforce(&self, secret: &str) {
        if let System::Cluster(cluster) = &self.system {
            let end = cluster.enforcing(secret, &["--new"]).finish();
            assert_eq!(end.code, Some(0), "{}", end.stderr);
        }
    }

    /// The one process and its files; nothing where the stack is a cluster.
    pub fn embedded(&self) -> Option<Embedded> {
        let System::Embedded(one) = &self.system else { return None };
        let pid = one.process.as_ref()?.id();
        let folder = one.folder.path().to_owned();
        Some(Embedded { database: database(&folder), folder, pid })
    }
}

impl One {
    fn launch(&mut self, config: &Config) {
        let mut command = binary::command(self.folder.path(), &config.limits);
        command.envs(&config.environment);
        let mut process = Process::start(command);
        self.url = poll::until("latchkey is ready", START, || {
            let lines = process.stderr();
            let end = process.ended();
            let ready = lines.iter().find_map(|line| ready_field(line, "address"));
            assert!(ready.is_some() || end.is_none(), "the start failed ({end:?}): {lines:#?}");
            ready.map(|address| address.trim_end_matches('/').to_owned())
        });
        self.process = Some(process);
    }
}

fn cluster(config: &Config) -> Cluster {
    let mut builder = Cluster::builder()
        .replicas(Service::Identity, REPLICAS)
        .replicas(Service::Keys, REPLICAS)
        .replicas(Service::Edge, config.edges);
    for (name, value) in &config.environment {
        builder = builder.set(name, value);
    }
    if let Some(text) = &config.dotenv {
        builder = builder.dotenv(text);
    }
    builder.start()
}

fn database(folder: &Path) -> PathBuf {
    folder.join("data").join("latchkey.db")
}
