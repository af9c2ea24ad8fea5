//! What a running service has of its process, and the actors that are all that most services run.

use std::future::Future;
use std::sync::OnceLock;

use latchkey_runtime::{Exit, Readiness, Resource, StartError, Stop, supervisor};

use crate::Running;

/// The process that a service runs in.
pub struct Process {
    name: &'static str,
    stop: Stop,
    readiness: Readiness,
    monitor: String,
    failure: OnceLock<StartError>,
}

/// A service that is nothing but actors on what it needs.
pub struct Actors<N> {
    needs: N,
    running: supervisor::Running,
}

impl Process {
    pub(crate) fn new(
        name: &'static str,
        stop: Stop,
        readiness: Readiness,
        monitor: String,
    ) -> Self {
        Self { name, stop, readiness, monitor, failure: OnceLock::new() }
    }

    /// A process without signals and without a monitor, for a service that runs inside another program.
    #[must_use]
    pub fn inside(name: &'static str, stop: Stop) -> Self {
        Self::new(name, stop, Readiness::default(), "off".to_owned())
    }

    /// Whether and how it is asked to end.
    #[must_use]
    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Where metrics and health checks are served, for a log line; `off` where they are not.
    #[must_use]
    pub fn monitor(&self) -> &str {
        &self.monitor
    }

    /// From now on `check` says whether the process is ready. Gives back whether what is needed had nothing to say
    /// against it: where it had, it has said so in the log, and nobody says "ready". Nor where the process is asked to
    /// end meanwhile, which ends this at once.
    pub async fn begin<F>(
        &self,
        needs: &impl Resource,
        check: impl Fn() -> F + Send + Sync + 'static,
    ) -> bool
    where
        F: Future<Output = bool> + Send + 'static,
    {
        let begun = self.stop.unless_asked(async {
            let is_good = needs.await_first_look().await;
            self.readiness.decide(check).await;
            is_good
        });
        begun.await.unwrap_or(false)
    }

    /// The same for a service that is ready while what it needs is and `also` says so; and the log line of that.
    pub async fn begin_with<N: Resource>(
        &self,
        needs: &N,
        also: impl Fn() -> bool + Send + Sync + Clone + 'static,
    ) {
        let own = needs.clone();
        let check = move || {
            let (needs, also) = (own.clone(), also.clone());
            async move { also() && needs.is_ready().await }
        };
        if self.begin(needs, check).await {
            tracing::info!(service = self.name, monitor = self.monitor, "ready");
        }
    }

    /// From now on the process is not ready.
    pub fn withdraw(&self) {
        self.readiness.withdraw();
    }

    /// The service ends, and this is why: called as soon as that is known, before what is in hand is finished. The
    /// process is not ready from now on, and where the service has failed, the exit code says so whatever comes after.
    pub fn ends(&self, outcome: &Result<(), StartError>) {
        self.withdraw();
        if let Err(error) = outcome {
            // The first failure is the cause.
            let _ = self.failure.set(error.clone());
        }
    }

    /// Why the service has failed, if it has.
    pub(crate) fn failure(&self) -> Option<StartError> {
        self.failure.get().cloned()
    }
}

/// What is said of a service that gave up.
#[must_use]
pub fn failed_too_often(name: &str) -> StartError {
    let message = format!("the service {name} failed too often: its log says why");
    StartError::new(Exit::Internal, message)
}

impl<N: Resource> Actors<N> {
    /// A service of these actors.
    #[must_use]
    pub fn new(needs: N, running: supervisor::Running) -> Self {
        Self { needs, running }
    }
}

impl<N: Resource> Running for Actors<N> {
    async fn serve(self, process: &Process) -> Result<(), StartError> {
        let Self { needs, mut running } = self;
        process.begin_with(&needs, || true).await;
        let failed = process.stop.unless_asked(running.failed()).await;
        let outcome = failed.map_or(Ok(()), |()| Err(failed_too_often(process.name)));
        process.ends(&outcome);
        running.stop_by(&process.stop).await;
        outcome
    }
}
