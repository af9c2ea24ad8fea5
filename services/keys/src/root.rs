//! The service's actors, in the order they start. They stop in the opposite order.

use std::sync::Arc;

use latchkey_authority::janitor::Janitor;
use latchkey_bus::{Bus, Endpoint};
use latchkey_runtime::supervisor::Running;
use latchkey_runtime::{Address, Child, Root, periodic};
use ractor::SpawnErr;

use crate::sweeper::Sweeper;
use crate::{Keys, routes};

pub(crate) async fn start(
    bus: Bus,
    keys: Arc<Keys>,
    verifier: Child,
    listener: Child,
) -> Result<Running, SpawnErr> {
    let sweeper = Sweeper { db: keys.db.clone(), clock: keys.clock.clone() };
    let routes = routes::of(&keys);
    let endpoint = Child::new("keys endpoint", Address::new(), move || {
        (Endpoint { bus: bus.clone(), routes: routes.clone() }, ())
    });
    let ledger = periodic::child("usage ledger", Arc::clone(&keys.usage));
    let sweeper = periodic::child("keys sweeper", Arc::new(sweeper));
    let janitor =
        periodic::child("keys janitor", Arc::new(Janitor::new(Arc::clone(&keys.authority))));
    Root::start(vec![verifier, ledger, listener, janitor, sweeper, endpoint]).await
}
