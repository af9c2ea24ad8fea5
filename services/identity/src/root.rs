//! The service's actors, in the order they start. They stop in the opposite order.

use std::sync::Arc;

use latchkey_bus::{Bus, Endpoint};
use latchkey_runtime::supervisor::Running;
use latchkey_runtime::{Address, Child, Root, periodic};
use ractor::SpawnErr;

use crate::sweeper::Sweeper;
use crate::{Identity, routes};

pub(crate) async fn start(
    bus: Bus,
    identity: Arc<Identity>,
    workers: Child,
    verifier: Child,
) -> Result<Running, SpawnErr> {
    let sweeper = Sweeper { db: identity.db.clone(), clock: identity.clock.clone() };
    let routes = routes::of(&identity);
    let endpoint = Child::new("identity endpoint", Address::new(), move || {
        (Endpoint { bus: bus.clone(), routes: routes.clone() }, ())
    });
    let sweeper = periodic::child("identity sweeper", Arc::new(sweeper));
    Root::start(vec![workers, verifier, sweeper, endpoint]).await
}
