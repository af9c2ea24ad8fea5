//! The bus inside one process: the same bytes, limits and deadlines as over NATS, without a network. A test
//! may have [`faults`] on it.
//!
//! Each request runs in a task of its own, as it would in another process: a caller that gives up
//! does not stop work that has begun.

pub(crate) mod endpoint;
pub(crate) mod topic;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use latchkey_contract::CallError;
use latchkey_contract::wire::Contracts;
use tokio::sync::oneshot;
use tokio::time::timeout_at;
use tokio_util::task::TaskTracker;

use crate::envelope::{self, Context, Response};
use crate::faults::{self, Faults};
use crate::limit::Limit;
use crate::negotiation::Negotiation;
use crate::routes::Routes;
use crate::subscriber::MessageHandler;
use crate::{Bus, BusError, observe};
use endpoint::Endpoint;

/// Callers and services of one process.
#[derive(Clone)]
pub struct Local {
    pub(crate) negotiation: Negotiation,
    /// Each with whoever serves it: one, or replicas where there are faults.
    pub(crate) subjects: Arc<RwLock<HashMap<&'static str, Vec<Endpoint>>>>,
    pub(crate) listeners: Arc<RwLock<BTreeMap<u64, LocalListener>>>,
    /// Which process this is, to the faults.
    pub(crate) process: u32,
    /// Who this process is to those that it asks.
    pub(crate) user: Arc<str>,
    /// What a test does to messages.
    pub(crate) faults: Option<Arc<dyn Faults>>,
}

/// Who listens inside this process.
#[derive(Clone)]
pub(crate) struct LocalListener {
    pub(crate) pattern: String,
    pub(crate) hear: MessageHandler,
    pub(crate) process: u32,
}

/// A service's subjects while this process serves them.
pub struct Serving {
    bus: Local,
    subjects: Vec<&'static str>,
    tasks: TaskTracker,
}

impl Default for Local {
    fn default() -> Self {
        Self {
            negotiation: Negotiation::new(Contracts::OWN),
            subjects: Arc::default(),
            listeners: Arc::default(),
            process: 0,
            user: Arc::from(envelope::LOCAL),
            faults: None,
        }
    }
}

impl Bus {
    /// A bus inside this process on which messages fare as `faults` says. It is the way of process 0;
    /// further ones have [`of_process`](Self::of_process).
    #[must_use]
    pub fn with_faults(faults: Arc<dyn Faults>) -> Self {
        Self::Local(Local { faults: Some(faults), ..Local::default() })
    }

    /// The same bus as another process has it. One over NATS stays as it is.
    #[must_use]
    pub fn of_process(&self, process: u32) -> Self {
        match self {
            Self::Local(local) => Self::Local(local.of_process(process)),
            Self::Nats(nats) => Self::Nats(nats.clone()),
        }
    }
}

impl Local {
    /// The same bus for somebody who speaks these contracts: as another release beside this one would.
    #[must_use]
    pub fn speaking(&self, contracts: Contracts) -> Self {
        Self { negotiation: Negotiation::new(contracts), ..self.clone() }
    }

    /// The same bus as another process has it: the user's name has its number.
    pub(crate) fn of_process(&self, process: u32) -> Self {
        let user = format!("{}-{process}", self.user).into();
        Self { process, user, ..self.clone() }
    }

    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    pub(crate) fn serve(&self, routes: Routes) -> Result<Serving, BusError> {
        let tasks = TaskTracker::new();
        let limit = Limit::new(routes.max_in_flight);
        let shed = observe::watch_limit(routes.service, &limit);
        #[expect(
            clippy::disallowed_methods,
            reason = "what is put in is copied handles: nothing panics in between"
        )]
        let mut table = self.subjects.write().unwrap_or_else(PoisonError::into_inner);
        let taken = routes.entries.iter().find(|route| table.contains_key(route.subject));
        if let (Some(taken), None) = (taken, &self.faults) {
            return Err(BusError::SubjectTaken(taken.subject));
        }
        let mut subjects = Vec::with_capacity(routes.entries.len());
        for route in routes.entries {
            subjects.push(route.subject);
            let endpoint = Endpoint {
                handler: route.handler,
                limit: limit.clone(),
                shed: shed.clone(),
                tasks: tasks.clone(),
                reads: self.negotiation.own(),
                process: self.process,
            };
            table.entry(route.subject).or_default().push(endpoint);
        }
        Ok(Serving { bus: self.clone(), subjects, tasks })
    }

    pub(crate) async fn request(
        &self,
        subject: &'static str,
        context: &Context,
        payload: Bytes,
    ) -> Result<Response, CallError> {
        let context = Context { asker: Some(Arc::clone(&self.user)), ..context.clone() };
        if let Some(faults) = &self.faults {
            let replicas = self.replicas(subject);
            let carried =
                faults::carry(&**faults, self.process, replicas, subject, &context, payload);
            return Box::pin(carried).await;
        }
        let deadline = context.deadline;
        let endpoint = self.find(subject).ok_or(CallError::NoResponder)?;
        let (reply, answered) = oneshot::channel();
        let work = match endpoint.begin(context, payload) {
            Ok(work) => work,
            Err(overloaded) => return Ok(overloaded),
        };
        endpoint.tasks.spawn(async move {
            let response = work.await;
            // A caller that gave up has dropped its end: nobody misses this answer.
            drop(reply.send(response));
        });
        match timeout_at(deadline, answered).await {
            Ok(Ok(response)) => Ok(response),
            // It had begun: nobody can say how far it came.
            Ok(Err(_gone)) => Err(CallError::Fault),
            Err(_late) => Err(CallError::Timeout),
        }
    }

    fn find(&self, subject: &'static str) -> Option<Endpoint> {
        #[expect(clippy::disallowed_methods, reason = "nobody panics while it is changed")]
        let table = self.subjects.read().unwrap_or_else(PoisonError::into_inner);
        table.get(subject)?.first().cloned()
    }

    /// Everybody who serves a subject, in the order in which they began.
    fn replicas(&self, subject: &'static str) -> Vec<Endpoint> {
        #[expect(clippy::disallowed_methods, reason = "nobody panics while it is changed")]
        let table = self.subjects.read().unwrap_or_else(PoisonError::into_inner);
        table.get(subject).cloned().unwrap_or_default()
    }
}

impl Serving {
    pub(crate) async fn drain(self) {
        let tasks = self.tasks.clone();
        drop(self);
        tasks.close();
        tasks.wait().await;
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        #[expect(clippy::disallowed_methods, reason = "each step leaves a whole table")]
        let mut table = self.bus.subjects.write().unwrap_or_else(PoisonError::into_inner);
        let process = self.bus.process;
        for subject in &self.subjects {
            if let Some(replicas) = table.get_mut(subject) {
                replicas.retain(|replica| replica.process != process);
            }
            if table.get(subject).is_some_and(Vec::is_empty) {
                table.remove(subject);
            }
        }
    }
}
