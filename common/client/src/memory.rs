//! Remembers answers in this process, as an edge does: what a [`Verifier`](crate::Verifier) asks that was
//! made by [`Verifier::remembering`](crate::Verifier::remembering).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use latchkey_bus::{Bus, Context, RequestId};
use latchkey_contract::verify::{Verified, VerifiedBatch, Verify, VerifyBatch};
use latchkey_contract::{CallError, Failure, Rpc};
use latchkey_gate::{Deps, Gate, MemoryConfig};
use latchkey_revocation::BoundsError;
use latchkey_runtime::supervisor::Running;
use latchkey_runtime::{Clock, Entropy, Root};
use tokio::runtime::Handle;

use crate::connect::{ConnectError, MEMBER};

/// What is remembered, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// How long an answer is relied on without hearing from its authority. A longer one than `LEASE_MS`
    /// of identity and keys is not taken in: then each credential is asked for.
    pub lease: Duration,
    /// Credentials of each kind at most, at least 64.
    pub entries: usize,
    /// Bytes for those of each kind at most.
    pub bytes: usize,
}

impl Default for Memory {
    /// The lease that services have where nothing is configured; 100,000 credentials of each kind.
    fn default() -> Self {
        Self { lease: Duration::from_secs(2), entries: 100_000, bytes: 32 << 20 }
    }
}

impl Memory {
    fn config(self) -> Result<MemoryConfig, BoundsError> {
        let lease = u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX);
        MemoryConfig::new(lease, self.entries.max(64), self.bytes)
    }
}

/// A gate of this process' own, with its actors. Whoever drops it leaves.
pub(crate) struct Remembering {
    gate: Gate,
    running: Mutex<Option<Running>>,
    runtime: Handle,
    id: RequestId,
}

impl Remembering {
    /// Starts the gate's actors: they join both authorities and keep the leases.
    pub(crate) async fn start(bus: Bus, memory: Memory) -> Result<Self, ConnectError> {
        let config = memory.config().map_err(ConnectError::Memory)?;
        let deps = Deps { name: MEMBER, bus, clock: Clock::System, entropy: Entropy::System };
        let (gate, children) = Gate::new(&config, &deps);
        let started = Root::start(children).await;
        let running = started.map_err(|error| ConnectError::Start(error.to_string()))?;
        let (running, id) = (Mutex::new(Some(running)), RequestId::new(MEMBER));
        Ok(Self { gate, running, runtime: Handle::current(), id })
    }

    pub(crate) async fn verify(&self, request: Verify) -> Result<Verified, CallError> {
        let context = Context::new(self.id.clone(), Verify::TIMEOUT);
        self.gate.verify(&context, request).await.map_err(unanswered)
    }

    pub(crate) async fn verify_batch(
        &self,
        request: VerifyBatch,
    ) -> Result<VerifiedBatch, CallError> {
        let context = Context::new(self.id.clone(), VerifyBatch::TIMEOUT);
        self.gate.verify_batch(&context, request).await.map_err(unanswered)
    }

    /// Reports the last uses, forgets everything, and tells the authorities so.
    pub(crate) async fn close(&self) {
        if let Some(running) = self.take() {
            running.stop().await;
        }
    }

    #[expect(clippy::disallowed_methods, reason = "it is taken in one step")]
    fn take(&self) -> Option<Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Remembering {
    fn drop(&mut self) {
        if let Some(running) = self.take() {
            // Where the runtime has ended, so have the actors.
            self.runtime.spawn(running.stop());
        }
    }
}

/// What an edge would answer over the bus.
fn unanswered(failure: Failure) -> CallError {
    match failure {
        Failure::Refused(refusal) => CallError::Refused(refusal),
        Failure::Forbidden(_) => CallError::Forbidden,
        Failure::Overloaded => CallError::Overloaded,
        Failure::Unavailable(cause) => {
            tracing::debug!(cause, "a credential cannot be verified just now");
            CallError::Unavailable
        }
        Failure::Fault(cause) => {
            tracing::error!(cause, "a verification failed");
            CallError::Fault
        }
    }
}
