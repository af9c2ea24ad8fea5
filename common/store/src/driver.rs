//! What the rest of the crate asks of a kind of database, so that it is written once for both.

use std::future::Future;
use std::time::Duration;

use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Arguments, Database, FromRow, Postgres, Sqlite};

use crate::Value;

/// How long a statement or a transaction of a server may take, with the way there and back. Longer than the
/// server's own bound on a statement, which comes first where the server lives.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(4);

/// A row's type, whichever database the row comes from. `#[derive(FromRow)]` makes it one, and tuples
/// are.
pub trait FromAnyRow:
    for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin
{
}

impl<T> FromAnyRow for T where
    T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin
{
}

/// A kind of database.
pub trait Driver: Database {
    /// Begins a transaction that writes.
    const BEGIN: &'static str;
    /// How long a statement or a transaction may take, if there is a bound.
    const LIMIT: Option<Duration>;

    /// The values as the library takes them.
    ///
    /// # Errors
    /// Where one cannot be written down.
    fn arguments(values: &[Value<'_>]) -> Result<Self::Arguments, sqlx::Error>;

    /// Every row of a statement.
    fn fetch<T: FromAnyRow>(
        connection: &mut Self::Connection,
        sql: &'static str,
        arguments: Self::Arguments,
    ) -> impl Future<Output = Result<Vec<T>, sqlx::Error>> + Send;

    /// How many rows a statement wrote.
    fn execute(
        connection: &mut Self::Connection,
        sql: &'static str,
        arguments: Self::Arguments,
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;

    /// Begins, commits or rolls back. The library does not know of it: what it would do by itself,
    /// at moments of its own, is done here.
    fn control(
        connection: &mut Self::Connection,
        sql: &'static str,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Has the database read a statement, without running it.
    fn prepare(
        connection: &mut Self::Connection,
        sql: &'static str,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

macro_rules! driver {
    ($database:ty, begin: $begin:literal, limit: $limit:expr) => {
        impl Driver for $database {
            const BEGIN: &'static str = $begin;
            const LIMIT: Option<Duration> = $limit;

            fn arguments(values: &[Value<'_>]) -> Result<Self::Arguments, sqlx::Error> {
                let mut arguments = <Self::Arguments>::default();
                for value in values {
                    match *value {
                        Value::Int(value) => arguments.add(value),
                        Value::Text(value) => arguments.add(value),
                        Value::Bytes(value) => arguments.add(value),
                        Value::Bool(value) => arguments.add(value),
                    }
                    .map_err(sqlx::Error::Encode)?;
                }
                Ok(arguments)
            }

            async fn fetch<T: FromAnyRow>(
                connection: &mut Self::Connection,
                sql: &'static str,
                arguments: Self::Arguments,
            ) -> Result<Vec<T>, sqlx::Error> {
                sqlx::query_as_with(sql, arguments).fetch_all(connection).await
            }

            async fn execute(
                connection: &mut Self::Connection,
                sql: &'static str,
                arguments: Self::Arguments,
            ) -> Result<u64, sqlx::Error> {
                let done = sqlx::query_with(sql, arguments).execute(connection).await?;
                Ok(done.rows_affected())
            }

            async fn control(
                connection: &mut Self::Connection,
                sql: &'static str,
            ) -> Result<(), sqlx::Error> {
                sqlx::raw_sql(sql).execute(connection).await.map(drop)
            }

            async fn prepare(
                connection: &mut Self::Connection,
                sql: &'static str,
            ) -> Result<(), sqlx::Error> {
                let sql = sqlx::SqlSafeStr::into_sql_str(sql);
                sqlx::Executor::prepare(connection, sql).await.map(drop)
            }
        }
    };
}

// The write lock is taken at the beginning: one that is taken half-way would ignore the busy timeout.
driver!(Sqlite, begin: "BEGIN IMMEDIATE", limit: None);
driver!(Postgres, begin: "BEGIN", limit: Some(ANSWER_TIMEOUT));
