//! One connection for one statement or one transaction, and what becomes of it afterwards: it goes back
//! to its pool only where it is certain that nothing is left open on it.

mod lists;
mod release;
mod work;

use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use latchkey_contract::Unavailable;
use latchkey_runtime::trace::{KeyValue, Span};
use metrics::{Counter, Histogram, counter, histogram};
use sqlx::Pool;
use sqlx::pool::PoolConnection;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::driver::{Driver, FromAnyRow};
use crate::release::Release;
use crate::statement::{self, Known};
use crate::writes::Writes;
use crate::{StoreError, error};
use lists::Lists;
use release::{End, release};
use work::{Stage, millis, see_to_its_end};

/// Holding the only connection that writes for longer is told: a request does not wait longer for it.
const LONG_HOLD: Duration = Duration::from_secs(1);
const COMMIT: &str = "COMMIT";

/// The connections of one pool. Clones share them.
pub(crate) struct Connections<D: Driver>(Arc<Shared<D>>);

struct Shared<D: Driver> {
    pool: Pool<D>,
    name: &'static str,
    waits: Histogram,
    discarded: Counter,
    /// What became of the last writes.
    writes: Writes,
    /// Who has the connection, where there is one that everybody waits for.
    holder: Option<Mutex<Option<Holder>>>,
    /// Whether this process may use the tables at all, where others could have taken them.
    release: Option<Arc<Release>>,
    lists: Lists,
}

/// Who has a connection, and since when.
#[derive(Clone, Copy, Debug)]
struct Holder {
    what: &'static str,
    since: Instant,
}

/// A connection in use. When dropped it goes back to the pool, is rolled back first, or is thrown away.
pub(crate) struct Held<D: Driver> {
    connection: Option<PoolConnection<D>>,
    of: Connections<D>,
    holder: Holder,
    /// When the work on it has to be over.
    until: Option<Instant>,
    stage: Stage,
    /// Whether a row was written.
    has_written: bool,
    /// Whether something was sent to the database whose end was not seen.
    is_uncertain: bool,
    /// A list's place among lists, for as long as it has the connection.
    place: Option<OwnedSemaphorePermit>,
    /// The transaction's, which ends when the connection is free again and it is known what became of it.
    span: Span,
}

impl<D: Driver> Connections<D> {
    /// The connections of `pool`, which the metrics call `name`.
    pub(crate) fn new(pool: Pool<D>, name: &'static str) -> Self {
        Self::make(pool, name, None, None)
    }

    /// The same, each of which says of which release this process is.
    pub(crate) fn of_release(pool: Pool<D>, name: &'static str, release: Arc<Release>) -> Self {
        Self::make(pool, name, None, Some(release))
    }

    fn make(
        pool: Pool<D>,
        name: &'static str,
        holder: Option<Mutex<Option<Holder>>>,
        release: Option<Arc<Release>>,
    ) -> Self {
        let waits = histogram!("latchkey_db_pool_wait_seconds", "pool" => name);
        let discarded = counter!("latchkey_db_connections_discarded_total", "pool" => name);
        discarded.increment(0);
        let lists = Lists::among(pool.options().get_max_connections());
        Self(Arc::new(Shared {
            pool,
            name,
            waits,
            discarded,
            writes: Writes::default(),
            holder,
            release,
            lists,
        }))
    }

    /// The same, of which there is one that everybody waits for: who holds it for long is told.
    pub(crate) fn exclusive(pool: Pool<D>, name: &'static str) -> Self {
        Self::make(pool, name, Some(Mutex::default()), None)
    }

    /// The pool.
    pub(crate) fn pool(&self) -> &Pool<D> {
        &self.0.pool
    }

    /// What became of the last writes.
    pub(crate) fn writes(&self) -> &Writes {
        &self.0.writes
    }

    /// A connection for `what`.
    pub(crate) async fn hold(&self, what: &'static str) -> Result<Held<D>, StoreError> {
        self.check_release()?;
        let begun = Instant::now();
        let connection = self.0.pool.acquire().await;
        let since = Instant::now();
        self.0.waits.record(since.duration_since(begun));
        if connection.is_err() {
            // It may have found out just now.
            self.check_release()?;
        }
        let connection = connection.map_err(|error| self.explain(error))?;
        let holder = Holder { what, since };
        if let Some(place) = &self.0.holder {
            #[expect(clippy::disallowed_methods, reason = "each change is one assignment")]
            let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
            *place = Some(holder);
        }
        Ok(Held {
            connection: Some(connection),
            of: self.clone(),
            holder,
            until: D::LIMIT.map(|limit| since + limit),
            stage: Stage::Statement,
            has_written: false,
            is_uncertain: false,
            place: None,
            span: Span::none(),
        })
    }

    /// A connection for a list. However many there are, they leave connections for everything else.
    async fn hold_for_list(&self, what: &'static str) -> Result<Held<D>, StoreError> {
        let patience = self.0.pool.options().get_acquire_timeout();
        let place = self.0.lists.place(patience).await;
        let place = place.ok_or_else(|| self.explain(sqlx::Error::PoolTimedOut))?;
        let mut held = self.hold(what).await?;
        held.place = Some(place);
        Ok(held)
    }

    /// Whether this process may use the tables still.
    fn check_release(&self) -> Result<(), StoreError> {
        if self.0.release.as_ref().is_some_and(|release| release.is_superseded()) {
            return Err(StoreError::Superseded(Unavailable));
        }
        Ok(())
    }

    /// Every row of a statement, on a connection of its own.
    pub(crate) async fn fetch<T: FromAnyRow>(
        &self,
        sql: &'static str,
        arguments: Result<D::Arguments, sqlx::Error>,
    ) -> Result<Vec<T>, StoreError> {
        let (known, arguments) = (statement::known(sql), arguments?);
        self.hold(known.summary).await?.fetch(&known, sql, arguments).await
    }

    /// Every row of a list, on a connection of its own.
    pub(crate) async fn list<T: FromAnyRow>(
        &self,
        sql: &'static str,
        arguments: Result<D::Arguments, sqlx::Error>,
    ) -> Result<Vec<T>, StoreError> {
        let (known, arguments) = (statement::known(sql), arguments?);
        self.hold_for_list(known.summary).await?.fetch(&known, sql, arguments).await
    }

    /// How many rows a statement wrote, on a connection of its own.
    pub(crate) async fn execute(
        &self,
        sql: &'static str,
        arguments: Result<D::Arguments, sqlx::Error>,
    ) -> Result<u64, StoreError> {
        let (known, arguments) = (statement::known(sql), arguments?);
        self.hold(known.summary).await?.execute(&known, sql, arguments).await
    }

    /// Has the database read a statement.
    pub(crate) async fn prepare(&self, sql: &'static str) -> Result<(), StoreError> {
        let mut connection = self.0.pool.acquire().await?;
        Ok(D::prepare(&mut connection, sql).await?)
    }

    /// Tells what became of a connection; what of its transaction, if it was one's, is given back.
    #[expect(clippy::disallowed_methods, reason = "each change is one assignment")]
    fn report(
        &self,
        Holder { what: holder, since }: Holder,
        stage: Stage,
        is_kept: bool,
    ) -> Option<&'static str> {
        let held = since.elapsed();
        if let Some(place) = &self.0.holder {
            // The next one may have it already.
            place
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take_if(|present| present.since == since);
        }
        if !is_kept {
            self.0.discarded.increment(1);
            let pool = self.0.name;
            tracing::warn!(
                pool,
                holder,
                "a database connection is closed because it is not known what is left open on it"
            );
        }
        let outcome = match (stage, is_kept) {
            (Stage::Statement, _) => None,
            (Stage::Committed, _) => Some("committed"),
            (Stage::Open, true) => Some("rolled_back"),
            (Stage::Open, false) => Some("discarded"),
        };
        if let Some(outcome) = outcome {
            statement::record_transaction(holder, outcome, held);
        }
        if self.0.holder.is_some() && held >= LONG_HOLD {
            let held_ms = millis(held);
            tracing::warn!(
                holder,
                held_ms,
                "the writing connection was held for more than a second"
            );
        }
        outcome
    }

    fn explain(&self, error: sqlx::Error) -> StoreError {
        statement::count(&error);
        let holder = self.0.holder.as_ref();
        #[expect(clippy::disallowed_methods, reason = "each change is one assignment")]
        let holder = holder.and_then(|it| *it.lock().unwrap_or_else(PoisonError::into_inner));
        match (error, holder) {
            (sqlx::Error::PoolTimedOut, Some(Holder { what, since })) => StoreError::Held {
                holder: what,
                held_ms: millis(since.elapsed()),
                passes: Unavailable,
            },
            (error, _) => error.into(),
        }
    }
}

impl<D: Driver> Clone for Connections<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<D: Driver> fmt::Debug for Connections<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connections").field(&self.0.name).finish()
    }
}

impl<D: Driver> Held<D> {
    /// Every row of a statement.
    pub(crate) async fn fetch<T: FromAnyRow>(
        &mut self,
        known: &Known,
        sql: &'static str,
        arguments: D::Arguments,
    ) -> Result<Vec<T>, StoreError> {
        let Self { connection, is_uncertain, until, .. } = self;
        let connection = connection.as_mut().ok_or(StoreError::Failed)?;
        let work = D::fetch(connection, sql, arguments);
        let done = see_to_its_end(is_uncertain, *until, (known, D::NAME), work).await;
        self.note(done.as_ref().map(|rows| statement::writes(sql) && !rows.is_empty()));
        done
    }

    /// How many rows a statement wrote.
    pub(crate) async fn execute(
        &mut self,
        known: &Known,
        sql: &'static str,
        arguments: D::Arguments,
    ) -> Result<u64, StoreError> {
        let Self { connection, is_uncertain, until, .. } = self;
        let connection = connection.as_mut().ok_or(StoreError::Failed)?;
        let work = D::execute(connection, sql, arguments);
        let done = see_to_its_end(is_uncertain, *until, (known, D::NAME), work).await;
        self.note(done.as_ref().map(|rows| statement::writes(sql) && *rows > 0));
        done
    }

    /// Notes what became of a statement: a row is only written when its transaction is over.
    fn note(&mut self, outcome: Result<bool, &StoreError>) {
        match outcome {
            Ok(has_written) => {
                self.has_written |= has_written;
                if self.has_written && self.stage != Stage::Open {
                    self.of.writes().note(Ok(()));
                }
            }
            Err(error) => self.of.writes().note(Err(error)),
        }
    }

    /// From now on `span` is told what becomes of the transaction, and ends with it.
    pub(crate) fn end_with(&mut self, span: Span) {
        self.span = span;
    }

    /// Begins a transaction.
    pub(crate) async fn begin(&mut self) -> Result<(), StoreError> {
        self.stage = Stage::Open;
        let begun = self.control(D::BEGIN).await;
        match &begun {
            Ok(()) => {}
            // Somebody else has the lock, so that nothing was begun.
            Err(StoreError::Away { cause, .. }) if error::is_busy(cause) => {
                self.stage = Stage::Statement;
            }
            Err(_) => self.is_uncertain = true,
        }
        begun
    }

    /// Commits. A commit that failed may have been done or not: the connection is not used again.
    pub(crate) async fn commit(&mut self) -> Result<(), StoreError> {
        let committed = self.control(COMMIT).await;
        match &committed {
            Ok(()) => self.stage = Stage::Committed,
            Err(_) => self.is_uncertain = true,
        }
        self.note(committed.as_ref().map(|()| false));
        committed
    }

    async fn control(&mut self, sql: &'static str) -> Result<(), StoreError> {
        let Self { connection, is_uncertain, until, .. } = self;
        let connection = connection.as_mut().ok_or(StoreError::Failed)?;
        let known = statement::known(sql);
        see_to_its_end(is_uncertain, *until, (&known, D::NAME), D::control(connection, sql)).await
    }

    fn end(&self) -> End {
        match (self.stage, self.is_uncertain) {
            (Stage::Open, true) => End::Discard,
            (Stage::Open, false) => End::RollBack,
            // A single statement that nobody waits for ends by itself: the pool asks the connection
            // for a sign of life first, and that comes behind it.
            (Stage::Statement | Stage::Committed, _) => End::Return,
        }
    }
}

impl<D: Driver> Drop for Held<D> {
    fn drop(&mut self) {
        // Outside the runtime nobody is left to use the pool.
        let Some((connection, runtime)) = self.connection.take().zip(Handle::try_current().ok())
        else {
            return;
        };
        let (end, of, holder, stage) = (self.end(), self.of.clone(), self.holder, self.stage);
        let span = mem::replace(&mut self.span, Span::none());
        let place = self.place.take();
        drop(runtime.spawn(async move {
            let is_kept = release(connection, end).await;
            drop(place);
            if let Some(outcome) = of.report(holder, stage, is_kept) {
                span.set(|| KeyValue::new("latchkey.transaction.outcome", outcome));
            }
        }));
    }
}
