//! Closes connections on which nothing happens: a request's head that does not arrive, a client that has
//! gone. One sweep over all of them every few seconds; a timer for each request would cost more than
//! the check of its credential.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;

/// The pause between two sweeps.
const SWEEP: Duration = Duration::from_millis(2_500);
/// Sweeps in a row that find a connection as it was before it is closed: after 5 to 7.5 s.
const QUIET_SWEEPS: u32 = 2;

/// What a connection has done so far.
#[derive(Clone, Default)]
pub(crate) struct Activity(Arc<AtomicU32>);

/// The connections that are open, as of the last sweep, and those that came since.
#[derive(Default)]
pub(crate) struct Watch(Mutex<Vec<Watched>>);

struct Watched {
    connection: AbortHandle,
    activity: Activity,
    seen: u32,
    quiet: u32,
}

impl Activity {
    /// A request was answered at once.
    pub(crate) fn answered(&self) {
        self.0.fetch_add(2, Ordering::Relaxed);
    }

    /// A request is worked on, or no longer: it alternates.
    pub(crate) fn turned(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Watch {
    /// Watches a connection from now on.
    pub(crate) fn add(&self, connection: AbortHandle, activity: Activity) {
        let watched = Watched { connection, activity, seen: 0, quiet: 0 };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(watched);
    }

    /// Sweeps for ever.
    pub(crate) async fn sweep(&self) {
        loop {
            tokio::time::sleep(SWEEP).await;
            self.look();
        }
    }

    fn look(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain_mut(Watched::goes_on);
    }
}

impl Watched {
    /// Whether the connection is still open after this sweep.
    fn goes_on(&mut self) -> bool {
        let now = self.activity.0.load(Ordering::Relaxed);
        let is_working = !now.is_multiple_of(2);
        self.quiet = if is_working || now != self.seen { 0 } else { self.quiet + 1 };
        self.seen = now;
        if self.quiet >= QUIET_SWEEPS {
            self.connection.abort();
        }
        !self.connection.is_finished() && self.quiet < QUIET_SWEEPS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "as connections are")]
    #[tokio::test]
    async fn only_a_connection_without_requests_is_closed() {
        let watch = Watch::default();
        let open = || tokio::spawn(std::future::pending::<()>());
        let (silent, working, busy) = (open(), open(), open());
        let [quiet, in_hand, many] = [(); 3].map(|()| Activity::default());
        watch.add(silent.abort_handle(), quiet);
        watch.add(working.abort_handle(), in_hand.clone());
        watch.add(busy.abort_handle(), many.clone());
        in_hand.turned();
        for _ in 0..8 {
            many.answered();
            watch.look();
        }
        assert!(silent.await.is_err_and(|error| error.is_cancelled()));
        assert!(!working.is_finished() && !busy.is_finished());
        assert_eq!(watch.0.lock().unwrap().len(), 2);
        // The answer was given, and nothing came after it.
        in_hand.turned();
        for _ in 0..=QUIET_SWEEPS {
            many.answered();
            watch.look();
        }
        assert!(working.await.is_err_and(|error| error.is_cancelled()));
        assert!(!busy.is_finished());
    }
}
