//! A throw-away Postgres server, one per test process, which ends with it. A missing one fails loudly.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::process::{Process, mortal_nobody};
use crate::{Folder, poll};

/// Bound on the start of the server.
const START: Duration = Duration::from_mins(1);

/// Names the folder of `initdb` and `postgres` where they are in none of the known places.
const VARIABLE: &str = "POSTGRES_BIN";

/// A running server.
#[derive(Debug)]
pub struct Server {
    port: u16,
    // Both live as long as the server does.
    _folder: Folder,
    _process: Process,
}

impl Server {
    /// The address of a database on this server.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }
}

/// The server of this test process.
pub fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(start)
}

/// Makes an empty database and gives its address.
pub async fn fresh_database() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let server = server();
    let mut connection =
        PgConnection::connect(&server.url("postgres")).await.expect("connect to Postgres");
    // The name is made of a constant and a number: no parameter can stand in its place.
    let statement = AssertSqlSafe(format!("CREATE DATABASE {name}"));
    connection.execute(statement).await.expect("create a database");
    connection.close().await.expect("close");
    server.url(&name)
}

fn start() -> Server {
    let bin = bin();
    let folder = Folder::new();
    if rustix::process::geteuid().is_root() {
        let owned = Command::new("chown").arg("nobody:nogroup").arg(folder.path()).status();
        assert!(owned.expect("run chown").success(), "give the folder to nobody");
    }
    let data = folder.join("data");
    let mut initdb = mortal_nobody(bin.join("initdb"));
    initdb.current_dir(folder.path()).arg("-D").arg(&data);
    initdb.args(["-A", "trust", "--no-sync", "--locale=C", "-E", "UTF8", "-U", "postgres"]);
    let made = Process::start(initdb).finish();
    assert_eq!(made.code, Some(0), "initdb: {}", made.stderr);

    let port = free_port();
    let mut postgres = mortal_nobody(bin.join("postgres"));
    postgres.current_dir(folder.path()).arg("-D").arg(&data).args(["-p", &port.to_string()]);
    for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"] {
        postgres.args(["-c", setting]);
    }
    let mut process = Process::start(postgres);
    poll::until("Postgres is ready", START, || {
        let lines = process.stderr();
        let ready = lines.iter().any(|line| line.contains("ready to accept connections"));
        assert!(ready || process.ended().is_none(), "Postgres ended: {lines:#?}");
        ready.then_some(())
    });
    Server { port, _folder: folder, _process: process }
}

/// A port that nobody used a moment ago. Another may take it in between: Postgres then fails loudly.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its number").port()
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
