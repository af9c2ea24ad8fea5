//! What is told about every request: a span where it is traced, and numbers. Called by the layer around
//! all routes, with handles that were made before: a request looks nothing up but its own pattern.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use latchkey_bus::Limit;
use latchkey_runtime::metrics::register_gauge;
use latchkey_runtime::trace::{self, Description, KeyValue, Parent, Span, SpanKind};
use metrics::{Counter, Histogram, counter, gauge, histogram};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::patterns::Patterns;

/// A request that took longer gets a span after the fact, as one that failed does.
const SLOW: Duration = Duration::from_secs(1);
/// The headers of a traced request (W3C Trace Context).
const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
/// The methods that routes have; any other is `_OTHER`.
const METHODS: [&str; 6] = ["GET", "POST", "DELETE", "HEAD", "OPTIONS", "_OTHER"];
/// Attributes that a span has in the end, where its request did not fail.
const ATTRIBUTES: usize = 5;
/// The classes of statuses.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Tells about requests.
#[derive(Clone)]
pub struct Observer {
    routes: Arc<[Route]>,
}

/// One pattern's handles. A counter is registered when it is first needed, so that no empty ones show.
struct Route {
    pattern: &'static str,
    /// What its spans are called, by method.
    names: [&'static str; METHODS.len()],
    duration: OnceLock<Histogram>,
    counters: [[OnceLock<Counter>; CLASSES.len()]; METHODS.len()],
}

/// What is known of a request before it is answered.
pub struct Request<'a> {
    /// The place of its pattern.
    pub route: usize,
    /// Its method.
    pub method: &'a Method,
    /// When it came.
    pub begun: Instant,
    /// Its id.
    pub id: &'a HeaderValue,
}

impl Observer {
    /// Tells about requests on `patterns`, of which so many are in hand.
    #[must_use]
    pub fn new(patterns: &Patterns, in_flight: &Limit) -> Self {
        // Made once, and needed for as long as the process runs.
        let lasting = |name: String| -> &'static str { Box::leak(name.into_boxed_str()) };
        let name = |method: &str, pattern: &str| match method {
            "_OTHER" => format!("HTTP {pattern}"),
            method => format!("{method} {pattern}"),
        };
        let route = |pattern: &&'static str| Route {
            pattern,
            names: METHODS.map(|method| lasting(name(method, pattern))),
            duration: OnceLock::new(),
            counters: Default::default(),
        };
        let (in_hand, limit) = (gauge!("latchkey_http_requests_in_flight"), in_flight.clone());
        gauge!("latchkey_http_requests_limit").set(f64::from(in_flight.max()));
        register_gauge("http", move || in_hand.set(f64::from(limit.taken())));
        Self { routes: patterns.all().iter().map(route).collect() }
    }

    /// The pattern at this place.
    #[must_use]
    pub fn pattern(&self, route: usize) -> &'static str {
        self.routes[route].pattern
    }

    /// The request's span, if it is traced.
    pub fn begin(&self, request: &Request<'_>, headers: &HeaderMap) -> Span {
        if !Parent::is_asked_for() {
            return Span::none();
        }
        Span::entry(&parent_of(headers), SpanKind::Server, || self.describe(request))
    }

    /// A span for a request that failed (at us, and not for want of room): one after the fact, where there is none.
    pub fn traced(&self, request: &Request<'_>, span: Span) -> Span {
        if span.is_recording() {
            return span;
        }
        Span::late(SpanKind::Server, request.begun.elapsed(), || self.describe(request))
    }

    /// Counts the request, and ends its span. One that was slow has a span in any case.
    pub fn end(&self, request: &Request<'_>, status: StatusCode, span: &Span) {
        let elapsed = request.begun.elapsed();
        let route = &self.routes[request.route];
        let record =
            || histogram!("latchkey_http_request_duration_seconds", "route" => route.pattern);
        route.duration.get_or_init(record).record(elapsed);
        let (method, class) = (place_of(request.method), usize::from(status.as_u16() / 100) - 1);
        if let Some(counter) = route.counters[method].get(class) {
            let (method, class) = (METHODS[method], CLASSES[class]);
            let labels = [("route", route.pattern), ("method", method), ("status", class)];
            counter.get_or_init(|| counter!("latchkey_http_requests_total", &labels)).increment(1);
        }
        if span.is_recording() {
            note(span, status);
        } else if elapsed > SLOW {
            note(&Span::late(SpanKind::Server, elapsed, || self.describe(request)), status);
        }
    }

    fn describe(&self, request: &Request<'_>) -> Description {
        let (method, route) = (place_of(request.method), &self.routes[request.route]);
        let mut attributes = Vec::with_capacity(ATTRIBUTES);
        attributes.extend([
            KeyValue::new("http.request.method", METHODS[method]),
            KeyValue::new("http.route", route.pattern),
            KeyValue::new("url.scheme", "http"),
            trace::request_id(request.id.to_str().unwrap_or_default()),
        ]);
        (route.names[method].into(), attributes)
    }
}

/// Has the number of open connections in the metrics from now on: the places that are taken.
pub(crate) fn watch_connections(max: u32, places: Arc<Semaphore>) {
    let open = gauge!("latchkey_http_connections");
    gauge!("latchkey_http_connections_limit").set(f64::from(max));
    register_gauge("connections", move || {
        let free = u32::try_from(places.available_permits()).unwrap_or(u32::MAX);
        open.set(f64::from(max.saturating_sub(free)));
    });
}

fn note(span: &Span, status: StatusCode) {
    span.set(|| KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
    if status.is_server_error() {
        span.fail(status.as_str().to_owned());
    }
}

fn place_of(method: &Method) -> usize {
    let known = METHODS.iter().position(|known| *known == method.as_str());
    known.unwrap_or(METHODS.len() - 1)
}

/// What the client's headers say of its own span. Two `traceparent` say nothing.
fn parent_of(headers: &HeaderMap) -> Parent {
    let mut all = headers.get_all(TRACEPARENT).iter();
    let (Some(traceparent), None) = (all.next(), all.next()) else { return Parent::default() };
    let tracestate = headers.get(TRACESTATE).and_then(|value| value.to_str().ok());
    traceparent
        .to_str()
        .map_or_else(|_unreadable| Parent::default(), |it| Parent::read(it, tracestate))
}
