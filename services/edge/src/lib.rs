//! The edge: the public HTTP API. It never sees a database; what it knows, it asks over the bus.
//!
//! ```text
//! server -> layers -> shortcut -> latchkey-gate: what is remembered
//!              \
//!               \_-> router -> credential (extractors) -> latchkey-gate -> bus
//!                       \
//!                        \_-> handler -> bus
//! bus -> verify -> latchkey-gate -> bus
//! ```
//!
//! Actors: the root supervises those of the gate, the keeper of the limits, and the endpoint that answers
//! other services.

pub mod address;
pub mod body;
pub mod cluster;
pub mod config;
pub mod credential;
pub mod handler;
pub mod layers;
pub mod limits;
pub mod observe;
pub mod openapi;
pub mod problem;
mod quiet;
pub mod router;
pub mod server;
pub mod shape;
mod shortcut;

mod verify;

use std::sync::Arc;

use latchkey_bus::Bus;
use latchkey_gate::Gate;
use latchkey_runtime::supervisor::Running;
use latchkey_runtime::{Clock, Entropy, Exit, Root, StartError, periodic};

pub use config::Config;
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
}

/// The edge with its actors running, ready to be served.
pub struct Started {
    /// Answers requests.
    pub service: layers::EdgeService,
    /// The actors.
    pub running: Running,
}

/// Starts the edge's actors and puts its service together.
///
/// # Errors
/// [`StartError`] where an actor does not start.
pub async fn start(config: &Config, deps: Deps) -> Result<Started, StartError> {
    if !config.rate_limit {
        tracing::warn!("RATE_LIMIT=off: logins, signups and new keys are not limited");
    }
    let Deps { bus, clock, entropy } = deps;
    let asking = latchkey_gate::Deps { name: NAME, bus: bus.clone(), clock, entropy };
    let (gate, mut children) = Gate::new(&config.memory, &asking);
    let gate = Arc::new(gate);
    let limits = limits::Limits::new(config.rate_limit);
    children.push(periodic::child("limit keeper", Arc::new(limits.keeper())));
    children.push(verify::child(bus.clone(), Arc::clone(&gate)));
    let running = Root::start(children)
        .await
        .map_err(|error| StartError::new(Exit::Internal, error.to_string()))?;
    let edge = Arc::new(Edge { bus, gate, limits });
    let service = layers::EdgeService::new(config, edge, &asking.entropy);
    Ok(Started { service, running })
}
