//! The edge: the public HTTP API. It never sees a database; what it knows, it asks over the bus.
//!
//! ```text
//! server -> connection -> layers -> around -> fast_path -> credential -> latchkey-gate -> bus
//!                                   \
//!                                    \_-> admission -> router -> credential (extractors) -> latchkey-gate -> bus
//!                                            \
//!                                             \_-> api -> bus
//! bus -> verify -> latchkey-gate -> bus
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`router`] | the one list of routes |
//! | `route` | one element of it |
//! | [`api`] | a file or folder a resource: JSON, handlers, documentation |
//! | `fast_path` | routes that only verify, as values |
//! | [`credential`] | credentials of a request, and extractors |
//! | `secret_in_query` | credentials that were put into a URL |
//! | `acting` | who acts, as the bus is told |
//! | [`body`] | bodies and ids in paths |
//! | `fields`, `if_match` | bodies of which every member is known, and what a change is meant for |
//! | `form` | bodies that are forms |
//! | `idempotency` | requests that may come again from their client |
//! | `admission` | who waits for room |
//! | [`limits`] | how often one client or user may |
//! | `unshown` | new keys, until their client is shown them |
//! | `published`, `endpoints` | the keys that anybody may check tokens by, and what metadata name |
//! | [`layers`] | the edge as a service: pages of other origins, and the one layer around everything |
//! | `around` | that layer: admission, id, deadline, problem documents, metrics |
//! | [`problem`] | what an error answer has besides its row in the contract's table |
//! | [`openapi`] | the API's description, from the list |
//! | [`server`] | connections |
//!
//! The root supervises the actors of the gate, and tasks: one revokes keys which nobody was shown, one answers other
//! services, one looks whether the edge is ready.

mod acting;
mod address;
mod admission;
mod answer;
pub mod api;
mod around;
mod bearer;
pub mod body;
pub mod config;
mod connection;
mod cors;
pub mod credential;
mod endpoints;
mod fast_path;
mod fields;
mod form;
mod guard;
mod host;
mod idempotency;
mod idle_timeout;
mod if_match;
pub mod layers;
mod lent_body;
pub mod limits;
mod malformed;
mod name;
pub mod observe;
pub mod openapi;
mod origin;
mod patterns;
pub mod problem;
mod published;
pub mod readiness;
pub mod replica;
mod request_id;
mod route;
pub mod router;
mod secret_in_query;
pub mod server;
pub mod state;
mod tracked_stream;
mod trailing_slash;
mod unshown;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use latchkey_bus::Bus;
use latchkey_contract::authority::change_attempt;
use latchkey_gate::Gate;
use latchkey_runtime::supervisor::Running;
use latchkey_runtime::{Child, Clock, Entropy, Exit, Root, StartError, periodic};

pub use config::Config;
use endpoints::Endpoints;
pub use name::NAME;
use readiness::EdgeReadiness;
pub use route::{Facts, Route};
pub use server::Server;
use state::Edge;

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
    serving(router::list(), config, deps)
}

/// The edge that serves these routes.
fn serving(routes: Vec<Route>, config: &Config, deps: Deps) -> Built {
    if !config.rate_limit {
        tracing::warn!(
            "RATE_LIMIT=off: logins, signups, new keys and changes of keys are not limited"
        );
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
    let description = openapi::text(&routes).into();
    let published = published::Published::new(bus.clone(), asking.clock.clone());
    let endpoints = Endpoints::of(&routes);
    let edge = Arc::new(Edge {
        bus,
        published,
        endpoints,
        public_url: config.public_url.clone(),
        gate,
        limits,
        unshown,
        readiness: ready,
        description,
        entropy,
        change_attempt,
    });
    let clock = asking.clock.clone();
    let service = layers::EdgeService::new(config, routes, edge, clock, &asking.entropy);
    Built { service, readiness, children }
}
