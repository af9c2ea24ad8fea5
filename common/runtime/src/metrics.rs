//! Metrics as Prometheus text: the recorder, and what is read only when somebody looks.
//!
//! Counters and histograms are the `metrics` crate's: whoever counts on a hot path keeps the handle.
//! What is a state and not an event (connections in use, work in flight) costs nothing until a scrape
//! asks for it: [`register_gauge`].

mod names;
mod own;

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::exit::{Exit, StartError};
use crate::monitor::Render;
use crate::periodic::{self, PeriodicTask};
use crate::supervisor::{Root, Running};

pub use names::{ALL, Kind, Metric};

/// Upper bounds of the histograms of seconds: 100 µs to 10 s.
const SECONDS: [f64; 16] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];
/// Upper bounds of the histograms of numbers of things in a batch.
const SIZES: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// The process' recorder. Static because the `metrics` facade is, which every counter goes through.
static INSTALLED: OnceLock<Installed> = OnceLock::new();

struct Installed {
    handle: PrometheusHandle,
    observers: Mutex<HashMap<String, Observer>>,
}

type Observer = Arc<dyn Fn() + Send + Sync>;

/// The metrics of this process; none are kept where nobody can ask for them.
pub struct Metrics {
    upkeep: Option<Running>,
}

/// Puts what has been recorded into its histogram, so that memory stays bounded without scrapes.
struct Upkeep;

/// Handles that are made when they are first needed, one for each key.
#[derive(Debug)]
pub struct Handles<K, H> {
    made: RwLock<HashMap<K, H>>,
}

impl Metrics {
    /// Starts to keep metrics, if `wanted`. Called before anything that counts is started.
    ///
    /// # Errors
    /// [`StartError`] where the recorder or its actor does not start.
    pub async fn start(
        wanted: bool,
        service: &'static str,
        version: &'static str,
    ) -> Result<Self, StartError> {
        if !wanted {
            return Ok(Self { upkeep: None });
        }
        let failed = |error: String| StartError::new(Exit::Internal, error);
        // A second start in one process (tests do that) keeps the first one's numbers.
        if INSTALLED.get().is_none() {
            let handle = install().map_err(|error| failed(error.to_string()))?;
            drop(INSTALLED.set(Installed { handle, observers: Mutex::default() }));
            names::describe();
            own::observe(service, version);
        }
        let upkeep = Root::start(vec![periodic::child("metrics upkeep", Arc::new(Upkeep))])
            .await
            .map_err(|error| failed(error.to_string()))?;
        Ok(Self { upkeep: Some(upkeep) })
    }

    /// What writes the metrics down.
    #[must_use]
    pub fn render(&self) -> Render {
        Arc::new(render)
    }

    /// Ends the upkeep.
    pub async fn end(self) {
        if let Some(upkeep) = self.upkeep {
            upkeep.stop().await;
        }
    }
}

/// Has `observe` set its gauges before each scrape. The same `name` again takes the former one's place.
pub fn register_gauge(name: impl Into<String>, observe: impl Fn() + Send + Sync + 'static) {
    if let Some(installed) = INSTALLED.get() {
        #[expect(
            clippy::disallowed_methods,
            reason = "each change is one step of a map: it is whole after a panic, too"
        )]
        let mut observers = installed.observers.lock().unwrap_or_else(PoisonError::into_inner);
        observers.insert(name.into(), Arc::new(observe));
    }
}

fn install() -> Result<PrometheusHandle, BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_size".to_owned()), &SIZES)?
        .install_recorder()
}

fn render() -> String {
    let Some(installed) = INSTALLED.get() else { return String::new() };
    let observers: Vec<Observer> = {
        #[expect(
            clippy::disallowed_methods,
            reason = "each change is one step of a map: it is whole after a panic, too"
        )]
        let observers = installed.observers.lock().unwrap_or_else(PoisonError::into_inner);
        observers.values().cloned().collect()
    };
    for observe in observers {
        observe();
    }
    installed.handle.render()
}

impl PeriodicTask for Upkeep {
    const PAUSE: Duration = Duration::from_secs(1);
    const AT_THE_END: bool = false;

    async fn run(&self) {
        if let Some(installed) = INSTALLED.get() {
            installed.handle.run_upkeep();
        }
    }
}

impl<K: Eq + Hash, H: Clone> Handles<K, H> {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self { made: RwLock::default() }
    }

    /// The handle for `key`, which `make` makes when it is first asked for. Keys are constants of the
    /// program, so that there are few.
    #[expect(
        clippy::disallowed_methods,
        reason = "a handle is put in when it is made: it is whole after a panic, too"
    )]
    pub fn get<Q>(&self, key: &Q, make: impl FnOnce() -> H) -> H
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        if let Some(handle) = self.made.read().unwrap_or_else(PoisonError::into_inner).get(key) {
            return handle.clone();
        }
        let mut all = self.made.write().unwrap_or_else(PoisonError::into_inner);
        all.entry(key.to_owned()).or_insert_with(make).clone()
    }
}

impl<K: Eq + Hash, H: Clone> Default for Handles<K, H> {
    fn default() -> Self {
        Self::new()
    }
}
