//! The key service: issue, list, revoke and verify API keys.
//!
//! ```text
//! bus -> routes -> issue | get | list | lookup | audit | change | revoke | purge | owner | verify | usage -> store
//! ```
//!
//! Actors: the root supervises the endpoint, the verifier, the usage ledger, the
//! listener for acknowledgements, the janitor, the sweeper, the sealer of the audit log and the counter of keys that
//! expire soon.

pub mod acting;
pub mod audit;
pub mod change;
pub mod config;
pub mod environments;
pub mod epoch;
pub mod expiring;
pub mod get;
pub mod idempotency;
pub mod issue;
pub mod list;
pub mod lookup;
pub mod operator;
pub mod owner;
pub mod purge;
pub mod replica;
pub mod revoke;
pub mod revoke_many;
pub mod rotate;
pub mod store;
pub mod sweeper;
pub mod usage;
pub mod verify;

mod release;
mod root;
mod routes;

use std::sync::Arc;

use latchkey_audit::shipper::Shipper;
use latchkey_authority::Authority;
use latchkey_authority::lookup::Lookup;
use latchkey_bus::Bus;
use latchkey_contract::Timestamp;
use latchkey_contract::keys::KeysAuthority;
use latchkey_runtime::batch::BatchClient;
use latchkey_runtime::supervisor::Running;
use latchkey_runtime::{Clock, Entropy, Exit, StartError};
use latchkey_store::Db;

pub use config::Config;
use idempotency::sealer::Sealer;

/// The service's name: on the bus, in the database and in logs.
pub const NAME: &str = "keys";

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
pub struct Keys {
    config: Config,
    db: Db,
    clock: Clock,
    entropy: Entropy,
    lookup: BatchClient<Lookup<store::KeyRows>>,
    usage: Arc<usage::UsageLedger>,
    authority: Arc<Authority<KeysAuthority>>,
    restrictions: release::Known,
    ceilings: release::Known,
    /// Keeps answers for whoever may ask again; `None`: there is no secret to do so by.
    sealer: Option<Sealer>,
}

impl Keys {
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
    let shipper = config.audit.log.as_ref().map(Shipper::open).transpose()?;
    let (lookup, verifier) = BatchClient::new("keys verifier", Lookup::new(deps.db.clone()));
    let usage = Arc::new(usage::UsageLedger::new(deps.db.clone()));
    let Deps { bus, db, clock, entropy } = deps;
    let (authority, listener) = Authority::start(
        config.revocation,
        db.clone(),
        &store::AUTHORITY,
        bus.clone(),
        clock.clone(),
        &entropy,
    )
    .await?;
    let (restrictions, ceilings) = (release::Known::restrictions(), release::Known::ceilings());
    let sealer = config.shared_secret().map(Sealer::of).transpose();
    let sealer = sealer.map_err(|error| StartError::new(Exit::Internal, error.to_string()))?;
    let keys = Keys {
        config,
        db,
        clock,
        entropy,
        lookup,
        usage,
        authority,
        restrictions,
        ceilings,
        sealer,
    };
    let keys = Arc::new(keys);
    root::start(bus, keys, verifier, listener, shipper)
        .await
        .map_err(|error| StartError::new(Exit::Internal, error.to_string()))
}
