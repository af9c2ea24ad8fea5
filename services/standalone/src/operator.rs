//! Operator commands to the running process: a socket beside the database, which only its owner may open.
//! One JSON line each way.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use latchkey_bus::Bus;
use latchkey_identity::operator::{self, AccountCommand};
use latchkey_runtime::{Entropy, Exit, StartError};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use crate::config;

/// The socket's name.
const SOCKET: &str = "operator.sock";
/// Commands at the same time at most; further ones wait to be accepted.
const MAX_COMMANDS: usize = 4;
/// Bytes of a line at most.
const MAX_LINE: u64 = 4_096;
/// How long a line may take to arrive.
const LINE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a command waits for its answer: longer than the services take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// What a command prints, or why it was not done, and whether that passes by itself.
type Said = Result<String, (bool, String)>;

/// The socket beside the SQLite file that the address names; none beside a server.
///
/// # Errors
/// [`StartError`] where the address cannot be used.
pub fn path(database_url: &str) -> Result<Option<PathBuf>, StartError> {
    config::beside(database_url, SOCKET)
}

/// Takes commands until it is dropped. One that is left from an earlier process is replaced: the database
/// is this process's alone.
///
/// # Errors
/// Where the socket cannot be made.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers commands for as long as it is polled.
pub async fn serve(listener: UnixListener, bus: Bus) {
    let places = Arc::new(Semaphore::new(MAX_COMMANDS));
    let mut commands = tokio::task::JoinSet::new();
    // The semaphore is never closed.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        while commands.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let bus = bus.clone();
                commands.spawn(async move {
                    if let Err(error) = answer(stream, &bus).await {
                        tracing::warn!(%error, "an operator's command cannot be answered");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "an operator's command cannot be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn answer(stream: UnixStream, bus: &Bus) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let line = read_line(&mut stream, LINE_TIMEOUT).await?;
    let request: AccountCommand = serde_json::from_str(&line).map_err(io::Error::other)?;
    let said = operator::set(bus, &request, &Entropy::System).await;
    let said: Said = said.map_err(|error| (error.exit == Exit::Unavailable, error.message));
    let mut reply = serde_json::to_string(&said).map_err(io::Error::other)?;
    reply.push('\n');
    stream.write_all(reply.as_bytes()).await
}

/// Has the process that uses the database do `request`; what it says.
///
/// # Errors
/// [`StartError`] where no process does, or it does not do it.
pub async fn ask(database_url: &str, request: &AccountCommand) -> Result<String, StartError> {
    let path = path(database_url)?.ok_or_else(|| {
        StartError::new(
            Exit::Config,
            "DATABASE_URL: commands are for a SQLite file; beside a server use latchkey-identity",
        )
    })?;
    let away = |error: io::Error| {
        let message = format!("no running latchkey answers at {}: {error}", path.display());
        StartError::new(Exit::Unavailable, message)
    };
    let mut stream = BufReader::new(UnixStream::connect(&path).await.map_err(away)?);
    let mut line = serde_json::to_string(request).map_err(io::Error::other).map_err(away)?;
    line.push('\n');
    stream.write_all(line.as_bytes()).await.map_err(away)?;
    let reply = read_line(&mut stream, ANSWER_TIMEOUT).await.map_err(away)?;
    let said: Said = serde_json::from_str(&reply).map_err(io::Error::other).map_err(away)?;
    said.map_err(|(is_away, message)| {
        StartError::new(if is_away { Exit::Unavailable } else { Exit::Data }, message)
    })
}

async fn read_line(stream: &mut BufReader<UnixStream>, within: Duration) -> io::Result<String> {
    let mut line = String::new();
    let mut bounded = stream.take(MAX_LINE);
    tokio::time::timeout(within, bounded.read_line(&mut line)).await??;
    Ok(line)
}
