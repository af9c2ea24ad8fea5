//! The way to the bus, and who this process is there.

use std::path::PathBuf;
use std::sync::Arc;

use latchkey_bus::nats::User;
use latchkey_bus::{Bus, BusError, Nats, NatsOptions};
use latchkey_contract::Secret;
use latchkey_contract::wire::Contracts;
use latchkey_revocation::BoundsError;
use latchkey_runtime::Entropy;

/// The user of the NATS server that may ask for verification and nothing else. Also the first part of
/// the subjects on which replies arrive.
pub(crate) const USER: &str = "verifier";
/// The user that may be a member.
pub(crate) const MEMBER: &str = "member";

/// How to reach the bus.
#[derive(Debug, Default)]
pub struct Options {
    /// `nats://HOST:PORT`, or `tls://HOST:PORT`; several separated by commas.
    pub url: String,
    /// The password of the user `verifier`, or `member` for one that remembers, where the server asks
    /// for one.
    pub password: Option<Secret>,
    /// A PEM file with the certificate authorities that may vouch for the server; the system's if none.
    pub ca_file: Option<PathBuf>,
}

/// There is no verifier.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The bus cannot be used.
    #[error("cannot ask for verification: {0}")]
    Bus(#[source] Arc<BusError>),
    /// Nothing can be remembered for so long, or so short a time.
    #[error("cannot remember answers: {0}")]
    Memory(#[source] BoundsError),
    /// What remembers did not start.
    #[error("cannot remember answers: {0}")]
    Start(String),
}

/// Connects as `user`.
///
/// # Errors
/// [`ConnectError::Bus`]
pub(crate) async fn connect(options: Options, user: &str) -> Result<Bus, ConnectError> {
    let name = user.to_owned();
    let user = options.password.map(|password| User { name: name.clone(), password });
    let (url, ca_file) = (options.url, options.ca_file);
    let (unique, contracts) = (unique(&Entropy::System), Contracts::OWN);
    let options = NatsOptions { url, name, unique, user, ca_file, contracts };
    let connected = Nats::connect(options).await;
    Ok(Bus::Nats(connected.map_err(|error| ConnectError::Bus(Arc::new(error)))?))
}

/// Tells this process from any other.
pub(crate) fn unique(entropy: &Entropy) -> String {
    format!("{:016x}", u64::from_be_bytes(entropy.bytes()))
}
