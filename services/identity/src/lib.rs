//! The identity service: users, logins, sessions and access tokens.
//!
//! ```text
//! bus -> routes -> account | session | refresh | verify | audit -> store
//!                      \        \__ token <- signer (whose tokens are accepted), signing (keys that anybody checks by)
//!                       \__ password (hashing workers)
//! ```
//!
//! Actors: the root supervises the endpoint, the password workers, the keeper of their costs, the verifier,
//! the listener for acknowledgements, the watches over signers, over the scopes of users and over signing keys, the janitor, the sweeper,
//! the outbox and the sealer of the audit log.

pub mod account;
pub mod activation;
pub mod audit;
pub mod ceiling;
pub mod change;
pub mod config;
pub mod epoch;
pub mod fingerprint;
pub mod names;
pub mod operator;
pub mod outbox;
pub mod password;
pub mod refresh;
pub mod replica;
pub mod role_scopes;
pub mod rules;
pub mod serving;
pub mod session;
pub mod sessions;
pub mod signer;
pub mod signing;
pub mod store;
pub mod sweeper;
pub mod throttle;
pub mod token;
pub mod user_scopes;
pub mod verify;

mod asked;
mod derived;
mod release;
mod revoke;
mod root;
mod routes;
mod telling;

use std::sync::Arc;
use std::time::Duration;

use latchkey_audit::shipper::Shipper;
use latchkey_authority::Authority;
use latchkey_authority::lookup::Lookup;
use latchkey_bus::Bus;
use latchkey_contract::Timestamp;
use latchkey_contract::authority::change_attempt;
use latchkey_contract::identity::IdentityAuthority;
use latchkey_runtime::batch::BatchClient;
use latchkey_runtime::supervisor::Running;
use latchkey_runtime::{Clock, Entropy, Exit, StartError, periodic};
use latchkey_store::Db;

use signing::keeper::KeyKeeper;

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

/// The service while it runs.
pub struct Started {
    /// Its actors.
    pub running: Running,
    /// Whether the database names its secret.
    pub named: signer::Named,
}

/// What the service's handlers share.
pub struct Identity {
    config: Config,
    db: Db,
    clock: Clock,
    entropy: Entropy,
    passwords: password::Passwords,
    tokens: token::Tokens,
    refresh_tokens: refresh::RefreshTokens,
    several: release::Several,
    named: signer::Named,
    keeper: Arc<signing::keeper::KeyKeeper>,
    sessions: BatchClient<Lookup<store::session::SessionRows>>,
    bus: Bus,
    authority: Arc<Authority<IdentityAuthority>>,
}

impl Identity {
    /// How long one attempt at a change in another service waits.
    fn change_attempt(&self) -> Duration {
        change_attempt(Duration::from_nanos(self.config.revocation.bounds.wait()))
    }

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
    names::complete(db).await
}

/// Starts the service's actors, once the database names its secret.
///
/// # Errors
/// [`StartError`] where an actor does not start, or the tables cannot be used.
pub async fn start(config: Config, deps: Deps) -> Result<Started, StartError> {
    let keeper = Arc::new(user_scopes::Keeper::new(config.user_scopes.clone()));
    start_with(config, deps, keeper).await
}

/// The same again in a process that has started it before, with the keeper from then.
pub(crate) async fn start_with(
    config: Config,
    deps: Deps,
    keeper: Arc<user_scopes::Keeper>,
) -> Result<Started, StartError> {
    let shipper = config.audit.log.as_ref().map(Shipper::open).transpose()?;
    let tokens = token::Tokens::new(&config.token).map_err(signer::unusable)?;
    let refresh_tokens = refresh::RefreshTokens::new(&config.token).map_err(signer::unusable)?;
    let (passwords, workers) = password::start(&config.password, deps.entropy.clone())
        .map_err(|error| StartError::new(Exit::Config, error.to_string()))?;
    passwords.cost_keeper(deps.db.clone()).ask().await.map_err(|error| {
        StartError::new(Exit::Data, format!("the identity tables cannot be used: {error}"))
    })?;
    let (sessions, verifier) = BatchClient::new("look up sessions", Lookup::new(deps.db.clone()));
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
    signer::take_up(&db, &tokens, &clock).await?;
    let (watch, named) = signer::Watch::new(db.clone(), tokens.signers());
    let watch = periodic::child("signer watch", Arc::new(watch));
    keeper.begin(&db, &clock).await?;
    let scopes = user_scopes::Watch { keeper, db: db.clone(), clock: clock.clone() };
    let scopes = periodic::child("user scopes watch", Arc::new(scopes));
    let signing = (config.signing, tokens.keys().clone());
    let signing = KeyKeeper::new(signing, db.clone(), (clock.clone(), entropy.clone()));
    let signing = Arc::new(signing);
    signing.begin().await?;
    let signing_keys = periodic::child("signing keys", Arc::clone(&signing));
    let identity = Arc::new(Identity {
        tokens,
        refresh_tokens,
        several: release::Several::default(),
        named: named.clone(),
        keeper: signing,
        config,
        db,
        clock,
        entropy,
        passwords,
        sessions,
        bus: bus.clone(),
        authority,
    });
    let first = [workers, verifier, listener, watch, scopes, signing_keys];
    let running = root::start(bus, identity, first, shipper)
        .await
        .map_err(|error| StartError::new(Exit::Internal, error.to_string()))?;
    Ok(Started { running, named })
}
