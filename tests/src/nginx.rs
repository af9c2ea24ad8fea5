//! The real nginx before an edge, as its users have it: with its own defaults and kept connections.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::process::{Process, free_port, mortal};
use crate::{Folder, poll};

/// Bound on the start of the server.
const START: Duration = Duration::from_mins(1);
/// Names the program where it is in none of the known places.
const VARIABLE: &str = "NGINX";

/// A proxy that ends with the test process.
#[derive(Debug)]
pub struct Nginx {
    port: u16,
    _folder: Folder,
    _process: Process,
}

impl Nginx {
    /// Starts one before the edge at `url`, with `locations` in its server.
    pub fn before(url: &str, locations: &str) -> Self {
        let (port, folder) = (free_port(), Folder::new());
        let edge = url.strip_prefix("http://").expect("an http address");
        let text = format!(
            "daemon off; master_process off; pid nginx.pid; error_log stderr warn;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    upstream latchkey {{ server {edge}; keepalive 16; }}
    server {{
        listen 127.0.0.1:{port};
        proxy_http_version 1.1;
        proxy_set_header Connection \"\";
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        {locations}
    }}
}}
"
        );
        std::fs::write(folder.join("nginx.conf"), text).expect("write nginx.conf");
        let mut command = mortal(program());
        command.current_dir(folder.path()).arg("-p").arg(folder.path());
        command.args(["-e", "stderr", "-c", "nginx.conf"]);
        let mut process = Process::start(command);
        poll::until("nginx is ready", START, || {
            let ready = std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
            assert!(ready || process.ended().is_none(), "nginx ended: {:#?}", process.stderr());
            ready.then_some(())
        });
        Self { port, _folder: folder, _process: process }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// The program: by variable, then where `make setup` puts it, then on the search path.
fn program() -> PathBuf {
    let named = std::env::var_os(VARIABLE).map(PathBuf::from);
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/nginx/usr/sbin/nginx");
    let search = std::env::var_os("PATH").unwrap_or_default();
    let found = named
        .into_iter()
        .chain([tools, PathBuf::from("/usr/sbin/nginx")])
        .chain(std::env::split_paths(&search).map(|folder| folder.join("nginx")))
        .find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("no nginx: run make setup, or name the program in {VARIABLE}"))
}
