//! Many lines of one kind in a second become a few, and one with the count of the others.
//!
//! A kind is a place in the program, with what a line says there by the words of the program itself: the code of a
//! problem, a subject of the bus. A thousand clients that are refused for one reason are one kind; a refusal for
//! another reason, or a failure, is another and has its own few lines. Nothing is lost: lines and counts add up to
//! what happened. Whoever asks for more than `info` sees every line, and so does an audit (`telemetry.rs`).

use std::collections::hash_map::DefaultHasher;
use std::fmt::{self, Debug, Write};
use std::hash::{Hash, Hasher};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata};

use crate::bounded::Bounded;

/// Lines of one kind that are written in a second; the others are counted.
pub(super) const FEW: u32 = 5;
/// How long a count goes on.
pub(super) const WINDOW: Duration = Duration::from_secs(1);
/// Kinds that are counted apart at most. There are some two hundred places in the program that log.
const MAX_KINDS: usize = 512;
/// What lines about lines are logged under: no filter for other lines leaves them out.
pub(super) const TARGET: &str = "latchkey_log";
/// What an audit is logged under: each line of it is wanted.
pub(super) const AUDIT: &str = "audit";
/// The fields whose values are words of the program, and part of the kind.
const KIND_FIELDS: [&str; 12] = [
    "code",
    "reason",
    "subject",
    "authority",
    "service",
    "actor",
    "task",
    "chore",
    "route",
    "location",
    "what",
    // The lines of all libraries that log in the other way have one place together.
    "log.target",
];
/// Bytes of a kind's message that are kept at most.
const MAX_MESSAGE: usize = 256;
/// Bytes of a value of its fields that are kept at most.
const MAX_WORD: usize = 128;
/// Bytes of a line that tells a count at most: a byte is written in six at most, and what stands around the values is
/// known.
pub(super) const MAX_LINE: usize = 6 * (MAX_MESSAGE + KIND_FIELDS.len() * MAX_WORD) + 1_024;
/// Counts that are told at once at most. What is left is told when these are on their way.
pub(super) const MAX_TOLD: usize = 11;

/// Counts lines by their kind.
#[derive(Debug)]
pub(super) struct Bursts {
    kinds: Mutex<Kinds>,
    /// Lines that were counted and not written, in all.
    left_out: AtomicU64,
}

#[derive(Debug)]
struct Kinds {
    table: Bounded<(usize, u64), Kind>,
    /// For what has no place in the table.
    others: Kind,
    /// How many of them have something to tell.
    waiting: usize,
}

/// The lines of one kind.
#[derive(Debug)]
struct Kind {
    level: Level,
    line: String,
    fields: Fields,
    /// When its window ends (ns).
    ends: u64,
    written: u32,
    left_out: u64,
    /// When what was left out is to be told (ns): when the window ends in which the first was.
    due: u64,
    /// The last request to tell everything for which it was told.
    told_for: u64,
}

/// The values of the fields that tell kinds apart.
type Fields = [Option<String>; KIND_FIELDS.len()];

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is written.
    Write,
    /// It is counted; the first since a count was told, so that somebody has to come back and tell.
    First,
    /// It is counted.
    Count,
}

/// How many lines of a kind were left out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LeftOut {
    level: Level,
    line: String,
    fields: Fields,
    /// How many.
    pub(super) suppressed: u64,
}

/// What tells one kind from another at one place of the program: what is said there, in one number. In a burst no more
/// is read of an event.
#[derive(Default)]
struct Mark(DefaultHasher);

/// Reads what a kind is to be told by; no value that a client could have sent is part of it.
#[derive(Default)]
struct Reader {
    message: Short,
    fields: Fields,
}

/// The first bytes of a text.
#[derive(Default)]
struct Short(String);

impl Bursts {
    /// Nothing counted yet.
    pub(super) fn new() -> Self {
        let others = Kind::new(Level::WARN, "lines of many kinds".to_owned(), Default::default());
        let kinds = Kinds { table: Bounded::new(MAX_KINDS), others, waiting: 0 };
        Self { kinds: Mutex::new(kinds), left_out: AtomicU64::new(0) }
    }

    /// What becomes of an event at `now` (ns).
    pub(super) fn judge(&self, event: &Event<'_>, now: u64) -> Verdict {
        let of = event.metadata();
        if *of.level() > Level::INFO || [AUDIT, TARGET].contains(&of.target()) {
            return Verdict::Write;
        }
        let mut mark = Mark::default();
        event.record(&mut mark);
        let read = || {
            let mut reader = Reader::default();
            event.record(&mut reader);
            reader
        };
        self.count(of, mark.0.finish(), read, now)
    }

    fn count(
        &self,
        of: &'static Metadata<'static>,
        mark: u64,
        read: impl FnOnce() -> Reader,
        now: u64,
    ) -> Verdict {
        let key = (ptr::from_ref(of).addr(), mark);
        let mut kinds = self.kinds();
        let Kinds { table, others, waiting } = &mut *kinds;
        if table.find(&key).is_none() {
            let reader = read();
            let kind = Kind::new(*of.level(), reader.message.0, reader.fields);
            table.insert(key, kind, |old| old.left_out == 0 && old.ends <= now);
        }
        let verdict = table.find(&key).unwrap_or(others).judge(now);
        if verdict == Verdict::First {
            *waiting += 1;
        }
        if verdict != Verdict::Write {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
        verdict
    }

    /// Counts that are due, [`MAX_TOLD`] of them at most, and when the next one is (ns): not later than `now` where more
    /// were due than that. For a request to tell everything, whose number is `asked`, each of them is due once.
    pub(super) fn report(&self, now: u64, asked: Option<u64>) -> (Vec<LeftOut>, Option<u64>) {
        let mut kinds = self.kinds();
        if kinds.waiting == 0 {
            return (Vec::new(), None);
        }
        let Kinds { table, others, waiting } = &mut *kinds;
        let (mut told, mut next) = (Vec::new(), None);
        let counting = table.values_mut().chain([others]).filter(|kind| kind.left_out > 0);
        for kind in counting {
            let due = match asked {
                Some(asked) if asked == kind.told_for => continue,
                Some(_) => now,
                None => kind.due,
            };
            if due > now || told.len() >= MAX_TOLD {
                next = Some(next.unwrap_or(due).min(due));
                continue;
            }
            kind.told_for = asked.unwrap_or(kind.told_for);
            told.push(kind.take());
            *waiting = waiting.saturating_sub(1);
        }
        (told, next)
    }

    /// Lines that were counted and not written, in all.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "each change is one step: what is there is whole after a panic, too"
    )]
    fn kinds(&self) -> MutexGuard<'_, Kinds> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kind {
    fn new(level: Level, line: String, fields: Fields) -> Self {
        Self { level, line, fields, ends: 0, written: 0, left_out: 0, due: 0, told_for: 0 }
    }

    fn judge(&mut self, now: u64) -> Verdict {
        if self.ends <= now {
            let window = u64::try_from(WINDOW.as_nanos()).unwrap_or(u64::MAX);
            (self.ends, self.written) = (now.saturating_add(window), 0);
        }
        if self.written < FEW {
            self.written += 1;
            return Verdict::Write;
        }
        self.left_out += 1;
        if self.left_out > 1 {
            return Verdict::Count;
        }
        self.due = self.ends;
        Verdict::First
    }

    fn take(&mut self) -> LeftOut {
        let suppressed = std::mem::take(&mut self.left_out);
        let (line, fields) = (self.line.clone(), self.fields.clone());
        LeftOut { level: self.level, line, fields, suppressed }
    }
}

impl LeftOut {
    /// Logs it, under the level of the lines themselves.
    pub(super) fn log(&self) {
        macro_rules! log {
            ($level:ident) => {{
                let [
                    code, reason, subject, authority, service, actor, task, chore, route, location,
                    what, library,
                ] = self.fields.each_ref().map(Option::as_deref);
                let (suppressed, line) = (self.suppressed, &*self.line);
                tracing::$level!(
                    target: TARGET,
                    suppressed, line, code, reason, subject, authority, service, actor, task, chore,
                    route, location, what, library,
                    "more lines of one kind come than are written: the others are counted"
                );
            }};
        }
        match self.level {
            Level::ERROR => log!(error),
            Level::WARN => log!(warn),
            _ => log!(info),
        }
    }
}

fn place_of(field: &Field) -> Option<usize> {
    KIND_FIELDS.iter().position(|name| *name == field.name())
}

impl Visit for Mark {
    fn record_str(&mut self, field: &Field, value: &str) {
        if let Some(place) = place_of(field) {
            (place, value).hash(&mut self.0);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}

impl Visit for Reader {
    fn record_str(&mut self, field: &Field, value: &str) {
        if let Some(place) = place_of(field).and_then(|place| self.fields.get_mut(place)) {
            *place = Some(start_of(value, MAX_WORD).to_owned());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            // Ends when it has enough.
            let _ = write!(self.message, "{value:?}");
        }
    }
}

impl Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let start = start_of(text, MAX_MESSAGE.saturating_sub(self.0.len()));
        self.0.push_str(start);
        if start.len() < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

/// As many characters of `text` as `max` bytes hold.
fn start_of(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
