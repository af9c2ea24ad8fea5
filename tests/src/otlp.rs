//! A collector that takes spans by OTLP over gRPC, and shows them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::poll;

/// Bound on a span's way from the process to the collector: it is sent about once a second.
const ARRIVES: Duration = Duration::from_secs(30);

/// A running collector.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// One span, with the process it comes from.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The process' `service.name`.
    pub service: String,
    /// Everything the process says of itself.
    pub resource: BTreeMap<String, String>,
    /// The id of the trace, in hexadecimal.
    pub trace: String,
    /// The span's id.
    pub id: String,
    /// The id of the span it is a part of, or nothing.
    pub parent: String,
    /// Its name.
    pub name: String,
    /// `Server`, `Client`, `Internal`, …
    pub kind: SpanKind,
    /// Its attributes, as texts.
    pub attributes: BTreeMap<String, String>,
    /// The ids of the spans it is linked to.
    pub links: Vec<String>,
    /// Whether it is marked as failed.
    pub failed: bool,
    /// Everything in it, as it was sent.
    pub whole: String,
}

#[derive(Debug)]
struct Taker {
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Collector {
    /// Starts one on a free port.
    pub fn start() -> Self {
        let seen = Arc::default();
        let taker = Taker { seen: Arc::clone(&seen) };
        let (end, ended) = oneshot::channel();
        let (told, address) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
                told.send(listener.local_addr().expect("an address")).expect("somebody waits");
                let ended = async { drop(ended.await) };
                Server::builder()
                    .add_service(TraceServiceServer::new(taker))
                    .serve_with_incoming_shutdown(TcpIncoming::from(listener), ended)
                    .await
                    .expect("the collector serves");
            });
        });
        let address = address.recv().expect("the collector has an address");
        Self { address, seen, end: Some(end), thread: Some(thread) }
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` is to be.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many spans have come so far.
    pub fn count(&self) -> usize {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The spans of one trace, as soon as `whole` finds that all are there.
    pub fn trace(&self, id: &str, whole: impl Fn(&[Seen]) -> bool) -> Vec<Seen> {
        let of_trace =
            || -> Vec<Seen> { self.spans().into_iter().filter(|span| span.trace == id).collect() };
        poll::until(&format!("the trace {id} is whole"), ARRIVES, || {
            Some(of_trace()).filter(|spans| whole(spans))
        })
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // A collector that panicked has made its test fail already.
            drop(thread.join());
        }
    }
}

#[tonic::async_trait]
impl TraceService for Taker {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for of_process in request.into_inner().resource_spans {
            let resource = of_process.resource.map(|it| texts(&it.attributes)).unwrap_or_default();
            for span in of_process.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                seen.push(Seen::of(&resource, &span));
            }
        }
        Ok(Response::new(ExportTraceServiceResponse { partial_success: None }))
    }
}

impl Seen {
    fn of(resource: &BTreeMap<String, String>, span: &Span) -> Self {
        Self {
            service: resource.get("service.name").cloned().unwrap_or_default(),
            resource: resource.clone(),
            trace: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            name: span.name.clone(),
            kind: span.kind(),
            attributes: texts(&span.attributes),
            links: span.links.iter().map(|link| hex(&link.span_id)).collect(),
            failed: span.status.as_ref().is_some_and(|status| status.code == 2),
            whole: format!("{resource:?} {span:?}"),
        }
    }

    /// An attribute; fails where it is missing.
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).unwrap_or_else(|| panic!("no {name} in {self:#?}"))
    }
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    attributes.iter().map(|pair| (pair.key.clone(), text(pair.value.as_ref()))).collect()
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a text takes everything");
    }
    text
}
