//! Sends spans to the collector: a bounded queue, and a task that empties it.
//!
//! A span is written as bytes where it ends. The task is woken where there are enough for a batch, and once a second: not
//! for each of them.
//!
//! No request ever waits for the collector. What does not fit or cannot be sent is dropped and counted
//! (`latchkey_spans_dropped_total`); the log says once that the collector is away, and once that it is back.
//!
//! The task has no supervisor: traces that fail must not end a service. What can panic in it is the collector's client,
//! and that is caught. If it ended all the same, every span from then on would be counted as dropped by the queue.

use std::mem;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::collector::{Collector, Remote};
use super::otlp;
use super::settings::Settings;
use crate::config::ConfigError;

/// Spans that wait for the collector at most.
const MAX_QUEUE: usize = 2_048;
/// Spans that are sent together at most.
const MAX_BATCH: usize = 512;
/// How long spans wait for others where there are too few for a batch.
const DELAY: Duration = Duration::from_secs(1);

/// The queue's end where spans go in.
#[derive(Debug)]
pub(super) struct Queue {
    spans: mpsc::Sender<Vec<u8>>,
    is_full: Arc<Notify>,
}

/// The task that sends spans, while it runs.
#[must_use = "end it, so that the last spans are sent"]
pub struct Exporting {
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

struct Exporter<C> {
    collector: C,
    queue: mpsc::Receiver<Vec<u8>>,
    /// Told where there is enough for a batch.
    is_full: Arc<Notify>,
    away: bool,
}

/// Starts the task. It needs a runtime, as the connection does; the connection is made when it is needed.
pub(super) fn start(settings: &Settings) -> Result<(Queue, Exporting), ConfigError> {
    Ok(with(Remote::new(settings)?))
}

fn with<C: Collector>(collector: C) -> (Queue, Exporting) {
    let (sender, queue) = mpsc::channel(MAX_QUEUE);
    let (end, ended) = oneshot::channel();
    let is_full = Arc::new(Notify::new());
    let told = Arc::clone(&is_full);
    let exporter = Exporter { collector, queue, is_full: told, away: false };
    #[expect(
        clippy::disallowed_methods,
        reason = "ends when the value that is returned says so: a panic in it costs one batch"
    )]
    let task = tokio::spawn(exporter.run(ended));
    (Queue { spans: sender, is_full }, Exporting { end, task })
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

impl<C: Collector> Exporter<C> {
    async fn run(mut self, mut ended: oneshot::Receiver<()>) {
        loop {
            let full = tokio::time::timeout(DELAY, self.is_full.notified());
            let least = tokio::select! {
                told = full => if told.is_ok() { MAX_BATCH } else { 1 },
                _ = &mut ended => break,
            };
            for _ in 0..MAX_QUEUE / MAX_BATCH {
                if self.queue.len() < least {
                    break;
                }
                let batch = self.take();
                self.send(&batch).await;
            }
        }
        self.queue.close();
        while !self.queue.is_empty() {
            let batch = self.take();
            self.send(&batch).await;
        }
    }

    /// What waits, as far as it is sent together.
    fn take(&mut self) -> Vec<Vec<u8>> {
        let mut batch = Vec::with_capacity(MAX_BATCH.min(self.queue.len()));
        while batch.len() < batch.capacity()
            && let Ok(span) = self.queue.try_recv()
        {
            batch.push(span);
        }
        batch
    }

    async fn send(&mut self, batch: &[Vec<u8>]) {
        let sent = AssertUnwindSafe(self.collector.send(batch)).catch_unwind().await;
        let error = match sent {
            Ok(Ok(())) => {
                if mem::take(&mut self.away) {
                    tracing::info!("spans are sent again");
                }
                return;
            }
            Ok(Err(error)) => error,
            Err(_panic) => "a panic".to_owned(),
        };
        dropped("collector", batch.len());
        if !mem::replace(&mut self.away, true) {
            tracing::warn!(error, "spans cannot be sent to the collector and are dropped");
        }
    }
}

fn dropped(reason: &'static str, count: usize) {
    metrics::counter!("latchkey_spans_dropped_total", "reason" => reason).increment(count as u64);
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        match self.spans.try_reserve() {
            Ok(place) => place.send(otlp::span(&span)),
            Err(_full) => dropped("queue", 1),
        }
        if self.spans.max_capacity() - self.spans.capacity() >= MAX_BATCH {
            self.is_full.notify_one();
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
