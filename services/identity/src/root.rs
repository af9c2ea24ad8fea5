//! The service's actors, in the order they start. They stop in the opposite order.

use std::sync::Arc;

use latchkey_authority::janitor::Janitor;
use latchkey_bus::{Bus, Endpoint};
use latchkey_runtime::supervisor::Running;
use latchkey_runtime::{Address, Child, Root, periodic};
use ractor::SpawnErr;

use crate::sweeper::Sweeper;
use crate::{Identity, routes};

pub(crate) async fn start(
    bus: Bus,
    identity: Arc<Identity>,
    first: [Child; 3],
) -> Result<Running, SpawnErr> {
    let sweeper = Sweeper { db: identity.db.clone(), clock: identity.clock.clone() };
    let routes = routes::of(&identity);
    let endpoint = Child::new("identity endpoint", Address::new(), move || {
        (Endpoint { bus: bus.clone(), routes: routes.clone() }, ())
    });
    let sweeper = periodic::child("identity sweeper", Arc::new(sweeper));
    let janitor = Janitor::new(Arc::clone(&identity.authority));
    let janitor = periodic::child("identity janitor", Arc::new(janitor));
    let mut children = Vec::from(first);
    children.extend([janitor, sweeper, endpoint]);
    Root::start(children).await
}
