//! The bus inside one process: the same bytes, limits and deadlines as over NATS, without a network.
//!
//! Each request runs in a task of its own, as it would in another process: a caller that gives up
//! does not stop work that has begun.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use latchkey_contract::CallError;
use latchkey_contract::wire::Encoding;
use metrics::Counter;
use tokio::sync::oneshot;
use tokio::time::timeout_at;
use tokio_util::task::TaskTracker;

use crate::envelope::{Context, Response, Status};
use crate::limit::Limit;
use crate::routes::{Handler, Routes};
use crate::topic::Hear;
use crate::{BusError, observe};

/// Callers and services of one process.
#[derive(Clone, Default)]
pub struct Local {
    subjects: Arc<RwLock<HashMap<&'static str, Endpoint>>>,
    pub(crate) listeners: Arc<RwLock<BTreeMap<u64, (String, Hear)>>>,
}

#[derive(Clone)]
struct Endpoint {
    handler: Handler,
    limit: Limit,
    shed: Counter,
    tasks: TaskTracker,
}

/// A service's subjects while this process serves them.
pub struct Serving {
    bus: Local,
    subjects: Vec<&'static str>,
    tasks: TaskTracker,
}

impl Local {
    pub(crate) fn serve(&self, routes: Routes) -> Result<Serving, BusError> {
        let tasks = TaskTracker::new();
        let limit = Limit::new(routes.max_in_flight);
        let shed = observe::watch_limit(routes.service, &limit);
        let mut table = self.subjects.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = routes.entries.iter().find(|r| table.contains_key(r.subject)) {
            return Err(BusError::Taken(taken.subject));
        }
        let mut subjects = Vec::with_capacity(routes.entries.len());
        for route in routes.entries {
            subjects.push(route.subject);
            let endpoint = Endpoint {
                handler: route.handler,
                limit: limit.clone(),
                shed: shed.clone(),
                tasks: tasks.clone(),
            };
            table.insert(route.subject, endpoint);
        }
        Ok(Serving { bus: self.clone(), subjects, tasks })
    }

    pub(crate) async fn request(
        &self,
        subject: &'static str,
        context: &Context,
        payload: Bytes,
    ) -> Result<Response, CallError> {
        let endpoint = self.find(subject).ok_or(CallError::NoResponder)?;
        let Some(permit) = endpoint.limit.try_enter() else {
            endpoint.shed.increment(1);
            return Ok(Response::empty(Status::Overloaded));
        };
        let (reply, answered) = oneshot::channel();
        let work = (endpoint.handler)(context.clone(), Encoding::Bincode, payload);
        endpoint.tasks.spawn(async move {
            let response = work.await;
            drop(permit);
            // A caller that gave up has dropped its end: nobody misses this answer.
            drop(reply.send(response));
        });
        match timeout_at(context.deadline, answered).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(_gone)) => Err(CallError::NoResponder),
            Err(_late) => Err(CallError::Timeout),
        }
    }

    fn find(&self, subject: &'static str) -> Option<Endpoint> {
        self.subjects.read().unwrap_or_else(PoisonError::into_inner).get(subject).cloned()
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
        let mut table = self.bus.subjects.write().unwrap_or_else(PoisonError::into_inner);
        for subject in &self.subjects {
            table.remove(subject);
        }
    }
}
