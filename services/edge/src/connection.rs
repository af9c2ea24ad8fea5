//! One connection from its first byte to its end: serves its requests, tells whoever sent what is no request,
//! and closes so that the last answer can be read.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1::{Connection, Parts};
use hyper::service::HttpService;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::idle_timeout::Activity;
use crate::layers::EdgeService;
use crate::malformed;
use crate::tracked_stream::TrackedStream;

/// Bytes that are still taken and thrown away after the last answer: a client that goes on sending to a
/// connection that is closed loses the answer.
const MAX_LINGER: u64 = 2 * 1_024 * 1_024;
/// How long that may take.
const LINGER: Duration = Duration::from_secs(5);

/// The end of all connections.
#[derive(Default)]
pub(crate) struct Ending {
    farewell: AtomicBool,
    closing: AtomicBool,
    told: Notify,
}

impl Ending {
    /// From now on answers tell their clients to connect elsewhere.
    pub(crate) fn say_farewell(&self) {
        self.farewell.store(true, Ordering::Relaxed);
    }

    /// Whether they do.
    pub(crate) fn is_farewell(&self) -> bool {
        self.farewell.load(Ordering::Relaxed)
    }

    /// Closes the connections that are idle, and the others after their next answer.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.told.notify_waiters();
    }
}

/// Serves `connection` to its end.
pub(crate) async fn run<S>(
    mut connection: Connection<TokioIo<TrackedStream>, S>,
    activity: &Activity,
    service: &EdgeService,
    ending: &Ending,
) where
    S: HttpService<Incoming, ResBody = axum::body::Body> + Unpin,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let outcome = serve(&mut connection, ending).await;
    if let Err(error) = &outcome {
        tracing::debug!(%error, "a connection ended early");
    }
    let Parts { io, read_buf, .. } = connection.into_parts();
    let (mut stream, was_refused) = io.into_inner().into_inner();
    let fault = outcome.err().and_then(|error| malformed::fault(&error, &read_buf, was_refused));
    let is_malformed = fault.is_some();
    if let Some(fault) = fault {
        let answer = service.refuse(fault, &read_buf);
        if tokio::time::timeout(LINGER, stream.write_all(&answer)).await.is_err() {
            return;
        }
    }
    if is_malformed || activity.is_unread() || has_more(&stream) {
        linger(stream).await;
    }
}

/// hyper's part. The end of all is told once to whoever has been polled once: a look at a flag is all that
/// a request pays for it.
async fn serve<S>(
    connection: &mut Connection<TokioIo<TrackedStream>, S>,
    ending: &Ending,
) -> hyper::Result<()>
where
    S: HttpService<Incoming, ResBody = axum::body::Body> + Unpin,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut told = pin!(ending.told.notified());
    let (mut is_listening, mut is_closing) = (false, false);
    poll_fn(|context| {
        if !is_listening {
            // Its waker is this task's, now and later.
            let _: Poll<()> = told.as_mut().poll(context);
            is_listening = true;
        }
        if !is_closing && ending.closing.load(Ordering::SeqCst) {
            is_closing = true;
            Pin::new(&mut *connection).graceful_shutdown();
        }
        Pin::new(&mut *connection).poll(context)
    })
    .await
}

/// Whether something has arrived that nobody has read.
fn has_more(stream: &TcpStream) -> bool {
    stream.try_read(&mut [0; 1]).is_ok_and(|count| count > 0)
}

/// Says that nothing more will be sent, and takes what the client still sends, within bounds, so that its
/// system does not throw the answer away.
async fn linger(mut stream: TcpStream) {
    let drain = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(MAX_LINGER), &mut tokio::io::sink()).await
    };
    let _: Result<io::Result<u64>, _> = tokio::time::timeout(LINGER, drain).await;
}
