//! Asks over NATS. One verifier serves a whole process: it is cheap to clone.

use std::path::PathBuf;
use std::sync::Arc;

use latchkey_bus::nats::User;
use latchkey_bus::{Bus, BusError, Context, Limit, Nats, NatsOptions, RequestId};
use latchkey_contract::verify::{MinRevision, Verified, Verify, VerifyBatch};
use latchkey_contract::wire::MAX_BATCH;
use latchkey_contract::{CallError, Rpc, Secret};
use latchkey_runtime::Entropy;

/// Questions under way at the same time at most; beyond, [`CallError::Overloaded`] at once.
const MAX_IN_FLIGHT: u32 = 1_024;
/// The user of the NATS server that may ask for verification and nothing else. Also the first part of
/// the subjects on which replies arrive.
const USER: &str = "verifier";

/// How to reach the bus.
#[derive(Debug, Default)]
pub struct Options {
    /// `nats://HOST:PORT`, or `tls://HOST:PORT`; several separated by commas.
    pub url: String,
    /// The password of the user `verifier`, where the server asks for one.
    pub password: Option<Secret>,
    /// A PEM file with the certificate authorities that may vouch for the server; the system's if none.
    pub ca_file: Option<PathBuf>,
}

/// Asks whom credentials stand for.
#[derive(Clone)]
pub struct Verifier {
    bus: Bus,
    limit: Limit,
    entropy: Entropy,
    least: Option<MinRevision>,
}

/// The bus cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot ask for verification: {0}")]
pub struct ConnectError(#[source] Arc<BusError>);

impl Verifier {
    /// Connects, and keeps connecting again whenever the connection is lost. A server that is away is
    /// waited for.
    ///
    /// # Errors
    /// [`ConnectError`] where the server is there and refuses.
    pub async fn connect(options: Options) -> Result<Self, ConnectError> {
        let entropy = Entropy::System;
        let user = options.password.map(|password| User { name: USER.to_owned(), password });
        let options = NatsOptions {
            url: options.url,
            name: USER.to_owned(),
            unique: unique(&entropy),
            user,
            ca_file: options.ca_file,
        };
        let connected = Nats::connect(options).await;
        let nats = connected.map_err(|error| ConnectError(Arc::new(error)))?;
        Ok(Self::on(Bus::Nats(nats)))
    }

    /// Asks on a bus that the process has already.
    #[must_use]
    pub fn on(bus: Bus) -> Self {
        Self { bus, limit: Limit::new(MAX_IN_FLIGHT), entropy: Entropy::System, least: None }
    }

    /// The same verifier, whose answers are of these revisions or later ones: those of changes that the
    /// caller knows of. Where an authority has not reached one, nobody can say.
    #[must_use]
    pub fn at_least(&self, revision: MinRevision) -> Self {
        Self { least: Some(revision), ..self.clone() }
    }

    /// Whom an access token or an API key stands for, within 3 seconds.
    ///
    /// # Errors
    /// [`CallError`] where nobody could say. The credential is then not to be accepted.
    pub async fn verify(&self, credential: Secret) -> Result<Verified, CallError> {
        self.ask(&Verify { min_revision: self.least, ..Verify::of(credential) }).await
    }

    /// The same for 1 to 100 credentials; the answers come in the same order.
    ///
    /// # Errors
    /// [`CallError`] where nobody could say of one of them; none is then to be accepted.
    pub async fn verify_batch(&self, credentials: Vec<Secret>) -> Result<Vec<Verified>, CallError> {
        let expected = credentials.len();
        let ask = VerifyBatch { min_revision: self.least, ..VerifyBatch::of(credentials) };
        let batch = self.ask(&ask).await?;
        if batch.results.len() == expected { Ok(batch.results) } else { Err(CallError::Unreadable) }
    }

    /// Credentials that one batch holds at most.
    pub const MAX_BATCH: usize = MAX_BATCH;

    async fn ask<R: Rpc>(&self, request: &R) -> Result<R::Reply, CallError> {
        let _permit = self.limit.try_enter().ok_or(CallError::Overloaded)?;
        let context = Context::new(RequestId::new(&unique(&self.entropy)), R::TIMEOUT);
        self.bus.call(&context, request).await
    }
}

fn unique(entropy: &Entropy) -> String {
    format!("{:016x}", u64::from_be_bytes(entropy.bytes()))
}
