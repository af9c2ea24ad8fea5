//! Closes connections on which nothing happens: a request's head that does not arrive, a client that has
//! gone. One sweep over all of them every few seconds; a timer for each request would cost more than
//! the check of its credential.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

/// The pause between two sweeps.
const SWEEP: Duration = Duration::from_millis(2_500);
/// Sweeps in a row that find a connection as it was before it is closed: after 5 to 7.5 s.
const QUIET_SWEEPS: u32 = 2;
/// The same while an answer waits for its client to take more of it: a minute.
const STALLED_SWEEPS: u32 = 24;

/// What a connection has done so far.
#[derive(Clone, Default)]
pub(crate) struct Activity(Arc<Moves>);

#[derive(Default)]
struct Moves {
    /// Odd while a request is worked on.
    count: AtomicU32,
    /// Whether the client has yet to take what was written.
    stalled: AtomicBool,
}

/// A connection whose writes are noted. What is read is not: a head may drip.
pub(crate) struct Noted {
    stream: TcpStream,
    activity: Activity,
}

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
        self.0.count.fetch_add(2, Ordering::Relaxed);
    }

    /// A request is worked on, or no longer: it alternates.
    pub(crate) fn turned(&self) {
        self.0.count.fetch_add(1, Ordering::Relaxed);
    }

    fn wrote<T>(&self, written: &Poll<T>) {
        let (was, is) = (self.0.stalled.load(Ordering::Relaxed), written.is_pending());
        if was != is {
            self.0.stalled.store(is, Ordering::Relaxed);
        }
        if was && !is {
            self.answered();
        }
    }
}

impl Watch {
    /// Watches a connection from now on.
    pub(crate) fn add(&self, connection: AbortHandle, activity: Activity) {
        // The first sweep finds it new, however young it is.
        let watched = Watched { connection, activity, seen: u32::MAX, quiet: 0 };
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
        let now = self.activity.0.count.load(Ordering::Relaxed);
        let is_stalled = self.activity.0.stalled.load(Ordering::Relaxed);
        let most = if is_stalled { STALLED_SWEEPS } else { QUIET_SWEEPS };
        let is_working = !now.is_multiple_of(2);
        self.quiet = if is_working || now != self.seen { 0 } else { self.quiet + 1 };
        self.seen = now;
        if self.quiet >= most {
            self.connection.abort();
        }
        !self.connection.is_finished() && self.quiet < most
    }
}

impl Noted {
    /// Notes the writes on `stream` in `activity`.
    pub(crate) fn new(stream: TcpStream, activity: Activity) -> Self {
        Self { stream, activity }
    }
}

impl AsyncRead for Noted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Noted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.activity.wrote(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.activity.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
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
        // The answer was given, but its client has not taken it yet.
        in_hand.turned();
        in_hand.wrote(&Poll::<()>::Pending);
        for _ in 0..STALLED_SWEEPS - 1 {
            many.answered();
            watch.look();
        }
        assert_eq!(watch.0.lock().unwrap().len(), 2);
        // Now it has, and nothing came after it.
        in_hand.wrote(&Poll::Ready(()));
        for _ in 0..=QUIET_SWEEPS {
            many.answered();
            watch.look();
        }
        assert!(working.await.is_err_and(|error| error.is_cancelled()));
        assert!(!busy.is_finished());
    }
}
