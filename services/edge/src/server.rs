//! Serves HTTP/1.1: bounded connections, headers and header times, and an end that drops no request.
//!
//! `axum::serve` never closes a connection on which nothing happens; this loop does.

use std::convert::Infallible;
use std::future::ready;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request};
use axum::response::Response;
use futures_util::future::Either;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use latchkey_runtime::{Exit, StartError};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::layers::EdgeService;
use crate::observe;
use crate::quiet::{Activity, Noted, Watch};

/// Connections at the same time at most; further ones wait to be accepted.
const MAX_CONNECTIONS: u32 = 8_192;
/// Bytes of a request's head at most.
const MAX_HEAD: usize = 16 * 1_024;
/// How long connections in use may take, when the process ends, to learn of it from their next answer:
/// one that is closed while its client sends the next request fails that request.
const FAREWELL: Duration = Duration::from_millis(500);
/// How long requests in hand may take when the process ends.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(15);
/// The pause after the system gave no connection (too many open files, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound address, not serving yet.
pub struct Server {
    listener: TcpListener,
}

impl Server {
    /// Takes the address.
    ///
    /// # Errors
    /// [`StartError`] says who may have it, or why it cannot be taken.
    pub async fn bind(address: SocketAddr) -> Result<Self, StartError> {
        TcpListener::bind(address).await.map(|listener| Self { listener }).map_err(|error| {
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
        let serving = Serving::new(service);
        observe::watch_connections(serving.places, Arc::clone(&serving.connections));
        tokio::select! {
            () = end => {}
            () = serving.accept(&self.listener) => {}
            () = serving.watch.sweep() => {}
        }
        serving.ending.store(true, Ordering::Relaxed);
        serving.accept_waiting(&self.listener).await;
        drop(self.listener);
        let Serving { graceful, connections, .. } = serving;
        // All places are free when no connection is left.
        drop(tokio::time::timeout(FAREWELL, connections.acquire_many(MAX_CONNECTIONS)).await);
        if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
            tracing::warn!("some requests were not answered before the process ended");
        }
    }
}

/// What serves the connections.
struct Serving {
    http: http1::Builder,
    /// Shared, so that a request costs one count up and down and no copy of its parts.
    service: Arc<EdgeService>,
    graceful: GracefulShutdown,
    connections: Arc<Semaphore>,
    places: usize,
    ending: Arc<AtomicBool>,
    watch: Watch,
}

impl Serving {
    fn new(service: EdgeService) -> Self {
        let mut http = http1::Builder::new();
        http.header_read_timeout(None).max_buf_size(MAX_HEAD).pipeline_flush(true);
        let places = usize::try_from(MAX_CONNECTIONS).unwrap_or(usize::MAX);
        Self {
            http,
            service: Arc::new(service),
            graceful: GracefulShutdown::new(),
            connections: Arc::new(Semaphore::new(places)),
            places,
            ending: Arc::default(),
            watch: Watch::default(),
        }
    }

    /// Serves whoever connects, as long as there are places.
    async fn accept(&self, listener: &TcpListener) {
        // The semaphore is never closed.
        while let Ok(place) = Arc::clone(&self.connections).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, peer)) => self.serve(stream, peer, place),
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Serves those who have connected and were not accepted yet: closing the address breaks them.
    async fn accept_waiting(&self, listener: &TcpListener) {
        while let Ok(place) = Arc::clone(&self.connections).try_acquire_owned()
            && let Ok(Ok((stream, peer))) =
                tokio::time::timeout(Duration::ZERO, listener.accept()).await
        {
            self.serve(stream, peer, place);
        }
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr, place: OwnedSemaphorePermit) {
        // Answers are single small writes: there is nothing to wait for.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection delays small writes");
        }
        let (service, ending) = (Arc::clone(&self.service), Arc::clone(&self.ending));
        let activity = Activity::default();
        let (stream, noted) = (Noted::new(stream, activity.clone()), activity.clone());
        let answer = service_fn(move |request: Request<Incoming>| {
            if let Some(answer) = service.answer_at_once(&request) {
                noted.answered();
                return Either::Left(ready(Ok(finish(answer, &ending))));
            }
            noted.turned();
            let (service, ending, noted) =
                (Arc::clone(&service), Arc::clone(&ending), noted.clone());
            // In a box: an answer that is there at once needs no room for it.
            Either::Right(Box::pin(async move {
                let answer = service.answer(request.map(Body::new), peer.ip()).await;
                noted.turned();
                Ok::<_, Infallible>(finish(answer, &ending))
            }))
        });
        let connection = self.http.serve_connection(TokioIo::new(stream), answer);
        let connection = self.graceful.watch(connection);
        #[expect(clippy::disallowed_methods, reason = "watched by the graceful shutdown")]
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(place);
        });
        self.watch.add(task.abort_handle(), activity);
    }
}

/// An answer while the process ends tells its client to connect elsewhere.
fn finish(mut answer: Response, ending: &AtomicBool) -> Response {
    if ending.load(Ordering::Relaxed) {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}
