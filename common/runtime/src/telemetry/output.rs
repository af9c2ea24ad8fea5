//! Standard error, written by one thread: whoever logs puts a line into a bounded queue and never waits for the
//! terminal or the disk behind it. What does not fit is dropped and counted.
//!
//! A crate that does this (tracing-appender) writes to standard error when its own end takes too long, which is
//! where it hangs: so the queue is ours.

use std::io::{ErrorKind, Write};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, LockResult, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Bytes of lines that wait to be written at most.
pub(super) const MAX_WAITING: usize = 1 << 20;
/// Bytes beyond that for what is said about lines, and for a process' last one. What waits is taken after each time that
/// something is told.
pub(super) const RESERVED: usize = 1 << 18;
/// How long a terminal is left alone that takes nothing just now, where it does not make its writer wait.
const PAUSE: Duration = Duration::from_millis(10);

/// Lines on their way.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// There is something to do.
    changed: Condvar,
    /// Something was done.
    done: Condvar,
    /// Lines that found no room.
    dropped: AtomicU64,
    /// Lines that could not be written.
    failed: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// The last line is in.
    is_closed: bool,
    /// Somebody has something to tell when its time has come.
    is_woken: bool,
    /// How often somebody asked for everything to be written, and up to where that was done.
    asked: u64,
    answered: u64,
}

/// How much room a line may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// What every line may.
    Usual,
    /// Some more.
    Reserved,
}

impl Queue {
    /// Puts a line in; never waits.
    pub(super) fn push(&self, line: &[u8], room: Room) {
        let max = MAX_WAITING + if room == Room::Reserved { RESERVED } else { 0 };
        self.put(&mut self.state(), line, max);
    }

    /// Puts the last line in: no other comes behind it.
    pub(super) fn push_last(&self, line: &[u8]) {
        let mut state = self.state();
        self.put(&mut state, line, MAX_WAITING + RESERVED);
        state.is_closed = true;
    }

    fn put(&self, state: &mut State, line: &[u8], max: usize) {
        if state.is_closed || state.waiting.len().saturating_add(line.len()) > max {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        state.waiting.extend_from_slice(line);
        self.changed.notify_one();
    }

    /// Has the thread look what it has to tell.
    pub(super) fn wake(&self) {
        self.state().is_woken = true;
        self.changed.notify_one();
    }

    /// Waits until everything that was put in before is written, for `bound` at most.
    pub(super) fn finish(&self, bound: Duration) -> bool {
        let mut state = self.state();
        state.asked += 1;
        let ticket = state.asked;
        self.changed.notify_one();
        let is_behind = |state: &mut State| state.answered < ticket;
        !whole(self.done.wait_timeout_while(state, bound, is_behind)).1.timed_out()
    }

    /// Lines that found no room.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Lines that could not be written.
    pub(super) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Writes to `sink` for ever. `tell` puts in some of what there is to tell, for whoever asked where it is given a
    /// number, and says how long nothing more will come of it: no time at all where there is more at once.
    pub(super) fn write_to(
        &self,
        mut sink: impl Write,
        tell: impl Fn(Option<u64>) -> Option<Duration>,
    ) {
        loop {
            let ticket = self.ticket();
            let patience = tell(ticket);
            let is_told = patience != Some(Duration::ZERO);
            let lines = if ticket.is_some() { self.take() } else { self.next(patience) };
            if let Err(lost) = write(&mut sink, &lines) {
                self.failed.fetch_add(lost, Ordering::Relaxed);
            }
            if let Some(ticket) = ticket.filter(|_| is_told) {
                self.state().answered = ticket;
                self.done.notify_all();
            }
        }
    }

    fn ticket(&self) -> Option<u64> {
        let state = self.state();
        (state.answered < state.asked).then_some(state.asked)
    }

    /// What waits, as soon as there is something, somebody asks, or `patience` is over.
    fn next(&self, patience: Option<Duration>) -> Vec<u8> {
        let is_idle = |state: &mut State| {
            state.waiting.is_empty() && !state.is_woken && state.answered == state.asked
        };
        let state = self.state();
        let mut state = match patience {
            Some(patience) => whole(self.changed.wait_timeout_while(state, patience, is_idle)).0,
            None => whole(self.changed.wait_while(state, is_idle)),
        };
        state.is_woken = false;
        mem::take(&mut state.waiting)
    }

    fn take(&self) -> Vec<u8> {
        mem::take(&mut self.state().waiting)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        whole(self.state.lock())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "each change is one step: what is there is whole after a panic, too"
)]
fn whole<T>(locked: LockResult<T>) -> T {
    locked.unwrap_or_else(PoisonError::into_inner)
}

/// Writes whole; how many lines were not is the error.
fn write(sink: &mut impl Write, mut lines: &[u8]) -> Result<(), u64> {
    while !lines.is_empty() {
        match sink.write(lines) {
            Ok(0) => return Err(count(lines)),
            Ok(written) => lines = lines.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(PAUSE),
            Err(_closed) => return Err(count(lines)),
        }
    }
    Ok(())
}

fn count(lines: &[u8]) -> u64 {
    let ends = lines.split_inclusive(|byte| *byte == b'\n');
    u64::try_from(ends.count()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
