//! What a statement's text says of it: whether it reads or writes, and what it is called in a trace and in the
//! metrics, by what it does and to which table: `SELECT users`.
//!
//! Whatever runs a statement keeps a [`Watch`] meanwhile. Of a statement only that summary leaves;
//! neither its text nor its values.

use std::io::ErrorKind;
use std::sync::LazyLock;
use std::time::Duration;

use latchkey_runtime::metrics::Handles;
use latchkey_runtime::trace::{KeyValue, Span, SpanKind};
use metrics::{Histogram, counter, histogram};
use sqlx::SqlStr;
use tokio::time::Instant;

/// How a statement begins that only reads.
pub(crate) const READS: &str = "SELECT";
/// How a statement begins that reads or sets what belongs to the connection or the file.
const SETTINGS: &str = "PRAGMA";
/// What a statement is called that is not read well enough to be named.
const OTHER: &str = "OTHER";

/// The histogram of each statement. Static because the `metrics` facade behind it is.
static DURATIONS: LazyLock<Handles<String, Known>> = LazyLock::new(Handles::new);

/// What is remembered of a statement's text.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// `SELECT users`
    pub(crate) summary: &'static str,
    duration: Histogram,
}

/// One statement under way.
pub(crate) struct Watch {
    duration: Histogram,
    span: Span,
    begun: Instant,
}

/// Whether a statement writes rows.
pub(crate) fn writes(sql: &str) -> bool {
    !sql.starts_with(READS) && !sql.starts_with(SETTINGS)
}

/// A text with a constant or a number in the place of a name, where no parameter can stand.
#[expect(clippy::disallowed_methods, reason = "files of this repository, and constants put in")]
pub(crate) fn safe(text: String) -> SqlStr {
    sqlx::SqlSafeStr::into_sql_str(sqlx::AssertSqlSafe(text))
}

/// What is known of a statement by its text.
pub(crate) fn known(sql: &'static str) -> Known {
    DURATIONS.get(sql, || {
        let summary = summary(sql);
        let duration = histogram!("latchkey_db_statement_duration_seconds", "statement" => summary);
        Known { summary, duration }
    })
}

/// Notes how long a transaction as a whole held its connection.
pub(crate) fn record_transaction(name: &'static str, outcome: &'static str, held: Duration) {
    histogram!("latchkey_db_transaction_duration_seconds", "transaction" => name, "outcome" => outcome)
        .record(held);
}

impl Watch {
    pub(crate) fn begin(known: &Known, system: &'static str) -> Self {
        let summary = known.summary;
        let span = Span::child(SpanKind::Client, || {
            let operation = summary.split(' ').next().unwrap_or(OTHER);
            let attributes = vec![
                KeyValue::new("db.system.name", system.to_ascii_lowercase()),
                KeyValue::new("db.operation.name", operation),
                KeyValue::new("db.query.summary", summary),
            ];
            (summary.into(), attributes)
        });
        Self { duration: known.duration.clone(), span, begun: Instant::now() }
    }

    pub(crate) fn fail(&self, error: &sqlx::Error) {
        self.span.fail(kind(error));
        count(error);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.duration.record(self.begun.elapsed());
    }
}

/// Counts an error of the database, or of the way to it.
pub(crate) fn count(error: &sqlx::Error) {
    counter!("latchkey_db_errors_total", "kind" => kind(error)).increment(1);
}

/// The kind of a database's error, in a word: its text may hold values.
fn kind(error: &sqlx::Error) -> &'static str {
    match error {
        sqlx::Error::Database(error) if error.is_unique_violation() => "unique_violation",
        sqlx::Error::Database(_) => "database",
        sqlx::Error::PoolTimedOut => "pool_timeout",
        sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => "closed",
        sqlx::Error::Io(error) if error.kind() == ErrorKind::TimedOut => "timeout",
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => "connection",
        sqlx::Error::RowNotFound => "row_not_found",
        _ => "other",
    }
}

/// What a statement does, and to which table: its first word, and the word after the first `FROM`,
/// `INTO` or `UPDATE`. What begins or ends a transaction is its own name. Made once for each statement of the program, so it may stay for ever.
fn summary(sql: &str) -> &'static str {
    let verb = sql.split_whitespace().next().unwrap_or_default();
    if ["BEGIN", "COMMIT"].contains(&verb) {
        return if verb == "BEGIN" { "BEGIN" } else { "COMMIT" };
    }
    if verb == "PRAGMA" {
        let name = sql.split(['(', '=']).next().unwrap_or(OTHER).trim_end();
        return Box::leak(name.to_owned().into_boxed_str());
    }
    if !["SELECT", "INSERT", "UPDATE", "DELETE"].contains(&verb) {
        return OTHER;
    }
    let mut words = sql.split_whitespace();
    let table = words.find(|word| ["FROM", "INTO", "UPDATE"].contains(word)).and(words.next());
    let is_name = |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let text = match table.filter(is_name) {
        Some(table) => format!("{verb} {table}"),
        None => verb.to_owned(),
    };
    Box::leak(text.into_boxed_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_named_by_what_it_does_and_to_which_table() {
        for (sql, expected) in [
            ("SELECT 1", "SELECT"),
            ("SELECT id FROM users WHERE username = $1", "SELECT users"),
            ("SELECT EXISTS (SELECT 1 FROM users WHERE a = $1) AS email", "SELECT users"),
            ("INSERT INTO api_keys (id) VALUES ($1)", "INSERT api_keys"),
            ("UPDATE sessions SET ended_at = $2", "UPDATE sessions"),
            ("DELETE FROM sessions WHERE id IN (SELECT id FROM other)", "DELETE sessions"),
            ("SELECT x FROM 'secret'", "SELECT"),
            ("BEGIN IMMEDIATE", "BEGIN"),
            ("COMMIT", "COMMIT"),
            ("PRAGMA wal_checkpoint(PASSIVE)", "PRAGMA wal_checkpoint"),
            ("PRAGMA user_version = 1", "PRAGMA user_version"),
            ("CREATE TABLE users (id INT)", "OTHER"),
            ("", "OTHER"),
        ] {
            assert_eq!(summary(sql), expected, "{sql}");
        }
    }
}
