//! One replica's answer to a subject inside one process, within its service's limit.

use bytes::Bytes;
use latchkey_contract::wire::{Contracts, Encoding};
use metrics::Counter;
use tokio_util::task::TaskTracker;

use crate::envelope::{Context, Incoming, Response, Status};
use crate::limit::Limit;
use crate::routes::Handler;

/// One replica's answer to a subject.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) handler: Handler,
    pub(crate) limit: Limit,
    pub(crate) shed: Counter,
    pub(crate) tasks: TaskTracker,
    pub(crate) process: u32,
    pub(crate) reads: Contracts,
}

impl Endpoint {
    /// Takes a request, or says at once that there is too much work.
    pub(crate) fn begin(
        &self,
        mut context: Context,
        payload: Bytes,
    ) -> Result<impl Future<Output = Response> + Send + use<>, Response> {
        let Some(permit) = self.limit.try_enter() else {
            self.shed.increment(1);
            return Err(Response::empty(Status::Overloaded));
        };
        let caller = context.caller.take().map(Ok);
        let incoming = Incoming { encoding: Encoding::Bincode, reads: self.reads, caller, payload };
        let work = (self.handler)(context, incoming);
        Ok(async move {
            let response = work.await;
            drop(permit);
            response
        })
    }
}
