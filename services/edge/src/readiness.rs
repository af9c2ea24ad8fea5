//! Whether the edge can do its work: looked at again and again, apart from whoever asks, so that many who ask cost the
//! services nothing.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use latchkey_bus::{Bus, Context, RequestId};
use latchkey_contract::{CallError, identity, keys};
use latchkey_gate::Gate;
use latchkey_runtime::lock::lock_or_begin_anew;
use latchkey_runtime::{Child, TaskContext, TaskError};
use tokio::time::{Instant, sleep};

/// The pause between two looks, and while the edge is not ready: then somebody waits for it.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long the services may take to say that they are ready.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long what was found holds: where nobody looks any more, nobody knows.
const MAX_AGE: Duration = Duration::from_secs(10);

/// Looks, and remembers what it found.
pub struct EdgeReadiness {
    bus: Bus,
    gate: Arc<Gate>,
    report: Mutex<Option<Report>>,
}

/// What was found, and when.
struct Report {
    at: Instant,
    state: EdgeState,
}

/// What the edge can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EdgeState {
    /// Whether requests are to be sent here.
    pub is_ready: bool,
    /// The services that cannot answer, or whose database does not.
    pub away: Vec<&'static str>,
}

impl EdgeReadiness {
    /// Nothing is known yet, so it is not ready.
    pub(crate) fn new(bus: Bus, gate: Arc<Gate>) -> Self {
        Self { bus, gate, report: Mutex::default() }
    }

    /// What was found last.
    #[must_use]
    pub fn state(&self) -> EdgeState {
        let report = self.report();
        let report = report.as_ref().filter(|report| report.at.elapsed() < MAX_AGE);
        report.map(|report| report.state.clone()).unwrap_or_default()
    }

    /// Looks now.
    pub async fn look(&self) {
        let context = Context::new(RequestId::new("readiness"), CHECK_TIMEOUT);
        let identity = self.bus.call(&context, &identity::Ready);
        let keys = self.bus.call(&context, &keys::Ready);
        let (identity, keys) = tokio::join!(identity, keys);
        let mut away = Vec::new();
        for (name, answer) in [("identity", identity), ("keys", keys)] {
            if !is_there(&answer) {
                away.push(name);
            }
        }
        let state = EdgeState { is_ready: self.is_ready(away.len()), away };
        *self.report() = Some(Report { at: Instant::now(), state });
    }

    /// While it can answer from memory or ask. Those who have a bus over a network are many, and one database that is
    /// away must not take all of them out of a balancer; one that has the services inside is as good as they are.
    fn is_ready(&self, away: usize) -> bool {
        /// Services that an edge asks.
        const SERVICES: usize = 2;
        match &self.bus {
            Bus::Local(_) => away == 0,
            // Connected, and not reached, or kept from hearing what is revoked: that does not pass by itself.
            bus if bus.is_connected() && !bus.hears() => false,
            Bus::Nats(_) => away < SERVICES || self.gate.is_live(),
        }
    }

    fn report(&self) -> MutexGuard<'_, Option<Report>> {
        lock_or_begin_anew(&self.report, "what the edge can do", |report| *report = None)
    }
}

/// The child that looks.
pub(crate) fn child(readiness: &Arc<EdgeReadiness>) -> Child {
    let readiness = Arc::clone(readiness);
    Child::task("edge readiness", move |context| {
        look_again_and_again(context, Arc::clone(&readiness))
    })
}

async fn look_again_and_again(
    mut context: TaskContext,
    readiness: Arc<EdgeReadiness>,
) -> Result<(), TaskError> {
    context.up();
    let looking = async {
        loop {
            readiness.look().await;
            let pause = if readiness.state().is_ready { LOOK_EVERY } else { LOOK_AGAIN };
            sleep(pause).await;
        }
    };
    tokio::select! {
        () = context.stopped() => Ok(()),
        () = looking => Ok(()),
    }
}

/// A service that sheds is there.
fn is_there<T>(answer: &Result<T, CallError>) -> bool {
    matches!(answer, Ok(_) | Err(CallError::Overloaded))
}
