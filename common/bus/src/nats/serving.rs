//! Serves routes over NATS. One task per subject works on many requests at the same time without a
//! task for each: a spawn per message costs more than the message.

use std::time::Duration;

use async_nats::service::endpoint::Endpoint;
use async_nats::service::error::Error as ServiceError;
use async_nats::service::{
    NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE, Request, Service, ServiceExt,
};
use async_nats::{Client, HeaderMap};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use metrics::Counter;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::{CONTENT_TYPE, context_of, encoding_of};
use crate::envelope::{Response, Status};
use crate::limit::{Limit, Permit};
use crate::routes::{Handler, Routes};
use crate::{BusError, observe};

/// How long the last replies may take to leave.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// A service while it is served over NATS.
pub struct Serving {
    client: Client,
    service: Service,
    tasks: TaskTracker,
}

impl Serving {
    pub(super) async fn start(client: &Client, routes: Routes) -> Result<Self, BusError> {
        let service = client
            .service_builder()
            .description(routes.description)
            .queue_group(routes.service)
            .start(routes.service, routes.version)
            .await
            .map_err(BusError::Serve)?;
        let limit = Limit::new(routes.max_in_flight);
        let shed = observe::watch_limit(routes.service, &limit);
        let tasks = TaskTracker::new();
        for route in routes.entries {
            let name = route.subject.replace('.', "-");
            let endpoint = service
                .endpoint_builder()
                .name(name)
                .add(route.subject)
                .await
                .map_err(BusError::Serve)?;
            tasks.spawn(work(endpoint, route.handler, limit.clone(), shed.clone()));
        }
        client.flush().await.map_err(|error| BusError::Serve(Box::new(error)))?;
        Ok(Self { client: client.clone(), service, tasks })
    }

    pub(crate) async fn drain(self) {
        if let Err(error) = self.service.stop().await {
            tracing::warn!(%error, "the bus was not told that the service stops");
        }
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

/// Answers an endpoint's requests until it is stopped, and then those in hand.
async fn work(mut endpoint: Endpoint, handler: Handler, limit: Limit, shed: Counter) {
    let mut in_hand = FuturesUnordered::new();
    let mut open = true;
    while open || !in_hand.is_empty() {
        tokio::select! {
            request = endpoint.next(), if open => match request {
                Some(request) => {
                    let permit = limit.try_enter();
                    if permit.is_none() {
                        shed.increment(1);
                    }
                    in_hand.push(answer(request, &handler, permit));
                }
                None => open = false,
            },
            Some(()) = in_hand.next() => {}
        }
    }
}

async fn answer(request: Request, handler: &Handler, permit: Option<Permit>) {
    let message = &request.message;
    let response = match permit {
        Some(_held) => {
            handler(context_of(message), encoding_of(message), message.payload.clone()).await
        }
        None => Response::empty(Status::Overloaded),
    };
    let mut headers = HeaderMap::new();
    if let Some(content_type) = response.encoding.content_type() {
        headers.insert(CONTENT_TYPE, content_type);
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
