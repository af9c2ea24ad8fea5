//! The service's actors, in the order they start. They stop in the opposite order.

use std::sync::Arc;

use latchkey_audit::keeper::Keeper;
use latchkey_audit::pruner::Pruner;
use latchkey_audit::sealer::Sealer;
use latchkey_audit::shipper::Shipper;
use latchkey_authority::janitor::Janitor;
use latchkey_bus::{Bus, endpoint};
use latchkey_runtime::supervisor::Running;
use latchkey_runtime::{Child, Root, periodic};
use latchkey_store::{Chores, Holder};
use ractor::SpawnErr;

use crate::expiring::ExpiryCounter;
use crate::sweeper::Sweeper;
use crate::{Keys, routes, store};

pub(crate) async fn start(
    bus: Bus,
    keys: Arc<Keys>,
    verifier: Child,
    listener: Child,
    shipper: Option<Shipper>,
) -> Result<Running, SpawnErr> {
    let sweeper = Sweeper { db: keys.db.clone(), clock: keys.clock.clone() };
    let upkeep = bus.upkeep();
    let endpoint = endpoint("keys endpoint", bus, routes::of(&keys));
    let ledger = periodic::child("usage ledger", Arc::clone(&keys.usage));
    let chores = Chores {
        db: keys.db.clone(),
        sql: &store::CHORES,
        holder: Holder(keys.entropy.bytes()),
        clock: keys.clock.clone(),
    };
    let sweeper = chores.child("keys sweeper", "sweeper", sweeper);
    let janitor = Janitor::new(Arc::clone(&keys.authority));
    let janitor = chores.child("keys janitor", "janitor", janitor);
    let (audit, clock) = (&keys.config.audit, keys.clock.clone());
    let sealer = Sealer::new(keys.db.clone(), &store::AUDIT, audit.keys(), clock.clone());
    let keeper = Keeper::new(sealer, Pruner::new(clock, audit.days)).writing(shipper);
    let sealer = chores.child("keys sealer", "sealer", keeper);
    let counter = ExpiryCounter::new(keys.db.clone(), keys.clock.clone());
    let counter = chores.child("keys expiry counter", "expiring", counter);
    let mut children = upkeep;
    children.extend([verifier, ledger, listener]);
    children.extend(keys.db.upkeep());
    children.extend([janitor, sweeper, sealer, counter, endpoint]);
    Root::start(children).await
}
