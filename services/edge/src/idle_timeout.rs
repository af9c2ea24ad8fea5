//! Closes connections on which nothing happens: one that idles for too long, a request's head that does not
//! arrive, a client that has gone. One sweep over all of them every few seconds; a timer for each request
//! would cost more than the check of its credential.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;

/// The pause between two sweeps.
const SWEEP: Duration = Duration::from_millis(2_500);
/// Sweeps in a row that find a head begun and not complete before it is given up: after 5 to 7.5 s.
const HEAD_SWEEPS: u32 = 2;
/// The same while an answer waits for its client to take more of it: a minute.
const STALLED_SWEEPS: u32 = 24;
/// Idle connections that are closed at once, at most, where there is no room for a new one.
const GIVEN_UP: usize = 32;

/// What a connection is doing, in one word: a phase, two flags, and a count of what it has done.
///
/// Its own task alone writes it, so that a change costs no more than a load and a store.
#[derive(Clone, Default)]
pub(crate) struct Activity(Arc<AtomicU32>);

/// The two lowest bits: idle (0), in the middle of a request's head, or working on a request.
const PHASE: u32 = 0b11;
const HEAD: u32 = 0b01;
const BUSY: u32 = 0b10;
/// The client has yet to take what was written.
const STALLED: u32 = 0b100;
/// The last answer was given before its request's body had been read to the end.
const UNREAD: u32 = 0b1000;
/// One more answer.
const ANSWER: u32 = 0b1_0000;

/// The connections that are open, as of the last sweep, and those that came since.
pub(crate) struct Watch {
    connections: Mutex<Vec<Watched>>,
    idle_sweeps: u32,
}

struct Watched {
    connection: AbortHandle,
    activity: Activity,
    seen: u32,
    quiet: u32,
}

/// What a sweep has closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    /// Connections whose head did not arrive.
    pub(crate) slow_heads: u64,
}

impl Activity {
    fn now(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, state: u32) {
        self.0.store(state, Ordering::Relaxed);
    }

    /// A request was answered.
    pub(crate) fn answered(&self) {
        self.set((self.now() & !(PHASE | UNREAD)).wrapping_add(ANSWER));
    }

    /// A request is worked on, until it is [`answered`](Self::answered).
    pub(crate) fn busy(&self) {
        self.set((self.now() & !PHASE) | BUSY);
    }

    /// The answer is given although the client may still be sending: the connection cannot simply be closed.
    pub(crate) fn leave_unread(&self) {
        self.set(self.now() | UNREAD);
    }

    /// Whether the client may still be sending what nobody will read.
    pub(crate) fn is_unread(&self) -> bool {
        self.now() & UNREAD != 0
    }

    /// Bytes arrived. The line ends that some clients send after a body are no beginning of a head.
    pub(crate) fn read(&self, bytes: &[u8]) {
        let now = self.now();
        if now & PHASE == 0 && bytes.iter().any(|byte| !b"\r\n".contains(byte)) {
            self.set(now | HEAD);
        }
    }

    /// Bytes were taken by the client, or are not yet.
    pub(crate) fn wrote(&self, is_pending: bool) {
        let now = self.now();
        match (now & STALLED != 0, is_pending) {
            (false, true) => self.set(now | STALLED),
            // It takes more: a sign of life.
            (true, false) => self.set((now & !STALLED).wrapping_add(ANSWER)),
            _ => {}
        }
    }
}

impl Watch {
    /// Watches connections of which an idle one lives for at least `keep_alive`.
    pub(crate) fn new(keep_alive: Duration) -> Self {
        let sweeps = keep_alive.as_millis().div_ceil(SWEEP.as_millis());
        let idle_sweeps = u32::try_from(sweeps).unwrap_or(u32::MAX);
        Self { connections: Mutex::default(), idle_sweeps }
    }

    /// Watches a connection from now on.
    #[expect(clippy::disallowed_methods, reason = "a list that is changed in whole steps")]
    pub(crate) fn add(&self, connection: AbortHandle, activity: Activity) {
        // The first sweep finds it new, however young it is.
        let watched = Watched { connection, activity, seen: u32::MAX, quiet: 0 };
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).push(watched);
    }

    /// Sweeps for ever, and tells what each sweep has closed.
    pub(crate) async fn sweep(&self, tell: impl Fn(Swept)) {
        loop {
            tokio::time::sleep(SWEEP).await;
            tell(self.look());
        }
    }

    fn look(&self) -> Swept {
        let mut swept = Swept::default();
        #[expect(clippy::disallowed_methods, reason = "a list that is changed in whole steps")]
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain_mut(|watched| watched.goes_on(self.idle_sweeps, &mut swept));
        swept
    }

    /// Closes the connections on which no request is in hand: those in the middle of a head. Tells how many.
    pub(crate) fn close_heads(&self) -> Swept {
        #[expect(clippy::disallowed_methods, reason = "a list that is changed in whole steps")]
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|watched| !watched.connection.is_finished());
        let begun = connections.iter().filter(|watched| is_in_head(watched.activity.now()));
        let slow_heads = begun.map(|watched| watched.connection.abort()).count() as u64;
        Swept { slow_heads }
    }

    /// Closes the connections that have been idle for longest, so that others find room.
    pub(crate) fn make_room(&self) {
        #[expect(clippy::disallowed_methods, reason = "a list that is changed in whole steps")]
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|watched| !watched.connection.is_finished());
        let idle = connections.iter().enumerate().filter(|(_, watched)| watched.is_idle());
        let mut idle: Vec<_> = idle.map(|(place, watched)| (watched.rank(), place)).collect();
        idle.sort_by_key(|(rank, place)| (Reverse(*rank), *place));
        for (_, place) in idle.into_iter().take(GIVEN_UP) {
            if let Some(watched) = connections.get(place) {
                watched.connection.abort();
            }
        }
    }
}

impl Watched {
    fn is_idle(&self) -> bool {
        self.activity.now() & (PHASE | STALLED) == 0
    }

    /// Who gives way first: whoever has never asked for anything since the last sweep but one, then whoever
    /// was quiet for longest. One that has only just come has its request under way.
    fn rank(&self) -> (bool, bool, u32) {
        let is_of_use = self.activity.now() >= ANSWER;
        let quiet = if self.activity.now() == self.seen { self.quiet } else { 0 };
        (!is_of_use && quiet > 0, is_of_use, quiet)
    }

    /// Whether the connection is still open after this sweep.
    fn goes_on(&mut self, idle_sweeps: u32, swept: &mut Swept) -> bool {
        let now = self.activity.now();
        let is_working = now & PHASE == BUSY && now & STALLED == 0;
        let most = match now {
            now if now & STALLED != 0 => STALLED_SWEEPS,
            now if now & PHASE == HEAD => HEAD_SWEEPS,
            _ => idle_sweeps,
        };
        self.quiet = if is_working || now != self.seen { 0 } else { self.quiet + 1 };
        self.seen = now;
        if self.connection.is_finished() {
            return false;
        }
        if self.quiet < most {
            return true;
        }
        if is_in_head(now) {
            swept.slow_heads += 1;
        }
        self.connection.abort();
        false
    }
}

fn is_in_head(state: u32) -> bool {
    state & (PHASE | STALLED) == HEAD
}

#[cfg(test)]
mod tests;
