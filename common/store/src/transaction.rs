//! A transaction as a value: `let mut tx = db.begin("revoke key").await?; tx.execute(…).await?; …;
//! tx.commit().await?`.
//!
//! What is not committed is rolled back, also where its future is dropped half-way. A statement that
//! fails ends the transaction: nothing more is run on it, and it cannot be committed. Some databases
//! would take either for a success.

use std::mem;

use latchkey_runtime::trace::{KeyValue, Span, SpanKind};

use crate::connection::{Connections, Held};
use crate::driver::{Driver, FromAnyRow};
use crate::{Db, Engine, StoreError, Value, statement};

/// A transaction that was begun. What several writers share is a function on `&mut Tx`.
#[derive(Debug)]
#[must_use = "what is not committed is rolled back"]
pub enum Tx {
    /// On SQLite's writing connection.
    Sqlite(Transaction<sqlx::Sqlite>),
    /// On a connection to Postgres.
    Postgres(Transaction<sqlx::Postgres>),
}

/// A transaction on one kind of database.
pub struct Transaction<D: Driver> {
    held: Held<D>,
    span: Span,
    has_failed: bool,
}

impl Db {
    /// Begins a transaction that writes. `name` says in a few words what it does, for traces, metrics
    /// and the log: it is a constant. On SQLite it has the write lock from the beginning.
    ///
    /// # Errors
    /// [`StoreError`], where no connection is free in time or the database is away.
    pub async fn begin(&self, name: &'static str) -> Result<Tx, StoreError> {
        match self {
            Self::Sqlite(sqlite) => Transaction::begin(&sqlite.writer, name).await.map(Tx::Sqlite),
            Self::Postgres(postgres) => {
                Transaction::begin(&postgres.connections, name).await.map(Tx::Postgres)
            }
        }
    }
}

impl Tx {
    /// Which kind of database it is on.
    #[must_use]
    pub fn engine(&self) -> Engine {
        match self {
            Self::Sqlite(_) => Engine::Sqlite,
            Self::Postgres(_) => Engine::Postgres,
        }
    }

    /// Every row of a statement.
    ///
    /// # Errors
    /// [`StoreError`]; the transaction has failed.
    pub async fn fetch<T: FromAnyRow>(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<T>, StoreError> {
        match self {
            Self::Sqlite(on) => on.fetch(sql, values).await,
            Self::Postgres(on) => on.fetch(sql, values).await,
        }
    }

    /// The first row of a statement, if there is one.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    pub async fn fetch_first<T: FromAnyRow>(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Option<T>, StoreError> {
        Ok(self.fetch(sql, values).await?.into_iter().next())
    }

    /// How many rows a statement wrote.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    pub async fn execute(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<u64, StoreError> {
        match self {
            Self::Sqlite(on) => on.execute(sql, values).await,
            Self::Postgres(on) => on.execute(sql, values).await,
        }
    }

    /// Commits what was done.
    ///
    /// # Errors
    /// [`StoreError`]: where the database went away meanwhile, it may be committed all the same.
    pub async fn commit(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(on) => on.commit().await,
            Self::Postgres(on) => on.commit().await,
        }
    }
}

impl<D: Driver> Transaction<D> {
    async fn begin(connections: &Connections<D>, name: &'static str) -> Result<Self, StoreError> {
        let span = Span::child(SpanKind::Internal, || {
            let system = KeyValue::new("db.system.name", D::NAME.to_ascii_lowercase());
            (name.into(), vec![system])
        });
        let begun = async {
            let mut held = connections.hold(name).await?;
            held.begin().await?;
            Ok::<_, StoreError>(held)
        };
        let held = span.run(begun).await.inspect_err(|_error| span.fail("begin"))?;
        Ok(Self { held, span, has_failed: false })
    }

    async fn fetch<T: FromAnyRow>(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<T>, StoreError> {
        let (known, arguments) = (statement::known(sql), self.arguments(values)?);
        let done = self.span.run(self.held.fetch(&known, sql, arguments)).await;
        self.has_failed = done.is_err();
        done
    }

    async fn execute(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<u64, StoreError> {
        let (known, arguments) = (statement::known(sql), self.arguments(values)?);
        let done = self.span.run(self.held.execute(&known, sql, arguments)).await;
        self.has_failed = done.is_err();
        done
    }

    async fn commit(mut self) -> Result<(), StoreError> {
        if self.has_failed {
            return Err(StoreError::Failed);
        }
        self.span.run(self.held.commit()).await.inspect_err(|_error| self.span.fail("commit"))
    }

    fn arguments(&self, values: &[Value<'_>]) -> Result<D::Arguments, StoreError> {
        if self.has_failed {
            return Err(StoreError::Failed);
        }
        Ok(D::arguments(values)?)
    }
}

impl<D: Driver> Drop for Transaction<D> {
    fn drop(&mut self) {
        // What becomes of it is known when its connection is free again.
        self.held.end_with(mem::replace(&mut self.span, Span::none()));
    }
}

impl<D: Driver> std::fmt::Debug for Transaction<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction").field("has_failed", &self.has_failed).finish_non_exhaustive()
    }
}
