//! A process' second listener, for whoever watches it: `/metrics`, `/health/live`, `/health/ready`.
//!
//! It is up before anything the service waits for, so that a process that waits is alive and not
//! ready. One request a connection, few connections, each with a bound: a scraper that hangs
//! costs nothing.

mod healthcheck;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::{Fault, Parsed, Preset, Variable};
use crate::exit::{Exit, StartError};
use crate::lock::lock_or_begin_anew;

pub use healthcheck::healthcheck;

/// Connections at the same time at most; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 64;
/// How long a request's head may take to arrive.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection lasts, all told.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a readiness check may take; beyond, the process is not ready.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause between two looks at whether the process is ready.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long it counts as ready after it was found to be: longer than a look and the pause before it.
const MAX_AGE: Duration = Duration::from_secs(5);
/// Bytes of a request's head at most: the least that hyper takes.
const MAX_HEAD: usize = 8 * 1_024;
/// The pause after the system gave no connection (too many open files, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

const PROMETHEUS: (HeaderName, &str) = (CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
const NO_STORE: (HeaderName, &str) = (CACHE_CONTROL, "no-store");

/// Writes the metrics as Prometheus text.
pub type Render = Arc<dyn Fn() -> String + Send + Sync>;

type Checking = Pin<Box<dyn Future<Output = bool> + Send>>;
type Check = Arc<dyn Fn() -> Checking + Send + Sync>;

/// Whether the process can do its work: no, until it is given a way to find out. It is looked at apart from whoever
/// asks: they are told what was found last. Clones share it.
#[derive(Clone, Default)]
pub struct Readiness {
    report: Arc<Mutex<Report>>,
}

#[derive(Clone, Default)]
struct Report {
    check: Option<Check>,
    /// When it was found to be ready, if it was when last looked at.
    ready_at: Option<Instant>,
}

/// A bound address, not serving yet; or none, where the listener is switched off.
pub struct Monitor {
    listener: Option<TcpListener>,
}

/// `MONITOR_ADDR`: where the monitor listens, if anywhere.
pub type MonitorAddress = Variable<Parsed<Option<SocketAddr>>>;

/// The variable `MONITOR_ADDR` of a service that listens at `default` where it is not set.
#[must_use]
pub const fn variable(default: &'static str) -> MonitorAddress {
    Variable {
        name: "MONITOR_ADDR",
        kind: Parsed { read: address, accepted: "ADDRESS:PORT, or off", placeholder: "ADDRESS" },
        default: Preset::Value(default),
        help: "where metrics and health checks are served",
    }
}

fn address(text: &str) -> Result<Option<SocketAddr>, Fault> {
    match text {
        "off" => Ok(None),
        text => text.parse().map(Some).map_err(|_not_one| Fault::Unusable),
    }
}

impl Readiness {
    /// From now on `check` decides. It has done so for the first time when this returns.
    pub async fn decide<F>(&self, check: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = bool> + Send + 'static,
    {
        self.report().check = Some(Arc::new(move || Box::pin(check())));
        self.look().await;
    }

    /// From now on the answer is no: the process is about to end.
    pub fn withdraw(&self) {
        *self.report() = Report::default();
    }

    /// Whether the process could do its work when last looked at, which is not long ago.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.report().ready_at.is_some_and(|at| at.elapsed() < MAX_AGE)
    }

    /// Looks again and again, for as long as it is polled.
    pub async fn refresh(&self) -> Infallible {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            self.look().await;
        }
    }

    async fn look(&self) {
        let Some(check) = self.report().check.clone() else { return };
        let is_ready = tokio::time::timeout(CHECK_TIMEOUT, check()).await.unwrap_or(false);
        let mut report = self.report();
        // It may have been withdrawn, or be decided otherwise, by now.
        if report.check.as_ref().is_some_and(|now| Arc::ptr_eq(now, &check)) {
            report.ready_at = is_ready.then(Instant::now);
        }
    }

    fn report(&self) -> MutexGuard<'_, Report> {
        lock_or_begin_anew(&self.report, "whether the process is ready", |report| {
            report.ready_at = None;
        })
    }
}

impl Monitor {
    /// Takes the address, if there is one.
    ///
    /// # Errors
    /// [`StartError`] says who may have it, or why it cannot be taken.
    pub async fn bind(address: Option<SocketAddr>) -> Result<Self, StartError> {
        let Some(address) = address else { return Ok(Self { listener: None }) };
        let listener = TcpListener::bind(address).await.map_err(|error| {
            let message = match error.kind() {
                io::ErrorKind::AddrInUse => format!(
                    "{address} is in use by another program: stop it, or set MONITOR_ADDR to \
                     another port or to off"
                ),
                _ => format!("{address} (MONITOR_ADDR) cannot be listened on: {error}"),
            };
            StartError::new(Exit::Unavailable, message)
        })?;
        Ok(Self { listener: Some(listener) })
    }

    /// Where it is, with the port that was taken, for the log; `off` where it is nowhere.
    #[must_use]
    pub fn shown(&self) -> String {
        let address = self.listener.as_ref().and_then(|listener| listener.local_addr().ok());
        address.map_or_else(|| "off".to_owned(), |address| format!("http://{address}"))
    }

    /// Serves for as long as it is polled.
    pub async fn serve(self, render: Render, readiness: Readiness) -> Infallible {
        if let Some(listener) = self.listener {
            accept(listener, render, readiness).await;
        }
        std::future::pending().await
    }
}

async fn accept(listener: TcpListener, render: Render, readiness: Readiness) {
    let router = TowerToHyperService::new(router(render, readiness));
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Ended with the listener, unlike tasks that nobody owns.
    let mut connections = JoinSet::new();
    // The semaphore is never closed.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _peer)) => {
                let router = router.clone();
                connections.spawn(async move {
                    if tokio::time::timeout(CONNECTION_TIMEOUT, serve(stream, router))
                        .await
                        .is_err()
                    {
                        tracing::debug!("a connection to the monitor took too long");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection to the monitor was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, router: TowerToHyperService<Router>) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .keep_alive(false);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), router).await {
        tracing::debug!(%error, "a connection to the monitor ended early");
    }
}

fn router(render: Render, readiness: Readiness) -> Router {
    let metrics = async move || ([PROMETHEUS, NO_STORE], render());
    let ready = async move || {
        if readiness.is_ready() {
            status(StatusCode::OK, "ready")
        } else {
            status(StatusCode::SERVICE_UNAVAILABLE, "not ready")
        }
    };
    Router::new()
        .route("/metrics", get(metrics))
        .route("/health/live", get(async || status(StatusCode::OK, "alive")))
        .route("/health/ready", get(ready))
        .fallback(async || status(StatusCode::NOT_FOUND, "not found"))
        .method_not_allowed_fallback(async || status(StatusCode::METHOD_NOT_ALLOWED, "refused"))
}

fn status(code: StatusCode, status: &'static str) -> impl IntoResponse {
    (code, [NO_STORE], Json(json!({ "status": status })))
}
