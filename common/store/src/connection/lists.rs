//! Room for lists among a pool's connections: they leave some for everything else.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Of so many connections one is for lists at most: the others stay for what must not wait.
const PER_LIST: u32 = 2;

/// The places.
pub(super) struct Lists(Arc<Semaphore>);

impl Lists {
    /// Those among so many connections; one at least.
    pub(super) fn among(connections: u32) -> Self {
        let places = usize::try_from((connections / PER_LIST).max(1)).unwrap_or(1);
        Self(Arc::new(Semaphore::new(places)))
    }

    /// A place, if one is free in time.
    pub(super) async fn place(&self, patience: Duration) -> Option<OwnedSemaphorePermit> {
        // Nobody closes it.
        timeout(patience, Arc::clone(&self.0).acquire_owned()).await.ok()?.ok()
    }
}
