//! What is told of every message: its span, named after OpenTelemetry's conventions for messaging, and
//! numbers by subject.

use std::sync::LazyLock;

use latchkey_contract::CallError;
use latchkey_runtime::metrics::{Handles, register_gauge};
use latchkey_runtime::trace::{self, Description, KeyValue, Parent, Span, SpanKind};
use metrics::{Counter, Histogram, counter, gauge, histogram};
use tokio::time::Instant;

use crate::envelope::{Context, Response, Status};
use crate::limit::Limit;

/// A subject, and how a request on it ended.
type Ended = (&'static str, &'static str);

/// Handles by subject. Static because the `metrics` facade behind them is.
static DURATIONS: LazyLock<Handles<&'static str, Histogram>> = LazyLock::new(Handles::new);
static REQUESTS: LazyLock<Handles<Ended, Counter>> = LazyLock::new(Handles::new);
static SERVED: LazyLock<Handles<Ended, Counter>> = LazyLock::new(Handles::new);

/// A call under way.
pub(crate) struct Asking {
    subject: &'static str,
    span: Span,
    begun: Instant,
}

impl Asking {
    /// Begins to watch a call.
    pub(crate) fn begin(system: &'static str, subject: &'static str) -> Self {
        let span = Span::child(SpanKind::Client, || describe("request", "send", system, subject));
        Self { subject, span, begun: Instant::now() }
    }

    /// What the answerer's span is a child of.
    pub(crate) fn parent(&self) -> Parent {
        self.span.parent()
    }

    /// Tells how it ended. A refusal is an answer.
    pub(crate) fn end<T>(self, called: &Result<T, CallError>) {
        let (subject, outcome) = (self.subject, outcome(called));
        if !matches!(outcome, "answered" | "refused") {
            self.span.fail(outcome);
        }
        let duration = || histogram!("latchkey_bus_request_duration_seconds", "subject" => subject);
        DURATIONS.get(&subject, duration).record(self.begun.elapsed());
        let labels = [("subject", subject), ("outcome", outcome)];
        let requests = || counter!("latchkey_bus_requests_total", &labels);
        REQUESTS.get(&(subject, outcome), requests).increment(1);
    }
}

/// The span of whoever answers, where the caller has one.
pub(crate) fn answering(context: &Context, subject: &'static str) -> Span {
    Span::remote(&context.trace, SpanKind::Server, || {
        let (name, mut attributes) = describe("process", "process", context.system, subject);
        attributes.push(trace::request_id(context.request_id.as_str()));
        (name, attributes)
    })
}

fn describe(
    name: &'static str,
    kind: &'static str,
    system: &'static str,
    subject: &'static str,
) -> Description {
    let attributes = vec![
        KeyValue::new("messaging.system", system),
        KeyValue::new("messaging.destination.name", subject),
        KeyValue::new("messaging.operation.name", name),
        KeyValue::new("messaging.operation.type", kind),
    ];
    (format!("{name} {subject}").into(), attributes)
}

/// How a call ended, in a word; a refusal is an answer.
pub(crate) fn outcome<T>(called: &Result<T, CallError>) -> &'static str {
    match called {
        Ok(_) => "answered",
        Err(CallError::Refused(_)) => "refused",
        Err(CallError::NoResponder) => "no_responder",
        Err(CallError::Disconnected) => "disconnected",
        Err(CallError::Timeout) => "timeout",
        Err(CallError::Overloaded) => "overloaded",
        Err(CallError::Unreadable) => "unreadable",
        Err(CallError::Incompatible) => "incompatible",
        Err(CallError::Unavailable) => "unavailable",
        Err(CallError::Fault) => "fault",
        Err(CallError::Forbidden) => "forbidden",
    }
}

/// Tells how a request of others ended.
pub(crate) fn note_answer(span: &Span, subject: &'static str, response: &Response) {
    let code = response.status.code();
    if let Some(code) = code.filter(|code| *code >= 500) {
        span.fail(code.to_string());
    }
    let status = match response.status {
        Status::Answered => "answered",
        Status::Refused { .. } => "refused",
        Status::Overloaded => "overloaded",
        Status::Expired => "expired",
        Status::Unreadable => "unreadable",
        Status::Unavailable => "unavailable",
        Status::Fault => "fault",
        Status::Forbidden => "forbidden",
    };
    let labels = [("subject", subject), ("status", status)];
    let served = || counter!("latchkey_bus_served_total", &labels);
    SERVED.get(&(subject, status), served).increment(1);
}

/// Has a service's limit in the metrics from now on; gives what counts the requests beyond it.
pub(crate) fn watch_limit(service: &'static str, limit: &Limit) -> Counter {
    gauge!("latchkey_bus_in_flight_limit", "service" => service).set(f64::from(limit.max()));
    let (in_flight, limit) =
        (gauge!("latchkey_bus_in_flight", "service" => service), limit.clone());
    register_gauge(format!("bus {service}"), move || in_flight.set(f64::from(limit.taken())));
    counter!("latchkey_bus_shed_total", "service" => service)
}
