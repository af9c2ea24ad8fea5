//! Writes each sealed event to `AUDIT_LOG`, at least once and in the order of their places: how a collector takes the log
//! away. Up to where that was done is a row beside those of chores, `audit log` in `SERVICE_chores`, whose `until` is a place: it
//! is raised when the lines are written and not before.
//!
//! It is done by whoever seals. Two that do it side by side write lines twice.

use std::io;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use latchkey_runtime::lock::lock_or_begin_anew;
use latchkey_runtime::{Exit, StartError};
use latchkey_store::{StoreError, values};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::record::Record;
use crate::sealer::BATCH;
use crate::sink::{Destination, Sink};
use crate::watch::Chain;

/// Batches of one run at most.
const BATCHES: usize = 20;
/// Who holds the row.
const NOBODY: [u8; 0] = [];
/// How long a run waits for lines to be written. The next one goes on waiting.
const PATIENCE: Duration = Duration::from_secs(1);

/// What writes sealed events.
pub struct Shipper {
    sink: Sink,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Lines that are being written, up to this place.
    pending: Option<(i64, oneshot::Receiver<io::Result<()>>)>,
    /// Tells when the file is to be opened anew.
    hangups: Option<Signal>,
    /// Whether the log said that lines cannot be written.
    has_failed: bool,
}

impl Shipper {
    /// Opens the destination, and has SIGHUP open a file anew.
    ///
    /// # Errors
    /// [`StartError`] where it cannot be opened.
    pub fn open(destination: &Destination) -> Result<Self, StartError> {
        let hangups = match destination {
            Destination::Stderr => None,
            Destination::File(_) => Some(signal(SignalKind::hangup()).map_err(|error| {
                StartError::new(Exit::Internal, format!("signals cannot be received: {error}"))
            })?),
        };
        let state = Mutex::new(State { hangups, ..State::default() });
        Ok(Self { sink: Sink::open(destination)?, state })
    }

    /// Writes what was not written yet, as far as that is done in time.
    ///
    /// # Errors
    /// [`StoreError`]; what was written since is written again.
    pub(crate) async fn run(&self, chain: &Chain) -> Result<(), StoreError> {
        self.look().await;
        for _ in 0..BATCHES {
            if !self.settle(chain).await? {
                return Ok(());
            }
            let written: Option<(i64,)> = chain.db.fetch_first(chain.sql.written, &[]).await?;
            let written = written.map_or(0, |(seq,)| seq);
            let page: Vec<Record> = chain.db.fetch(chain.sql.page, values![written, BATCH]).await?;
            let Some(through) = page.last().and_then(|event| event.seq) else { return Ok(()) };
            let mut lines = String::new();
            for event in page {
                lines.push_str(&event.line(chain.sql.service));
                lines.push('\n');
            }
            let Some(written) = self.sink.write(lines) else { return Ok(()) };
            self.state().pending = Some((through, written));
        }
        self.settle(chain).await.map(drop)
    }

    /// Has the file opened anew, where somebody has asked for it.
    pub(crate) async fn look(&self) {
        let Some(mut hangups) = self.state().hangups.take() else { return };
        let is_asked = tokio::select! {
            biased;
            hangup = hangups.recv() => hangup.is_some(),
            () = std::future::ready(()) => false,
        };
        if is_asked && !self.sink.reopen() {
            tracing::warn!(
                "the audit log is not opened anew: what is written there takes too long"
            );
        }
        self.state().hangups = Some(hangups);
    }

    /// Whether nothing is being written any more, and it is known up to where it was.
    async fn settle(&self, chain: &Chain) -> Result<bool, StoreError> {
        let Some((through, mut written)) = self.state().pending.take() else { return Ok(true) };
        let service = chain.sql.service;
        match timeout(PATIENCE, &mut written).await {
            Ok(Ok(Ok(()))) => {
                if std::mem::take(&mut self.state().has_failed) {
                    tracing::info!(service, "audit events are written to AUDIT_LOG again");
                }
                chain.db.execute(chain.sql.wrote, values![&NOBODY[..], through]).await?;
                Ok(true)
            }
            Ok(Ok(Err(error))) => {
                if !std::mem::replace(&mut self.state().has_failed, true) {
                    tracing::warn!(service, %error, "audit events cannot be written to AUDIT_LOG: it is tried again");
                }
                Ok(false)
            }
            Ok(Err(_gone)) => Ok(false),
            Err(_late) => {
                self.state().pending = Some((through, written));
                Ok(false)
            }
        }
    }

    /// Begun anew, lines are written again, and no signal is heard any more.
    fn state(&self) -> MutexGuard<'_, State> {
        lock_or_begin_anew(&self.state, "what is written of an audit log", |state| {
            *state = State::default();
        })
    }
}
