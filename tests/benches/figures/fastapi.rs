//! A floor in another language: a `FastAPI` service that issues and lists keys (`fastapi/app.py`), on a Postgres server of
//! its own. Its packages are installed beside the tools of `make setup` where they are missing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use e2e::process::{free_port, mortal};
use e2e::{Api, Process, poll, postgres};
use sqlx::{Connection, PgConnection};

use crate::load::Target;
use crate::{CONNECTIONS, START, say};

/// What it is made of, in these versions.
const PACKAGES: [&str; 6] = [
    "fastapi==0.165.0",
    "uvicorn==0.54.0",
    "uvloop==0.23.0",
    "httptools==0.9.0",
    "asyncpg==0.32.0",
    "pyjwt==2.15.1",
];
const IMPORTS: &str = "import fastapi, uvicorn, uvloop, httptools, asyncpg, jwt";

/// The service while it runs.
pub struct FastApi {
    process: Process,
    postgres: postgres::Server,
    database: String,
    port: u16,
}

impl FastApi {
    /// Starts it; `None`, and a line that says so, where it cannot be installed.
    pub async fn start() -> Option<Self> {
        let python = python();
        if !runs(Command::new(&python).args(["-c", IMPORTS])) {
            let mut pip = Command::new(&python);
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
            if !runs(pip.args(PACKAGES)) {
                say("FastAPI cannot be installed here: what is measured beside it is left out.");
                return None;
            }
        }
        let (postgres, port) = (postgres::Server::start(), free_port());
        let database = postgres.fresh_database().await;
        let mut command = mortal(python);
        command.arg("-B").arg(root().join("tests/benches/figures/fastapi/app.py"));
        command.env("DATABASE_URL", &database).env("PORT", port.to_string());
        let process = Process::start(command);
        let service = Self { process, postgres, database, port };
        poll::until("FastAPI is ready", START, || {
            assert!(service.process.runs(), "FastAPI ended: {:?}", service.process.stderr());
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Some(service)
    }

    /// The tokens of so many new users.
    pub async fn tokens(&self, users: usize) -> Vec<String> {
        let api = Api::new(&format!("http://{}", self.address()));
        let mut tokens = Vec::with_capacity(users);
        for _ in 0..users {
            let token = api.post("/users").send().await.expect(201);
            tokens.push(token.as_str().unwrap().to_owned());
        }
        tokens
    }

    /// Takes every key out.
    pub async fn forget_keys(&self) {
        let mut database = PgConnection::connect(&self.database).await.unwrap();
        sqlx::query("TRUNCATE api_keys").execute(&mut database).await.unwrap();
    }

    /// How to measure it: the service and its database.
    pub fn target(&self, requests: Arc<[String]>) -> Target {
        let pids = vec![self.process.id(), self.postgres.pid()];
        Target { pids, addresses: vec![self.address()], requests, connections: CONNECTIONS }
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

/// Whether a command ends well. What it prints is not shown.
fn runs(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn python() -> PathBuf {
    root().join("target/tools/venv/bin/python")
}
