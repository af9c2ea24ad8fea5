//! Throw-away Postgres servers, which end with the test process: one that all tests share, and own ones
//! that a test may kill. A missing program fails loudly.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::process::{Process, free_port, mortal, mortal_nobody};
use crate::{Folder, poll};

/// Bound on the start of the server.
const START: Duration = Duration::from_mins(1);

/// Bound on the end of its children after it was killed.
const END: Duration = Duration::from_secs(30);

/// Connections at most: several clusters run at the same time.
const MAX_CONNECTIONS: &str = "max_connections=500";

/// Names the folder of `initdb` and `postgres` where they are in none of the known places.
const VARIABLE: &str = "POSTGRES_BIN";

/// A server, running unless it was killed or stopped. It keeps its port and data over a restart.
#[derive(Debug)]
pub struct Server {
    port: u16,
    folder: Folder,
    settings: Vec<String>,
    process: Option<Process>,
}

impl Server {
    /// Starts a server that writes to the disk before it acknowledges, with an empty data folder.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// The same with further settings (`name=value`), such as `ssl=on`.
    pub fn with(settings: &[&str]) -> Self {
        let mut all =
            vec!["listen_addresses=127.0.0.1", "unix_socket_directories=", MAX_CONNECTIONS];
        all.extend(settings);
        let settings = all.into_iter().map(ToOwned::to_owned).collect();
        let mut server = Self { port: free_port(), folder: Folder::new(), settings, process: None };
        server.initialise();
        server.launch();
        server
    }

    /// The address of a database on this server.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// The server's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("Postgres runs").id()
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Makes an empty database and gives its address.
    pub async fn fresh_database(&self) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut connection =
            PgConnection::connect(&self.url("postgres")).await.expect("connect to Postgres");
        // The name is made of a constant and a number: no parameter can stand in its place.
        let statement = AssertSqlSafe(format!("CREATE DATABASE {name}"));
        connection.execute(statement).await.expect("create a database");
        connection.close().await.expect("close");
        self.url(&name)
    }

    /// The same for callers that do not wait, or are inside a runtime already.
    pub fn fresh_database_now(&self) -> String {
        let work = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(self.fresh_database())
        };
        thread::scope(|scope| scope.spawn(work).join()).expect("make a database")
    }

    /// Kills the server and every process of it (SIGKILL), as a power cut would.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("Postgres runs");
        let children = children(process.id());
        process.kill();
        // Those that have ended already, as they do when the server is gone, cannot be killed.
        for pid in &children {
            let _ended = kill_process(*pid, Signal::KILL);
        }
        poll::until("Postgres' processes end", END, || {
            children.iter().all(|pid| !lives(*pid)).then_some(())
        });
    }

    /// Stops the server at once (`immediate`): it breaks off everything and recovers at its next start.
    pub fn stop(&mut self) {
        let process = self.process.take().expect("Postgres runs");
        process.quit();
        process.finish();
    }

    /// Starts it again on the same data, killed first where it runs.
    pub fn restart(&mut self) {
        if self.process.is_some() {
            self.kill();
        }
        self.launch();
    }

    /// Stops the server and every process of it (SIGSTOP): connections stay and nothing is answered.
    pub fn pause(&self) {
        self.signal_all(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal_all(Signal::CONT);
    }

    fn signal_all(&self, signal: Signal) {
        let id = self.process.as_ref().expect("Postgres runs").id();
        let server = Pid::from_raw(i32::try_from(id).expect("a process id")).expect("not zero");
        kill_process(server, signal).expect("signal Postgres");
        for pid in children(id) {
            // A connection may have ended meanwhile.
            let _ended = kill_process(pid, signal);
        }
    }

    fn initialise(&self) {
        if rustix::process::geteuid().is_root() {
            let owned =
                Command::new("chown").arg("nobody:nogroup").arg(self.folder.path()).status();
            assert!(owned.expect("run chown").success(), "give the folder to nobody");
        }
        let mut initdb = mortal_nobody(bin().join("initdb"));
        initdb.current_dir(self.folder.path()).arg("-D").arg(self.data());
        initdb.args(["-A", "trust", "--no-sync", "--locale=C", "-E", "UTF8", "-U", "postgres"]);
        let made = Process::start(initdb).finish();
        assert_eq!(made.code, Some(0), "initdb: {}", made.stderr);
    }

    fn launch(&mut self) {
        let mut postgres = mortal_nobody(bin().join("postgres"));
        postgres.current_dir(self.folder.path()).arg("-D").arg(self.data());
        postgres.args(["-p", &self.port.to_string()]);
        for setting in &self.settings {
            postgres.args(["-c", setting]);
        }
        let mut process = Process::start(postgres);
        poll::until("Postgres is ready", START, || {
            let lines = process.stderr();
            let ready = lines.iter().any(|line| line.contains("ready to accept connections"));
            assert!(ready || process.ended().is_none(), "Postgres ended: {lines:#?}");
            ready.then_some(())
        });
        self.process = Some(process);
    }
}

/// The server that the tests of this process share. It does not write to the disk.
pub fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::with(&["fsync=off"]))
}

/// Makes an empty database on the shared server and gives its address.
pub async fn fresh_database() -> String {
    server().fresh_database().await
}

/// Writes everything in a database into a file.
pub fn dump(database: &str, file: &Path) {
    let mut dump = mortal(bin().join("pg_dump"));
    dump.args(["--format=custom", "--dbname", database, "--file"]).arg(file);
    let done = Process::start(dump).finish();
    assert_eq!(done.code, Some(0), "pg_dump: {}", done.stderr);
}

/// Puts what [`dump`] has written in the place of what is in a database.
pub fn restore(database: &str, file: &Path) {
    let mut restore = mortal(bin().join("pg_restore"));
    restore
        .args(["--clean", "--if-exists", "--single-transaction", "--dbname", database])
        .arg(file);
    let done = Process::start(restore).finish();
    assert_eq!(done.code, Some(0), "pg_restore: {}", done.stderr);
}

/// The processes that `pid` has started.
fn children(pid: u32) -> Vec<Pid> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|id| Pid::from_raw(id.parse().ok()?)).collect()
}

/// Whether a process does anything yet: one that has ended may wait as a zombie.
fn lives(pid: Pid) -> bool {
    let path = Path::new("/proc").join(pid.as_raw_nonzero().to_string()).join("stat");
    let state = fs::read_to_string(path).unwrap_or_default();
    state.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// The folder with the programs: by variable, then Debian's, then the search path's.
fn bin() -> PathBuf {
    let named = std::env::var_os(VARIABLE).map(PathBuf::from);
    let mut debian: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.flatten().map(|entry| entry.path().join("bin")).collect())
        .unwrap_or_default();
    debian.sort();
    let search = std::env::var_os("PATH").unwrap_or_default();
    let found = named
        .into_iter()
        .chain(debian.into_iter().rev())
        .chain(std::env::split_paths(&search))
        .find(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file());
    found.unwrap_or_else(|| {
        panic!("no Postgres: install Debian's postgresql, or name its folder in {VARIABLE}")
    })
}
