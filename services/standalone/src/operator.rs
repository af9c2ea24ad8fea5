//! Operator commands to the running process: a socket in the data folder, which only its owner may open.
//! One JSON line each way.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use latchkey_bus::Bus;
use latchkey_identity::operator::{self, AccountCommand};
use latchkey_identity::signing::command::{self as signing_keys, SigningKeyCommand};
use latchkey_keys::operator::Wanted;
use latchkey_runtime::{Entropy, Exit, StartError};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use crate::config;

/// The socket's name.
const SOCKET: &str = "operator.sock";
/// Commands at the same time at most; further ones wait to be accepted.
const MAX_COMMANDS: usize = 4;
/// Bytes of a line at most.
const MAX_LINE: u64 = 16_384;
/// How long a line may take to arrive.
const LINE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a command waits for its answer: longer than the services take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// What is asked of the process.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Asked {
    /// Whose key this is.
    Key {
        /// What is known of it.
        key: Wanted,
    },
    /// A change of a user.
    Account(AccountCommand),
    /// What is done to signing keys.
    SigningKey(SigningKeyCommand),
}

/// What a command prints, or why it was not done.
type Said = Result<String, (Ended, String)>;

/// How a command ends that was not done.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Ended {
    /// It may be done later.
    Away,
    /// What was asked for is not there.
    Unfit,
    /// It cannot be done.
    Data,
}

impl From<Exit> for Ended {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Unavailable => Self::Away,
            Exit::Unfit => Self::Unfit,
            _ => Self::Data,
        }
    }
}

impl From<Ended> for Exit {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Away => Self::Unavailable,
            Ended::Unfit => Self::Unfit,
            Ended::Data => Self::Data,
        }
    }
}

/// The socket: in the folder of the SQLite file that the address names, or where such a file usually is.
///
/// # Errors
/// [`StartError`] where the address cannot be used.
pub fn path(database_url: &str) -> Result<PathBuf, StartError> {
    config::in_data_folder(database_url, SOCKET)
}

/// Takes commands until it is dropped. One that is left from an earlier process is replaced.
///
/// # Errors
/// Where the socket cannot be made, or another process answers there: a file has one process, and a server may have more.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another process takes commands there",
        ));
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
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
    let asked: Asked = serde_json::from_str(&line).map_err(io::Error::other)?;
    let said = match &asked {
        Asked::Key { key } => latchkey_keys::operator::ask(bus, key, &Entropy::System).await,
        Asked::Account(command) => operator::set(bus, command, &Entropy::System).await,
        Asked::SigningKey(command) => signing_keys::carry_out(bus, command, &Entropy::System).await,
    };
    let said: Said = said.map_err(|error| (error.exit.into(), error.message));
    let mut reply = serde_json::to_string(&said).map_err(io::Error::other)?;
    reply.push('\n');
    stream.write_all(reply.as_bytes()).await
}

/// Has the process that uses the database do what is asked; what it says.
///
/// # Errors
/// [`StartError`] where no process does, or it does not do it.
pub async fn ask(database_url: &str, asked: &Asked) -> Result<String, StartError> {
    let path = path(database_url)?;
    let away = |error: io::Error| {
        let message = format!("no running latchkey answers at {}: {error}", path.display());
        StartError::new(Exit::Unavailable, message)
    };
    let mut stream = BufReader::new(UnixStream::connect(&path).await.map_err(away)?);
    let mut line = serde_json::to_string(asked).map_err(io::Error::other).map_err(away)?;
    line.push('\n');
    stream.write_all(line.as_bytes()).await.map_err(away)?;
    let reply = read_line(&mut stream, ANSWER_TIMEOUT).await.map_err(away)?;
    let said: Said = serde_json::from_str(&reply).map_err(io::Error::other).map_err(away)?;
    said.map_err(|(ended, message)| StartError::new(ended.into(), message))
}

async fn read_line(stream: &mut BufReader<UnixStream>, within: Duration) -> io::Result<String> {
    let mut line = String::new();
    let mut bounded = stream.take(MAX_LINE);
    tokio::time::timeout(within, bounded.read_line(&mut line)).await??;
    Ok(line)
}
