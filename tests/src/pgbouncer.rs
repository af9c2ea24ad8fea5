//! A throw-away PgBouncer before a Postgres server, which ends with the test process. A missing program
//! fails loudly.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::process::{Process, free_port, mortal_nobody};
use crate::{Folder, poll, postgres};

/// Bound on the start.
const START: Duration = Duration::from_mins(1);
/// Where Debian puts it.
const PROGRAM: &str = "/usr/sbin/pgbouncer";

/// A pooler that runs.
#[derive(Debug)]
pub struct PgBouncer {
    port: u16,
    _folder: Folder,
    _process: Process,
}

impl PgBouncer {
    /// Starts one as its package leaves it, but for where it listens, the server behind it, and `mode`.
    pub fn before(server: &postgres::Server, mode: &str, further: &str) -> Self {
        let (port, folder) = (free_port(), Folder::new());
        let file = folder.join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={} user=postgres\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = {mode}\n{further}\n",
            server.port()
        );
        fs::write(&file, text).expect("write the configuration");
        let mut command = mortal_nobody(program());
        command.current_dir(folder.path()).arg(&file);
        let mut process = Process::start(command);
        poll::until("PgBouncer is ready", START, || {
            let lines = process.stderr();
            let ready = lines.iter().any(|line| line.contains("process up"));
            assert!(ready || process.ended().is_none(), "PgBouncer ended: {lines:#?}");
            ready.then_some(())
        });
        Self { port, _folder: folder, _process: process }
    }

    /// The address by which it leads to what `url` names.
    pub fn url(&self, server: &postgres::Server, url: &str) -> String {
        url.replace(&format!(":{}/", server.port()), &format!(":{}/", self.port))
    }
}

fn program() -> PathBuf {
    let debian = PathBuf::from(PROGRAM);
    let search = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&search).map(|folder| folder.join("pgbouncer"));
    let found = [debian]
        .into_iter()
        .find(|path| path.is_file())
        .or_else(|| found.find(|path| path.is_file()));
    found.unwrap_or_else(|| panic!("no PgBouncer: install Debian's pgbouncer"))
}
