//! The lines of a traced request carry the id of its trace, whoever logs them. No span is seen by the log for that:
//! the id is taken from where the tracer keeps the current one.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::trace::Parent;

/// How each JSON line ends.
const END: &str = "}\n";

/// Lines of JSON that have the id as a member.
#[derive(Debug)]
pub(super) struct Traced<F>(pub(super) F);

/// Fields for people, behind which it stands.
#[derive(Debug, Default)]
pub(super) struct TracedFields(DefaultFields);

impl<S, N, F> FormatEvent<S, N> for Traced<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(trace) = Parent::current_trace_id() else {
            return self.0.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        match line.strip_suffix(END) {
            Some(open) => write!(writer, "{open},\"trace_id\":\"{trace}\"{END}"),
            None => writer.write_str(&line),
        }
    }
}

impl<'writer> FormatFields<'writer> for TracedFields {
    fn format_fields<R: RecordFields>(
        &self,
        mut writer: Writer<'writer>,
        fields: R,
    ) -> fmt::Result {
        let trace = Parent::current_trace_id();
        let Some(trace) = trace else { return self.0.format_fields(writer, fields) };
        let mut text = String::new();
        self.0.format_fields(Writer::new(&mut text), fields)?;
        write!(writer, "{text} trace_id={trace}")
    }
}
