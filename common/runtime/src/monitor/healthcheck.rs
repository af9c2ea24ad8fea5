//! The `healthcheck` subcommand: asks the monitor of the process beside it, so that a container's
//! health check needs no other program in the image.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::MonitorAddress;
use crate::config::Environment;
use crate::exit::{Exit, StartError};

/// How long the answer may take: longer than the readiness check itself.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes of the answer at most.
const MAX_ANSWER: u64 = 4 * 1_024;

/// Succeeds if the process that `variable` tells where to listen says that it is ready.
///
/// # Errors
/// [`StartError`] with [`Exit::Unready`] where it does not, or is not there;
/// with [`Exit::Config`] where the variable does not tell.
pub async fn healthcheck(
    environment: &Environment,
    variable: &MonitorAddress,
) -> Result<(), StartError> {
    let address = environment
        .read(variable)?
        .filter(|address| address.port() != 0)
        .ok_or_else(|| variable.wrong("a health check needs a monitor with a fixed port"))?;
    let asked = tokio::time::timeout(TIMEOUT, ask(reachable(address))).await;
    let failed = |cause: String| StartError::new(Exit::Unready, format!("not ready: {cause}"));
    match asked {
        Ok(Ok(status)) if status == "200" => Ok(()),
        Ok(Ok(status)) => Err(failed(format!("{address} answers {status}"))),
        Ok(Err(error)) => Err(failed(format!("{address} cannot be asked: {error}"))),
        Err(_late) => Err(failed(format!("{address} does not answer"))),
    }
}

/// An address to reach a listener at that listens on every address.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The status of the answer.
async fn ask(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request =
        format!("GET /health/ready HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.split(' ').next());
    status.map(ToOwned::to_owned).ok_or_else(|| io::Error::other("the answer is not HTTP"))
}
