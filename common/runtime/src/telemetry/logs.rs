//! From an event to its line: many of one kind become few ([`Bursts`]), and nobody waits for standard error
//! ([`Queue`]).

use std::cell::Cell;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::Context;

use super::bursts::{Bursts, MAX_LINE, MAX_TOLD, TARGET, Verdict};
use super::output::{Queue, RESERVED, Room};
use crate::clock::Clock;

/// How long the last lines of a process may take, all told. It comes after everything else that an end may take.
const LAST_LINES: Duration = Duration::from_secs(1);

// Counts that are told at once take no more than half of what is kept for them: the rest is for the other lines.
const _: () = assert!(MAX_TOLD * MAX_LINE <= RESERVED / 2);

/// The lines of this process. Static for the same reason as their subscriber: whoever logs is not handed it.
static LOGS: OnceLock<Logs> = OnceLock::new();

/// Lines on their way to standard error.
#[derive(Debug)]
pub(super) struct Logs {
    queue: Queue,
    bursts: Bursts,
    /// Where the system gives no thread, whoever logs writes.
    has_thread: bool,
}

/// The layer that counts lines by their kind.
#[derive(Debug)]
pub(super) struct Gate {
    logs: &'static Logs,
    is_limited: bool,
}

/// Makes what a formatted line is written to.
#[derive(Debug)]
pub(super) struct Lines(&'static Logs);

/// What one formatted line is written to.
#[derive(Debug)]
pub(super) struct Line {
    logs: &'static Logs,
    room: Room,
}

/// What was logged is written when this goes, and the last line behind it, as far as there is time.
#[derive(Debug, Default)]
#[must_use = "what was logged is written when it goes"]
pub(crate) struct LastLines {
    last: Option<String>,
}

/// Lines that were not written: because there were too many of their kind, because standard error was slow, because
/// it failed.
pub(crate) fn left_out() -> [(&'static str, u64); 3] {
    let logs = LOGS.get();
    let count = |of: fn(&Logs) -> u64| logs.map_or(0, of);
    [
        ("repeated", count(|logs| logs.bursts.left_out())),
        ("slow", count(|logs| logs.queue.dropped())),
        ("failed", count(|logs| logs.queue.failed())),
    ]
}

impl LastLines {
    /// Sets the last line: it is no event, and written as it stands.
    pub(crate) fn end_with(&mut self, text: &str) {
        self.last = Some(format!("{text}\n"));
    }
}

impl Logs {
    /// The process' own, begun when they are first needed.
    fn of_process() -> &'static Self {
        LOGS.get_or_init(|| {
            let thread = thread::Builder::new().name("log".to_owned());
            let has_thread = thread.spawn(|| Self::of_process().write()).is_ok();
            Self { queue: Queue::default(), bursts: Bursts::new(), has_thread }
        })
    }

    /// The two ends at which a subscriber holds them. Many lines of one kind become few where it `is_limited`.
    pub(super) fn ends(is_limited: bool) -> (Gate, Lines) {
        let logs = Self::of_process();
        // Where there is no thread, nobody would tell a count.
        (Gate { logs, is_limited: is_limited && logs.has_thread }, Lines(logs))
    }

    fn put(&self, line: &[u8], room: Room) {
        if self.has_thread {
            self.queue.push(line, room);
        } else {
            // Where standard error is closed there is nobody to tell.
            let _ = io::stderr().write_all(line);
        }
    }

    fn write(&self) {
        let told = Cell::new(0);
        self.queue.write_to(io::stderr(), |asked| self.tell(asked, &told));
    }

    /// Writes `last` and everything before it, within [`LAST_LINES`].
    fn end_with(&self, last: &str) {
        if !self.has_thread {
            self.put(last.as_bytes(), Room::Reserved);
            return;
        }
        let begun = Clock::System.lease_nanos();
        // Where it takes longer, the terminal is stuck: nobody waits for it.
        let _late = self.queue.finish(LAST_LINES);
        self.queue.push_last(last.as_bytes());
        let taken = Duration::from_nanos(Clock::System.lease_nanos().saturating_sub(begun));
        let _late = self.queue.finish(LAST_LINES.saturating_sub(taken));
    }

    /// Logs some of what there is to say of lines that are not written, and says how long nothing more comes of it.
    fn tell(&self, asked: Option<u64>, told: &Cell<u64>) -> Option<Duration> {
        let now = Clock::System.lease_nanos();
        let (left_out, next) = self.bursts.report(now, asked);
        for lines in left_out {
            lines.log();
        }
        let dropped = self.queue.dropped();
        let suppressed = dropped - told.replace(dropped);
        if suppressed > 0 {
            tracing::warn!(
                target: TARGET,
                suppressed,
                "the terminal or disk that logs go to is slow: lines are left out"
            );
        }
        next.map(|next| Duration::from_nanos(next.saturating_sub(now)))
    }
}

impl<S: Subscriber> Layer<S> for Gate {
    fn event_enabled(&self, event: &Event<'_>, _context: Context<'_, S>) -> bool {
        let Self { logs, is_limited } = self;
        if !is_limited {
            return true;
        }
        let verdict = logs.bursts.judge(event, Clock::System.lease_nanos());
        if verdict == Verdict::First {
            logs.queue.wake();
        }
        verdict == Verdict::Write
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Line;

    fn make_writer(&self) -> Line {
        Line { logs: self.0, room: Room::Usual }
    }

    fn make_writer_for(&self, of: &Metadata<'_>) -> Line {
        let room = if of.target() == TARGET { Room::Reserved } else { Room::Usual };
        Line { logs: self.0, room }
    }
}

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.logs.put(line, self.room);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LastLines {
    fn drop(&mut self) {
        if let Some(last) = self.last.take() {
            Logs::of_process().end_with(&last);
        } else if let Some(logs) = LOGS.get().filter(|logs| logs.has_thread) {
            // Where it takes longer, the terminal is stuck: nobody waits for it.
            let _late = logs.queue.finish(LAST_LINES);
        }
    }
}
