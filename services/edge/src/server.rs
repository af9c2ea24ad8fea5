//! Serves HTTP/1.1: bounded connections and heads, and an end that drops no request.
//!
//! `axum::serve` never closes a connection on which nothing happens; this loop does.

use std::convert::Infallible;
use std::future::ready;
use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request};
use axum::response::Response;
use futures_util::future::Either;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use latchkey_runtime::{Exit, StartError, process};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::around::Later;
use crate::config::Config;
use crate::connection::{self, Ending};
use crate::idle_timeout::{Activity, Watch};
use crate::layers::EdgeService;
use crate::lent_body::Unread;
use crate::observe;
use crate::tracked_stream::TrackedStream;

/// Connections at the same time at most, where the system allows as many open files; beyond them, the one
/// that was idle for longest gives way, and where none is idle, further ones wait to be accepted.
const MAX_CONNECTIONS: u32 = 8_192;
/// Open files that are kept for everything else: databases, the bus, logs.
const OTHER_FILES: u64 = 256;
/// Bytes of a request's head at most.
const MAX_HEAD: usize = 16 * 1_024;
/// How long connections in use may take, when the process ends, to learn of it from their next answer:
/// one that is closed while its client sends the next request fails that request.
const FAREWELL: Duration = Duration::from_millis(500);
/// How long requests in hand may take after that. Together they are below what a process may take to end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(7);
/// How long a request may take after that whose head has begun to arrive: nobody works on it yet.
const HEAD_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause after the system gave no connection (too many open files, say), and before it is tried again
/// to make room.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound address, not serving yet.
pub struct Server {
    listener: TcpListener,
    keep_alive: Duration,
}

impl Server {
    /// Takes the address.
    ///
    /// # Errors
    /// [`StartError`] says who may have it, or why it cannot be taken.
    pub async fn bind(config: &Config) -> Result<Self, StartError> {
        let (address, keep_alive) = (config.listen, config.keep_alive);
        let bound = TcpListener::bind(address).await;
        bound.map(|listener| Self { listener, keep_alive }).map_err(|error| {
            let message = match error.kind() {
                io::ErrorKind::AddrInUse => format!(
                    "{address} is in use by another program: stop it, or set LISTEN_ADDR to another port"
                ),
                _ => format!("{address} cannot be listened on: {error}"),
            };
            StartError::new(Exit::Unavailable, message)
        })
    }

    /// The address, with the port that was taken.
    ///
    /// # Errors
    /// Where the system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `end` returns; then takes no further connections, answers the requests in hand
    /// and returns.
    pub async fn serve(self, service: EdgeService, end: impl Future<Output = ()>) {
        let serving = Serving::new(service, self.keep_alive, connections());
        observe::watch_connections(serving.most, Arc::clone(&serving.connections));
        tokio::select! {
            () = end => {}
            () = serving.accept(&self.listener) => {}
            () = serving.watch.sweep(|swept| serving.service.note(swept)) => {}
        }
        serving.ending.say_farewell();
        serving.accept_waiting(&self.listener).await;
        drop(self.listener);
        serving.drain().await;
    }
}

/// How many connections there may be, said where they are fewer than usual.
fn connections() -> u32 {
    let Some(files) = process::open_files_limit() else { return MAX_CONNECTIONS };
    // Where files are so few that nothing would be left, half of them.
    let most = files.saturating_sub(OTHER_FILES).max(files / 2).max(1);
    match u32::try_from(most) {
        Ok(most) if most < MAX_CONNECTIONS => {
            let needed = u64::from(MAX_CONNECTIONS) + OTHER_FILES;
            tracing::warn!(
                connections = most,
                "open files are limited to {files}: {most} connections at a time, not \
                {MAX_CONNECTIONS}, which need {needed} (ulimit -n, LimitNOFILE)"
            );
            most
        }
        _ => MAX_CONNECTIONS,
    }
}

/// What serves the connections.
struct Serving {
    http: http1::Builder,
    /// Shared, so that a request costs one count up and down and no copy of its parts.
    service: Arc<EdgeService>,
    connections: Arc<Semaphore>,
    most: u32,
    ending: Arc<Ending>,
    watch: Watch,
}

impl Serving {
    fn new(service: EdgeService, keep_alive: Duration, most: u32) -> Self {
        let mut http = http1::Builder::new();
        // An answer is written as one piece, and at once, whatever of the next request is there already.
        http.header_read_timeout(None).max_buf_size(MAX_HEAD).writev(false).half_close(true);
        let places = usize::try_from(most).unwrap_or(usize::MAX);
        Self {
            http,
            service: Arc::new(service),
            connections: Arc::new(Semaphore::new(places)),
            most,
            ending: Arc::default(),
            watch: Watch::new(keep_alive),
        }
    }

    /// Serves whoever connects, as long as there are places.
    async fn accept(&self, listener: &TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let place = self.place().await;
                    self.serve(stream, peer, place);
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// A place for one more connection: idle ones give way to it.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(&self.connections).try_acquire_owned() {
            return Some(place);
        }
        loop {
            self.watch.make_room();
            let place = Arc::clone(&self.connections).acquire_owned();
            if let Ok(place) = tokio::time::timeout(ACCEPT_PAUSE, place).await {
                // The semaphore is never closed.
                return place.ok();
            }
        }
    }

    /// Returns when no connection is left, or none is waited for any more.
    async fn drain(&self) {
        // All places are free when no connection is left.
        let all_are_free = async || drop(self.connections.acquire_many(self.most).await);
        drop(tokio::time::timeout(FAREWELL, all_are_free()).await);
        self.ending.close();
        let closing = async {
            if tokio::time::timeout(HEAD_TIMEOUT, all_are_free()).await.is_err() {
                self.service.note(self.watch.close_heads());
                all_are_free().await;
            }
        };
        if tokio::time::timeout(DRAIN_TIMEOUT, closing).await.is_err() {
            tracing::warn!("some requests were not answered before the process ended");
        }
    }

    /// Serves those who have connected and were not accepted yet: closing the address breaks them.
    async fn accept_waiting(&self, listener: &TcpListener) {
        while let Ok(place) = Arc::clone(&self.connections).try_acquire_owned()
            && let Ok(Ok((stream, peer))) =
                tokio::time::timeout(Duration::ZERO, listener.accept()).await
        {
            self.serve(stream, peer, Some(place));
        }
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr, place: Option<OwnedSemaphorePermit>) {
        // Answers are single small writes: there is nothing to wait for.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection delays small writes");
        }
        let (service, ending) = (Arc::clone(&self.service), Arc::clone(&self.ending));
        let (for_refusals, for_the_end) = (Arc::clone(&service), Arc::clone(&ending));
        let activity = Activity::default();
        let (tracked, busy) = (activity.clone(), activity.clone());
        let answer = service_fn(move |request: Request<Incoming>| {
            let later = match service.answer_at_once(&request, peer.ip()) {
                ControlFlow::Break(answer) => {
                    busy.answered();
                    return Either::Left(ready(Ok(finish(answer, &ending))));
                }
                ControlFlow::Continue(later) => later,
            };
            busy.busy();
            let (service, ending, busy) = (Arc::clone(&service), Arc::clone(&ending), busy.clone());
            // In boxes: an answer that is there at once needs no room for them.
            Either::Right(match later {
                Later::Ask(mut asked) => Either::Left(Box::pin(async move {
                    let answer = service.ask(&mut asked).await;
                    busy.answered();
                    Ok::<_, Infallible>(finish(answer, &ending))
                })),
                Later::Answer(arrived) => Either::Right(Box::pin(async move {
                    let answer = service.answer(request, arrived, peer.ip()).await;
                    busy.answered();
                    if answer.extensions().get::<Unread>().is_some() {
                        busy.leave_unread();
                    }
                    Ok(finish(answer, &ending))
                })),
            })
        });
        let stream = TrackedStream::new(stream, tracked.clone());
        let connection = self.http.serve_connection(TokioIo::new(stream), answer);
        #[expect(clippy::disallowed_methods, reason = "its place is waited for at the end")]
        let task = tokio::spawn(async move {
            connection::run(connection, &tracked, &for_refusals, &for_the_end).await;
            drop(place);
        });
        self.watch.add(task.abort_handle(), activity);
    }
}

/// An answer while the process ends tells its client to connect elsewhere.
fn finish(mut answer: Response, ending: &Ending) -> Response {
    if ending.is_farewell() {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}
