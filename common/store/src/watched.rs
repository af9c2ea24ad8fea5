//! Every statement in a trace and in the metrics, by what it does and to which table: `SELECT users`.
//!
//! [`on!`](crate::on) puts a [`Watched`] around whatever runs a statement. Of a statement only that
//! summary leaves; neither its text nor its values.

use std::fmt;
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, Stream, StreamExt};
use latchkey_runtime::metrics::Handles;
use latchkey_runtime::trace::{KeyValue, Span, SpanKind};
use metrics::{Histogram, counter, histogram};
use sqlx::{Database, Either, Execute, Executor, SqlStr};
use tokio::time::Instant;

/// What a statement is called that is not read well enough to be named.
const OTHER: &str = "OTHER";

/// The histogram of each statement. Static because the `metrics` facade behind it is.
static DURATIONS: LazyLock<Handles<String, Known>> = LazyLock::new(Handles::new);

/// Runs statements on `E` and watches them.
#[derive(Debug)]
pub struct Watched<E>(E);

/// What is remembered of a statement's text.
#[derive(Clone)]
struct Known {
    /// `SELECT users`
    summary: &'static str,
    duration: Histogram,
}

/// One statement under way.
struct Watch {
    known: Known,
    span: Span,
    begun: Instant,
}

/// A statement's rows, watched to their end.
struct Rows<'e, T> {
    rows: BoxStream<'e, Result<T, sqlx::Error>>,
    watch: Watch,
}

impl<E> Watched<E> {
    /// Watches what is run on `inner`.
    pub fn new(inner: E) -> Self {
        Self(inner)
    }
}

impl<'c, E: Executor<'c>> Executor<'c> for Watched<E> {
    type Database = E::Database;

    fn fetch_many<'e, 'q: 'e, Q>(self, query: Q) -> BoxStream<'e, Step<E::Database>>
    where
        'c: 'e,
        Q: 'q + Execute<'q, Self::Database>,
    {
        let (watch, query) = match opened::<E::Database, Q>(query) {
            Ok(opened) => opened,
            Err(error) => return futures_util::stream::once(async { Err(error) }).boxed(),
        };
        Rows { rows: self.0.fetch_many(query), watch }.boxed()
    }

    fn fetch_optional<'e, 'q: 'e, Q>(
        self,
        query: Q,
    ) -> BoxFuture<'e, Result<Option<<E::Database as Database>::Row>, sqlx::Error>>
    where
        'c: 'e,
        Q: 'q + Execute<'q, Self::Database>,
    {
        let (watch, query) = match opened::<E::Database, Q>(query) {
            Ok(opened) => opened,
            Err(error) => return Box::pin(async { Err(error) }),
        };
        let row = self.0.fetch_optional(query);
        Box::pin(async move {
            let done = row.await;
            if let Err(error) = &done {
                watch.fail(error);
            }
            done
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [<E::Database as Database>::TypeInfo],
    ) -> BoxFuture<'e, Result<<E::Database as Database>::Statement, sqlx::Error>>
    where
        'c: 'e,
    {
        self.0.prepare_with(sql, parameters)
    }

    // A part of the trait while the library's macros are switched on.
    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Described<E::Database>, sqlx::Error>>
    where
        'c: 'e,
    {
        self.0.describe(sql)
    }
}

type Step<DB> = Result<Either<<DB as Database>::QueryResult, <DB as Database>::Row>, sqlx::Error>;
type Described<DB> = sqlx::Describe<DB>;
type Opened<DB> = (SqlStr, Option<<DB as Database>::Arguments>);

/// A query taken apart, so that its text can be read, with its watch begun.
fn opened<'q, DB: Database, Q: Execute<'q, DB>>(
    mut query: Q,
) -> Result<(Watch, Opened<DB>), sqlx::Error> {
    let arguments = query.take_arguments().map_err(sqlx::Error::Encode)?;
    let sql = query.sql();
    Ok((Watch::begin(sql.as_str(), DB::NAME), (sql, arguments)))
}

impl Watch {
    fn begin(sql: &str, system: &'static str) -> Self {
        let known = DURATIONS.get(sql, || {
            let summary = summary(sql);
            let duration =
                histogram!("latchkey_db_statement_duration_seconds", "statement" => summary);
            Known { summary, duration }
        });
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
        Self { known, span, begun: Instant::now() }
    }

    fn fail(&self, error: &sqlx::Error) {
        self.span.fail(kind(error));
        count(error);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.known.duration.record(self.begun.elapsed());
    }
}

impl<T> Stream for Rows<'_, T> {
    type Item = Result<T, sqlx::Error>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let row = self.rows.poll_next_unpin(task);
        if let Poll::Ready(Some(Err(error))) = &row {
            self.watch.fail(error);
        }
        row
    }
}

impl<T> fmt::Debug for Rows<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.watch.known.summary)
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
/// `INTO` or `UPDATE`. Made once for each statement of the program, so it may stay for ever.
fn summary(sql: &str) -> &'static str {
    let verb = sql.split_whitespace().next().unwrap_or_default();
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
            ("CREATE TABLE users (id INT)", "OTHER"),
            ("", "OTHER"),
        ] {
            assert_eq!(summary(sql), expected, "{sql}");
        }
    }
}
