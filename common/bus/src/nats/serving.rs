//! Serves routes over NATS. One task per subject works on many requests at the same time without a
//! task for each: a spawn per message costs more than the message.

use std::pin::pin;
use std::time::Duration;

use async_nats::service::endpoint::Endpoint;
use async_nats::service::error::Error as ServiceError;
use async_nats::service::{
    NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE, Request, Service, ServiceExt,
};
use async_nats::{Client, HeaderMap};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use latchkey_contract::wire::Contracts;
use metrics::Counter;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::{CONTENT_TYPE, CONTRACTS, Nats, context_of, incoming};
use crate::envelope::{Response, Status};
use crate::felling::Felling;
use crate::limit::{Limit, Permit};
use crate::routes::{Handler, Routes};
use crate::{BusError, observe};

/// How long the last replies may take to leave.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// A service while it is served over NATS.
pub struct Serving {
    client: Client,
    service: Registered,
    tasks: TaskTracker,
    /// The subject of a worker that has ended.
    ended: watch::Receiver<Option<&'static str>>,
}

/// The service as the server knows it. Dropped, it is known no more, whatever ends it: what answers `$SRV.PING` is a task
/// of the client's, which would go on as long as the connection.
struct Registered(Option<Service>);

/// What one subject's requests are answered with.
struct Served {
    subject: &'static str,
    handler: Handler,
    felling: Felling,
    reads: Contracts,
    is_signed: bool,
}

impl Serving {
    pub(super) async fn start(nats: &Nats, routes: Routes) -> Result<Self, BusError> {
        let (client, reads) = (nats.client().await, nats.negotiation.own());
        let service = client
            .service_builder()
            .description(routes.description)
            .queue_group(routes.service)
            .start(routes.service, routes.version)
            .await
            .map(|service| Registered(Some(service)))
            .map_err(BusError::Serve)?;
        let limit = Limit::new(routes.max_in_flight);
        let shed = observe::watch_limit(routes.service, &limit);
        let (tasks, (ends, ended)) = (TaskTracker::new(), watch::channel(None));
        for route in routes.entries {
            let name = route.subject.replace('.', "-");
            let subject = if route.is_signed {
                format!("{}.*", route.subject)
            } else {
                route.subject.to_owned()
            };
            let served = Served {
                subject: route.subject,
                handler: route.handler,
                felling: nats.felling.clone(),
                reads,
                is_signed: route.is_signed,
            };
            let endpoint = service.add(name, subject).await?;
            let worker = Worker { subject: route.subject, ends: ends.clone() };
            let work = work(endpoint, served, limit.clone(), shed.clone());
            tasks.spawn(async move {
                let _worker = worker;
                work.await;
            });
        }
        client.flush().await.map_err(|error| BusError::Serve(Box::new(error)))?;
        Ok(Self { client: client.clone(), service, tasks, ended })
    }

    /// Returns when a worker has ended, and whose it was.
    pub(crate) async fn ended(&mut self) -> &'static str {
        let ended = self.ended.wait_for(Option::is_some).await.ok().and_then(|subject| *subject);
        match ended {
            Some(subject) => subject,
            // There are no workers.
            None => std::future::pending().await,
        }
    }

    pub(crate) async fn drain(self) {
        drop(self.service);
        self.tasks.close();
        self.tasks.wait().await;
        // The replies are queued; when this returns, the connection has them.
        match timeout(FLUSH_TIMEOUT, self.client.flush()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last replies may be lost"),
            Err(_late) => tracing::warn!("the last replies may be lost: the bus is away"),
        }
    }
}

impl Registered {
    async fn add(&self, name: String, subject: String) -> Result<Endpoint, BusError> {
        // Only one that is dropped has none.
        let Some(service) = &self.0 else { return Err(BusError::Disconnected) };
        service.endpoint_builder().name(name).add(subject).await.map_err(BusError::Serve)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let Some(service) = self.0.take() else { return };
        // It tells tasks of this process, and waits for nobody: whatever it would wait for is not waited for.
        match service.stop().now_or_never() {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                tracing::warn!(%error, "the bus cannot be told that the service stops");
            }
            None => tracing::warn!("the bus was not told in time that the service stops"),
        }
    }
}

/// Says whose worker has ended, be it by a panic.
struct Worker {
    subject: &'static str,
    ends: watch::Sender<Option<&'static str>>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.ends.send_replace(Some(self.subject));
    }
}

/// Answers an endpoint's requests until it is stopped, and then those in hand.
async fn work(mut endpoint: Endpoint, served: Served, limit: Limit, shed: Counter) {
    let mut in_hand = FuturesUnordered::new();
    let mut felled = pin!(served.felling.felled(served.subject));
    let mut open = true;
    while open || !in_hand.is_empty() {
        tokio::select! {
            request = endpoint.next(), if open => match request {
                Some(request) => {
                    let permit = limit.try_enter();
                    if permit.is_none() {
                        shed.increment(1);
                    }
                    in_hand.push(answer(request, &served, permit));
                }
                None => open = false,
            },
            Some(()) = in_hand.next() => {}
            () = &mut felled => return,
        }
    }
}

async fn answer(request: Request, served: &Served, permit: Option<Permit>) {
    let message = &request.message;
    let response = match permit {
        Some(_held) => {
            let context = context_of(message, served.is_signed);
            let incoming = incoming(message, served.reads, &context.request_id);
            (served.handler)(context, incoming).await
        }
        None => Response::empty(Status::Overloaded),
    };
    let mut headers = HeaderMap::new();
    if let Some(content_type) = response.encoding.content_type() {
        headers.insert(CONTENT_TYPE, content_type);
    }
    if let Some(reads) = response.reads {
        headers.insert(CONTRACTS, reads.to_string());
    }
    let reply = match response.status.code() {
        None => Ok(response.payload),
        // The library sends its errors without a body, and counts them. What the sender can mend has a
        // body, and is no error of the service.
        Some(code) if !response.payload.is_empty() => {
            headers.insert(NATS_SERVICE_ERROR, response.status.message());
            headers.insert(NATS_SERVICE_ERROR_CODE, code.to_string());
            Ok(response.payload)
        }
        Some(code) => Err(ServiceError {
            status: response.status.message().to_owned(),
            code: usize::from(code),
        }),
    };
    if let Err(error) = request.respond_with_headers(reply, headers).await {
        tracing::warn!(%error, "a reply cannot be sent");
    }
}
