//! The identity service: users, logins, sessions and access tokens.
//!
//! ```text
//! bus -> routes -> account | session | verify -> store
//!                      \        \__ token
//!                       \__ password (hashing workers)
//! ```
//!
//! Actors: the root supervises the endpoint, the password workers, the verifier, the
//! listener for acknowledgements, the janitor and the sweeper.

pub mod account;
pub mod activation;
pub mod change;
pub mod cluster;
pub mod config;
pub mod operator;
pub mod password;
pub mod rules;
pub mod session;
pub mod store;
pub mod sweeper;
pub mod throttle;
pub mod token;
pub mod verify;

mod root;
mod routes;

use std::sync::Arc;

use latchkey_authority::Authority;
use latchkey_bus::Bus;
use latchkey_contract::Timestamp;
use latchkey_contract::authority::IdentityAuthority;
use latchkey_runtime::batch::Asker;
use latchkey_runtime::supervisor::Running;
use latchkey_runtime::{Clock, Entropy, Exit, StartError};
use latchkey_store::Db;

pub use config::Config;

/// The service's name: on the bus, in the database and in logs.
pub const NAME: &str = "identity";

/// What the service is given by the process it runs in.
#[derive(Clone)]
pub struct Deps {
    /// Where it answers.
    pub bus: Bus,
    /// Where its tables are, [prepared](prepare).
    pub db: Db,
    /// What time it is.
    pub clock: Clock,
    /// Where random bytes come from.
    pub entropy: Entropy,
}

/// What the service's handlers share.
pub struct Identity {
    config: Config,
    db: Db,
    clock: Clock,
    entropy: Entropy,
    passwords: password::Passwords,
    tokens: token::Tokens,
    sessions: Asker<verify::Lookup>,
    bus: Bus,
    authority: Arc<Authority<IdentityAuthority>>,
}

impl Identity {
    fn now(&self) -> Timestamp {
        Timestamp(self.clock.unix_millis())
    }
}

/// Waits for the database and brings the service's tables up to date.
///
/// # Errors
/// [`StartError`] where the tables cannot be used.
pub async fn prepare(db: &Db) -> Result<(), StartError> {
    db.prepare(NAME, store::MIGRATIONS, None).await?;
    Ok(())
}

/// Starts the service's actors.
///
/// # Errors
/// [`StartError`] where an actor does not start.
pub async fn start(config: Config, deps: Deps) -> Result<Running, StartError> {
    let (passwords, workers) = password::start(&config.password, deps.entropy.clone())
        .map_err(|error| StartError::new(Exit::Config, error.to_string()))?;
    let (sessions, verifier) =
        Asker::new("look up sessions", verify::Lookup { db: deps.db.clone() });
    let Deps { bus, db, clock, entropy } = deps;
    let (authority, listener) = Authority::start(
        config.revocation,
        db.clone(),
        &store::AUTHORITY,
        bus.clone(),
        clock.clone(),
        &entropy,
    )
    .await
    .map_err(|error| {
        StartError::new(Exit::Data, format!("the identity tables cannot be used: {error}"))
    })?;
    let identity = Arc::new(Identity {
        tokens: token::Tokens::new(&config.token),
        config,
        db,
        clock,
        entropy,
        passwords,
        sessions,
        bus: bus.clone(),
        authority,
    });
    root::start(bus, identity, [workers, verifier, listener])
        .await
        .map_err(|error| StartError::new(Exit::Internal, error.to_string()))
}
