//! The edge: the public HTTP API. It never sees a database; what it knows, it asks over the bus.
//!
//! ```text
//! server -> connection -> layers -> shortcut -> latchkey-gate: what is remembered
//!                            \
//!                             \_-> admission -> router -> credential (extractors) -> latchkey-gate -> bus
//!                                     \
//!                                      \_-> handler -> bus
//! bus -> verify -> latchkey-gate -> bus
//! ```
//!
//! Actors: the root supervises those of the gate, the one that revokes keys which nobody was shown, and the
//! endpoint that answers other services.

mod acting;
mod address;
mod admission;
pub mod body;
pub mod config;
mod connection;
pub mod credential;
pub mod handler;
mod host;
mod idle_timeout;
pub mod layers;
pub mod limits;
mod malformed;
pub mod observe;
pub mod openapi;
mod origin;
pub mod problem;
pub mod readiness;
pub mod replica;
pub mod router;
pub mod server;
pub mod shape;
mod shortcut;
mod tracked_stream;
mod unshown;

mod verify;

use std::sync::Arc;
use std::time::Duration;

use latchkey_bus::{Bus, Context};
use latchkey_contract::authority::change_attempt;
use latchkey_contract::{CallError, Mark, Rpc, Secret};
use latchkey_gate::Gate;
use latchkey_runtime::supervisor::Running;
use latchkey_runtime::{Child, Clock, Entropy, Exit, Root, StartError, periodic};

pub use config::Config;
use readiness::EdgeReadiness;
pub use server::Server;

/// The service's name: on the bus, in answers and in logs.
pub const NAME: &str = "edge";

/// What the service is given by the process it runs in.
#[derive(Clone)]
pub struct Deps {
    /// Where it asks.
    pub bus: Bus,
    /// What time it is.
    pub clock: Clock,
    /// Where random bytes come from.
    pub entropy: Entropy,
}

/// What the handlers share.
pub struct Edge {
    bus: Bus,
    gate: Arc<Gate>,
    limits: limits::Limits,
    unshown: Arc<unshown::UnshownKeys>,
    readiness: Arc<EdgeReadiness>,
    entropy: Entropy,
    /// How long one attempt at a change waits.
    change_attempt: Duration,
}

impl Edge {
    /// A mark for one command.
    fn mark(&self) -> Mark {
        Mark(self.entropy.bytes())
    }

    /// What one key is made from: 256 random bits.
    fn seed(&self) -> Secret {
        let half = || u128::from_ne_bytes(self.entropy.bytes());
        Secret::new(format!("{:032x}{:032x}", half(), half()))
    }

    /// Asks for a change that is answered when no edge relies on anything older.
    async fn change<R: Rpc>(&self, context: &Context, request: &R) -> Result<R::Reply, CallError> {
        self.bus.call_waiting(self.change_attempt, context, request).await
    }
}

/// The edge put together: it can be served from now on. Until its actors run, whatever has to be asked
/// is answered 503.
pub struct Built {
    /// Answers requests.
    pub service: layers::EdgeService,
    /// Whether it can do its work.
    pub readiness: Arc<EdgeReadiness>,
    /// Its actors, in the order they start.
    pub children: Vec<Child>,
}

/// The edge with its actors running, ready to be served.
pub struct Started {
    /// Answers requests.
    pub service: layers::EdgeService,
    /// Whether it can do its work.
    pub readiness: Arc<EdgeReadiness>,
    /// The actors.
    pub running: Running,
}

/// Starts an edge's actors, in order.
///
/// # Errors
/// [`StartError`] where one does not start.
pub async fn start_actors(children: Vec<Child>) -> Result<Running, StartError> {
    let started = Root::start(children).await;
    started.map_err(|error| StartError::new(Exit::Internal, error.to_string()))
}

/// Puts the edge together and starts its actors.
///
/// # Errors
/// [`StartError`] where an actor does not start.
pub async fn start(config: &Config, deps: Deps) -> Result<Started, StartError> {
    let Built { service, readiness, children } = build(config, deps);
    Ok(Started { service, readiness, running: start_actors(children).await? })
}

/// Puts the edge together.
#[must_use]
pub fn build(config: &Config, deps: Deps) -> Built {
    if !config.rate_limit {
        tracing::warn!("RATE_LIMIT=off: logins, signups and new keys are not limited");
    }
    let Deps { bus, clock, entropy } = deps;
    let asking = latchkey_gate::Deps { name: NAME, bus: bus.clone(), clock, entropy };
    let (gate, mut children) = Gate::new(&config.memory, &asking);
    let gate = Arc::new(gate);
    let limits = limits::Limits::new(config.rate_limit, asking.clock.clone());
    let wait = Duration::from_nanos(config.memory.bounds.wait());
    let change_attempt = change_attempt(wait);
    let unshown = Arc::new(unshown::UnshownKeys::new(bus.clone(), change_attempt));
    children.push(periodic::child("keys that nobody was shown", Arc::clone(&unshown)));
    children.push(verify::child(bus.clone(), &gate));
    let readiness = Arc::new(EdgeReadiness::new(bus.clone(), Arc::clone(&gate)));
    children.push(readiness::child(&readiness));
    let entropy = asking.entropy.clone();
    let ready = Arc::clone(&readiness);
    let edge =
        Arc::new(Edge { bus, gate, limits, unshown, readiness: ready, entropy, change_attempt });
    let service = layers::EdgeService::new(config, edge, asking.clock.clone(), &asking.entropy);
    Built { service, readiness, children }
}
