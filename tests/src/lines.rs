//! Log lines: those that this thread logs, for tests that have a part of the system inside, and the one with
//! which a process says that it is ready.

use std::fmt::{self, Write};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Dispatch, Event, Metadata, Subscriber};

/// The lines so far. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Lines(Arc<Mutex<Vec<String>>>);

/// Lines are kept while this lives.
#[derive(Debug)]
pub struct Listening {
    _here: DefaultGuard,
    _second: Dispatch,
}

struct Line(String);

/// A field of the one log line that says that a start is over.
pub fn ready_field(line: &str, name: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    let fields = line.get("fields").unwrap_or(&line);
    if fields.get("message")?.as_str()? != "ready" {
        return None;
    }
    Some(fields.get(name)?.as_str()?.to_owned())
}

impl Lines {
    /// Keeps the lines of this thread, and of tasks that run on it, while the guard lives.
    pub fn listen() -> (Self, Listening) {
        let lines = Self::default();
        // While there is one subscriber only, a thread without one that is the first at a log line switches
        // that line off for all (tracing-core 0.1). Other tests are such threads.
        let second = Dispatch::new(Self::default());
        let here = tracing::subscriber::set_default(lines.clone());
        (lines, Listening { _here: here, _second: second })
    }

    /// Those that contain `part`.
    pub fn with(&self, part: &str) -> Vec<String> {
        let lines = self.0.lock().unwrap();
        lines.iter().filter(|line| line.contains(part)).cloned().collect()
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = write!(self.0, "{field}={value:?} ");
    }
}

impl Subscriber for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
