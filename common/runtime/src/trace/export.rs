//! Sends spans to the collector: a bounded queue, and a task that empties it.
//!
//! No request ever waits for the collector. What does not fit or cannot be sent is dropped and counted
//! (`latchkey_spans_dropped_total`); the log says once that the collector is away, and once that it is back.
//!
//! The task has no supervisor: traces that fail must not end a service. What can panic in it is the collector's client,
//! and that is caught. If it ended all the same, every span from then on would be counted as dropped by the queue.

use std::mem;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use opentelemetry::Context;
use opentelemetry_otlp::{SpanExporter as Otlp, WithExportConfig};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::settings::{ENDPOINT, Settings};
use crate::config::ConfigError;

/// Spans that wait for the collector at most.
const MAX_QUEUE: usize = 2_048;
/// Spans that are sent together at most.
const MAX_BATCH: usize = 512;
/// How long the first span of a batch waits for others.
const DELAY: Duration = Duration::from_secs(1);

/// The queue's end where spans go in.
#[derive(Debug)]
pub(super) struct Queue(mpsc::Sender<SpanData>);

/// The task that sends spans, while it runs.
#[must_use = "end it, so that the last spans are sent"]
pub struct Exporting {
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

struct Exporter<E> {
    collector: E,
    queue: mpsc::Receiver<SpanData>,
    away: bool,
}

/// Starts the task. It needs a runtime, as the connection does; the connection is made when it is needed.
pub(super) fn start(settings: &Settings) -> Result<(Queue, Exporting), ConfigError> {
    let built = Otlp::builder()
        .with_tonic()
        .with_endpoint(&settings.endpoint)
        .with_timeout(settings.timeout)
        .build();
    let mut exporter = built.map_err(|error| ENDPOINT.wrong(error.to_string()))?;
    exporter.set_resource(&settings.resource);
    Ok(with(exporter))
}

fn with<E: SpanExporter + 'static>(exporter: E) -> (Queue, Exporting) {
    let (sender, queue) = mpsc::channel(MAX_QUEUE);
    let (end, ended) = oneshot::channel();
    let exporter = Exporter { collector: exporter, queue, away: false };
    #[expect(
        clippy::disallowed_methods,
        reason = "ends when the value that is returned says so: a panic in it costs one batch"
    )]
    let task = tokio::spawn(exporter.run(ended));
    (Queue(sender), Exporting { end, task })
}

impl Exporting {
    /// Sends what is still there, within `bound`. Called after everything that makes spans has ended.
    pub async fn end_within(mut self, bound: Duration) {
        // It fails only where the task is gone already.
        let _ = self.end.send(());
        if tokio::time::timeout(bound, &mut self.task).await.is_err() {
            self.task.abort();
            tracing::warn!("the last spans were not sent before the process ended");
        }
    }
}

impl<E: SpanExporter> Exporter<E> {
    async fn run(mut self, mut ended: oneshot::Receiver<()>) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        loop {
            tokio::select! {
                got = self.queue.recv_many(&mut batch, MAX_BATCH) => if got == 0 { return },
                _ = &mut ended => break,
            }
            let full = fill(&mut self.queue, &mut batch);
            let end = tokio::select! {
                _ = tokio::time::timeout(DELAY, full) => false,
                _ = &mut ended => true,
            };
            self.send(mem::take(&mut batch)).await;
            if end {
                break;
            }
        }
        self.queue.close();
        while self.queue.recv_many(&mut batch, MAX_BATCH).await > 0 {
            self.send(mem::take(&mut batch)).await;
        }
    }

    async fn send(&mut self, batch: Vec<SpanData>) {
        let count = batch.len();
        let sending = async { self.collector.export(batch).await };
        let sent = AssertUnwindSafe(sending).catch_unwind().await;
        let error = match sent {
            Ok(Ok(())) => {
                if mem::take(&mut self.away) {
                    tracing::info!("spans are sent again");
                }
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_panic) => "a panic".to_owned(),
        };
        dropped("collector", count);
        if !mem::replace(&mut self.away, true) {
            tracing::warn!(error, "spans cannot be sent to the collector and are dropped");
        }
    }
}

/// Returns when the batch is full.
async fn fill(queue: &mut mpsc::Receiver<SpanData>, batch: &mut Vec<SpanData>) {
    while batch.len() < MAX_BATCH {
        if queue.recv_many(batch, MAX_BATCH - batch.len()).await == 0 {
            return;
        }
    }
}

fn dropped(reason: &'static str, count: usize) {
    metrics::counter!("latchkey_spans_dropped_total", "reason" => reason).increment(count as u64);
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.0.try_send(span).is_err() {
            dropped("queue", 1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
