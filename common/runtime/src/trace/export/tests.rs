//! What becomes of spans when the collector takes them, is away, or hangs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status};
use opentelemetry_sdk::trace::{SpanEvents, SpanLinks};
use tokio::sync::Semaphore;

use super::*;

/// Longer than any collector of these tests takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A collector that takes one batch for each permit, and counts them.
#[derive(Debug, Clone)]
struct Fake {
    permits: Arc<Semaphore>,
    spans: Arc<AtomicUsize>,
    batches: Arc<AtomicUsize>,
    largest: Arc<AtomicUsize>,
    answer: fn() -> Result<(), String>,
}

impl Fake {
    fn new(permits: usize, answer: fn() -> Result<(), String>) -> Self {
        let (spans, batches, largest) = (Arc::default(), Arc::default(), Arc::default());
        Self { permits: Arc::new(Semaphore::new(permits)), spans, batches, largest, answer }
    }
}

impl Collector for Fake {
    async fn send(&self, batch: &[Vec<u8>]) -> Result<(), String> {
        self.batches.fetch_add(1, Ordering::SeqCst);
        let permit = self.permits.acquire().await;
        permit.map_err(|error| error.to_string())?.forget();
        self.spans.fetch_add(batch.len(), Ordering::SeqCst);
        self.largest.fetch_max(batch.len(), Ordering::SeqCst);
        (self.answer)()
    }
}

fn span() -> SpanData {
    let now = SystemTime::UNIX_EPOCH;
    SpanData {
        span_context: SpanContext::empty_context(),
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: "x".into(),
        start_time: now,
        end_time: now,
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: opentelemetry::InstrumentationScope::default(),
    }
}

#[tokio::test]
async fn every_span_that_fits_is_sent_at_the_end_in_bounded_batches() {
    let fake = Fake::new(1_000, || Ok(()));
    let (queue, exporting) = with(fake.clone());
    for _ in 0..MAX_QUEUE {
        queue.on_end(span());
    }
    exporting.end_within(PATIENCE).await;
    assert_eq!(fake.spans.load(Ordering::SeqCst), MAX_QUEUE);
    assert!(fake.largest.load(Ordering::SeqCst) <= MAX_BATCH);
}

#[tokio::test]
async fn a_collector_that_refuses_is_asked_again() {
    let fake = Fake::new(1_000, || Err("a timeout".to_owned()));
    let (queue, exporting) = with(fake.clone());
    for _ in 0..MAX_QUEUE {
        queue.on_end(span());
    }
    exporting.end_within(PATIENCE).await;
    assert_eq!(fake.batches.load(Ordering::SeqCst), MAX_QUEUE / MAX_BATCH);
}

#[tokio::test]
async fn a_panic_while_spans_are_sent_costs_those_and_no_others() {
    let fake = Fake::new(1_000, || panic!("a panic of a test"));
    let (queue, exporting) = with(fake.clone());
    for _ in 0..MAX_QUEUE {
        queue.on_end(span());
    }
    exporting.end_within(PATIENCE).await;
    assert_eq!(fake.batches.load(Ordering::SeqCst), MAX_QUEUE / MAX_BATCH);
}

#[tokio::test]
async fn a_collector_that_hangs_holds_up_neither_a_request_nor_the_end() {
    let fake = Fake::new(0, || Ok(()));
    let (queue, exporting) = with(fake.clone());
    // Whatever waited for the collector here would wait for ever.
    for _ in 0..10 * MAX_QUEUE {
        queue.on_end(span());
    }
    exporting.end_within(Duration::from_millis(50)).await;
    assert_eq!(fake.spans.load(Ordering::SeqCst), 0);
}
