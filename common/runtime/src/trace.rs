//! Spans: where a request's time went, over every process it passed.
//!
//! Whether a request is traced is decided once, before its first span is made; a request that is not
//! traced makes none at all. Within a process the current span follows the work ([`Span::run`]);
//! between processes and actors its [`Parent`] travels with the question.
//!
//! Names and attributes are constants and numbers. Of what a client sent only its own trace headers and its id of
//! the request, which are made for that, go into a span.

mod collector;
mod export;
mod otlp;
mod settings;
mod traceparent;

use std::borrow::Cow;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, UNIX_EPOCH};

use opentelemetry::Context;
use opentelemetry::trace::{
    Link, SpanBuilder, SpanContext, Status, TraceContextExt, Tracer as _, TracerProvider,
};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

use crate::config::{ConfigError, Environment};
use crate::entropy::Entropy;

pub use export::Exporting;
pub use opentelemetry::trace::SpanKind;
pub use opentelemetry::{KeyValue, TraceId};
pub use settings::{Sampler, table};

/// Other requests that the span of a batch is linked to at most.
const MAX_LINKS: usize = 64;
/// Spans after the fact in one second at most: a storm of failures is not made worse by its traces.
const MAX_LATE: u64 = 20;

/// How the process makes spans, once [`start`] has been called where there is a collector. Static for
/// the same reason as a log's subscriber: whoever makes a span is not handed it through every call.
static TRACING: OnceLock<Tracing> = OnceLock::new();

struct Tracing {
    tracer: SdkTracer,
    sampler: Sampler,
    late: Late,
}

/// What a span may be the child of: the span that asked, in this process or another; or nothing,
/// where the request is not traced.
#[derive(Clone, Debug, Default)]
pub struct Parent(Option<Box<SpanContext>>);

/// A piece of work under way, or nothing where the request is not traced. It ends when dropped.
#[must_use = "a span ends when dropped"]
pub struct Span(Option<Context>);

/// A span's name and attributes.
pub type Description = (Cow<'static, str>, Vec<KeyValue>);

/// The attribute with the id of the request that a span is a part of, as logs and problem documents have it.
const REQUEST_ID: &str = "latchkey.request.id";

/// The attribute of a span that says of which request it is a part.
#[must_use]
pub fn request_id(id: &str) -> KeyValue {
    // Shared: whoever sends a span copies it.
    KeyValue::new(REQUEST_ID, Arc::<str>::from(id))
}

/// Starts exporting spans, if the variables name a collector; `None` where they name none.
///
/// # Errors
/// [`ConfigError`] where a variable cannot be used.
pub fn start(
    environment: &Environment,
    service: &'static str,
    version: &'static str,
    entropy: &Entropy,
) -> Result<Option<Exporting>, ConfigError> {
    let Some(settings) = settings::Settings::read(environment, service, version, entropy)? else {
        return Ok(None);
    };
    let (queue, exporting) = export::start(&settings)?;
    // Every span that is made is exported: the decision not to trace is not to make one.
    let provider = SdkTracerProvider::builder()
        .with_sampler(opentelemetry_sdk::trace::Sampler::AlwaysOn)
        .with_span_processor(queue)
        .with_resource(settings.resource)
        .build();
    let tracer = provider.tracer(otlp::SCOPE);
    let tracing = Tracing { tracer, sampler: settings.sampler, late: Late::default() };
    // A second start in one process (tests do that) keeps the first one's collector.
    drop(TRACING.set(tracing));
    Ok(Some(exporting))
}

impl Span {
    /// No span.
    pub const fn none() -> Self {
        Self(None)
    }

    /// The first span of a request in this system, if the sampler takes it. `parent` is what the
    /// client sent.
    pub fn entry(parent: &Parent, kind: SpanKind, describe: impl FnOnce() -> Description) -> Self {
        let Some(tracing) = TRACING.get() else { return Self(None) };
        if !tracing.sampler.takes(parent.0.as_deref()) {
            return Self(None);
        }
        tracing.span(&parent.context(), kind, describe(), Vec::new())
    }

    /// The first span in this process of a request that another one traces, if there is one.
    pub fn remote(parent: &Parent, kind: SpanKind, describe: impl FnOnce() -> Description) -> Self {
        if parent.0.is_none() { Self(None) } else { Self::entry(parent, kind, describe) }
    }

    /// A part of the current span, if there is one.
    pub fn child(kind: SpanKind, describe: impl FnOnce() -> Description) -> Self {
        let Some(tracing) = TRACING.get() else { return Self(None) };
        let current = Context::map_current(|now| now.has_active_span().then(|| now.clone()));
        current.map_or(Self(None), |now| tracing.span(&now, kind, describe(), Vec::new()))
    }

    /// Work for many requests together: a part of the first of them that is traced, linked to others.
    pub fn joint<'a>(
        askers: impl Iterator<Item = &'a Parent>,
        describe: impl FnOnce() -> Description,
    ) -> Self {
        let Some(tracing) = TRACING.get() else { return Self(None) };
        let mut traced = askers.filter(|asker| asker.0.is_some());
        let Some(first) = traced.next() else { return Self(None) };
        let link = |asker: &Parent| Some(Link::with_context(asker.0.as_deref()?.clone()));
        let links = traced.filter_map(link).take(MAX_LINKS).collect();
        tracing.span(&first.context(), SpanKind::Internal, describe(), links)
    }

    /// A span of something that has just ended and took `elapsed`: for what nobody knew to be worth
    /// a span when it began. Only so many in a second.
    pub fn late(kind: SpanKind, elapsed: Duration, describe: impl FnOnce() -> Description) -> Self {
        let Some(tracing) = TRACING.get() else { return Self(None) };
        let now = opentelemetry::time::now();
        let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if tracing.sampler == Sampler::Never || !tracing.late.takes(second) {
            return Self(None);
        }
        let (name, attributes) = describe();
        let builder = SpanBuilder::from_name(name)
            .with_kind(kind)
            .with_attributes(attributes)
            .with_start_time(now.checked_sub(elapsed).unwrap_or(now));
        let context = Context::new();
        Self(Some(context.with_span(tracing.tracer.build_with_context(builder, &context))))
    }

    /// Whether there is a span.
    #[must_use]
    pub fn is_recording(&self) -> bool {
        self.0.is_some()
    }

    /// What the work of others for this span is a child of.
    #[must_use]
    pub fn parent(&self) -> Parent {
        Parent(self.0.as_ref().map(|context| Box::new(context.span().span_context().clone())))
    }

    /// Does `work` with this span as the current one. Without a span, nothing but `work`.
    pub async fn run<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        poll_fn(|task| {
            let _current = self.0.clone().map(Context::attach);
            work.as_mut().poll(task)
        })
        .await
    }

    /// The same for work that waits for nothing.
    pub fn scope<T>(&self, work: impl FnOnce() -> T) -> T {
        let _current = self.0.clone().map(Context::attach);
        work()
    }

    /// The id of the trace that it is a part of, if there is a span.
    #[must_use]
    pub fn trace_id(&self) -> Option<TraceId> {
        self.0.as_ref().map(|context| context.span().span_context().trace_id())
    }

    /// Adds an attribute.
    pub fn set(&self, attribute: impl FnOnce() -> KeyValue) {
        if let Some(context) = &self.0 {
            context.span().set_attribute(attribute());
        }
    }

    /// Marks the span as failed, with the kind of failure in a word.
    pub fn fail(&self, kind: impl Into<Cow<'static, str>>) {
        if let Some(context) = &self.0 {
            context.span().set_attribute(KeyValue::new("error.type", kind.into()));
            context.span().set_status(Status::error(""));
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(context) = &self.0 {
            context.span().end();
        }
    }
}

impl Tracing {
    fn span(&self, parent: &Context, kind: SpanKind, what: Description, links: Vec<Link>) -> Span {
        let (name, attributes) = what;
        let builder = SpanBuilder::from_name(name)
            .with_kind(kind)
            .with_attributes(attributes)
            .with_links(links);
        Span(Some(parent.with_span(self.tracer.build_with_context(builder, parent))))
    }
}

impl Parent {
    /// The current span of this process, if there is one.
    #[must_use]
    pub fn current() -> Self {
        if TRACING.get().is_none() {
            return Self(None);
        }
        Self(Context::map_current(|now| {
            now.has_active_span().then(|| Box::new(now.span().span_context().clone()))
        }))
    }

    /// The id of the trace that the current span of this process is a part of, if there is one.
    #[must_use]
    pub fn current_trace_id() -> Option<TraceId> {
        TRACING.get()?;
        let of =
            |now: &Context| now.has_active_span().then(|| now.span().span_context().trace_id());
        Context::map_current(of)
    }

    /// Whether spans are made at all: if not, nobody need look for a parent.
    #[must_use]
    pub fn is_asked_for() -> bool {
        TRACING.get().is_some()
    }

    /// What the W3C headers `traceparent` and `tracestate` say; nothing where they cannot be read.
    #[must_use]
    pub fn read(traceparent: &str, tracestate: Option<&str>) -> Self {
        let Some((trace, span, flags)) = traceparent::read(traceparent) else { return Self(None) };
        let state = tracestate.and_then(|text| text.parse().ok()).unwrap_or_default();
        let known = SpanContext::new(trace, span, flags, true, state);
        Self(known.is_valid().then(|| Box::new(known)))
    }

    /// The header `traceparent`; `None` where the request is not traced.
    #[must_use]
    pub fn traceparent(&self) -> Option<String> {
        let it = self.0.as_ref()?;
        let flags = u8::from(it.is_sampled());
        Some(format!("00-{}-{}-{flags:02x}", it.trace_id(), it.span_id()))
    }

    /// The header `tracestate`, if there is anything in it.
    #[must_use]
    pub fn tracestate(&self) -> Option<String> {
        self.0.as_ref().map(|it| it.trace_state().header()).filter(|header| !header.is_empty())
    }

    fn context(&self) -> Context {
        let context = Context::new();
        match &self.0 {
            Some(it) => context.with_remote_span_context(it.as_ref().clone()),
            None => context,
        }
    }
}

/// Counts spans after the fact within a second: the second and the count in one number.
#[derive(Default)]
struct Late(AtomicU64);

impl Late {
    fn takes(&self, second: u64) -> bool {
        let count = |packed: u64| {
            let (of, so_far) = (packed >> 16, packed & 0xffff);
            match so_far {
                _ if of != second => Some(second << 16 | 1),
                so_far if so_far < MAX_LATE => Some(packed + 1),
                _ => None,
            }
        };
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count).is_ok()
    }
}

#[cfg(test)]
mod tests;
