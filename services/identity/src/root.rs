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

use crate::sweeper::Sweeper;
use crate::{Identity, outbox, routes, store};

pub(crate) async fn start(
    bus: Bus,
    identity: Arc<Identity>,
    first: [Child; 6],
    shipper: Option<Shipper>,
) -> Result<Running, SpawnErr> {
    let sweeper = Sweeper { db: identity.db.clone(), clock: identity.clock.clone() };
    let upkeep = bus.upkeep();
    let endpoint = endpoint("identity endpoint", bus, routes::of(&identity));
    let chores = Chores {
        db: identity.db.clone(),
        sql: &store::CHORES,
        holder: Holder(identity.entropy.bytes()),
        clock: identity.clock.clone(),
    };
    let sweeper = chores.child("identity sweeper", "sweeper", sweeper);
    let costs = identity.passwords.cost_keeper(identity.db.clone());
    let costs = periodic::child("password cost keeper", Arc::new(costs));
    let janitor = Janitor::new(Arc::clone(&identity.authority));
    let janitor = chores.child("identity janitor", "janitor", janitor);
    let (db, bus) = (identity.db.clone(), identity.bus.clone());
    let carrier = outbox::Carrier::new(db, bus, identity.change_attempt());
    let carrier = chores.child("identity outbox", "outbox", carrier);
    let (audit, clock) = (&identity.config.audit, identity.clock.clone());
    let sealer = Sealer::new(identity.db.clone(), &store::AUDIT, audit.keys(), clock.clone());
    let keeper = Keeper::new(sealer, Pruner::new(clock, audit.days)).writing(shipper);
    let sealer = chores.child("identity sealer", "sealer", keeper);
    let mut children = upkeep;
    children.extend(first);
    children.extend(identity.db.upkeep());
    children.extend([janitor, sweeper, sealer, costs, carrier, endpoint]);
    Root::start(children).await
}
