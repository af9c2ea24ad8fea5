//! The floor: a bare axum server with an answer of the same size, as the documentation shows it.

use e2e::process::mortal;
use e2e::{Process, poll};

use crate::load::{Target, get};
use crate::{CONNECTIONS, START, tell};

/// An answer of the size of `/protected/service`'s.
const BODY: &str = r#"{"message":"Hello service bench!","service_name":"bench","api_key_id":1,"user_id":1,"auth_type":"API Key"}"#;

/// What this program does as the process that [`Floor::start`] starts.
pub async fn serve() {
    let answer = || async { ([("content-type", "application/json")], BODY) };
    let router = axum::Router::new().route("/", axum::routing::get(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    tell(&listener.local_addr().unwrap().to_string());
    axum::serve(listener, router).await.unwrap();
}

/// The server while it runs.
pub struct Floor {
    /// How to measure it.
    pub target: Target,
    _process: Process,
}

impl Floor {
    /// Starts it in a process of its own.
    pub fn start() -> Self {
        let mut command = mortal(std::env::current_exe().unwrap());
        command.arg("floor");
        let process = Process::start(command);
        let at = poll::until("the floor is ready", START, || process.stderr().first().cloned());
        let target = Target {
            pids: vec![process.id()],
            addresses: vec![at],
            requests: get("/", "x-none: 1"),
            connections: CONNECTIONS,
        };
        Self { target, _process: process }
    }
}
