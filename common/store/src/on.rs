//! Runs one text on whichever database is open.

/// Runs an expression on the open database: `on!(read db, |at| sqlx::query(SQL).fetch_one(at).await)`.
///
/// The expression is compiled once for each kind; `at` is the pool to run it on. `write` takes
/// SQLite's single writing connection, `read` any of its reading ones.
#[macro_export]
macro_rules! on {
    (read $db:expr, |$at:ident| $run:expr) => {
        match $db {
            $crate::Db::Sqlite(sqlite) => {
                let $at = &sqlite.readers;
                $run
            }
            $crate::Db::Postgres(postgres) => {
                let $at = &postgres.pool;
                $run
            }
        }
    };
    (write $db:expr, |$at:ident| $run:expr) => {
        match $db {
            $crate::Db::Sqlite(sqlite) => {
                let $at = &sqlite.writer;
                $run
            }
            $crate::Db::Postgres(postgres) => {
                let $at = &postgres.pool;
                $run
            }
        }
    };
}

/// Runs an expression in one transaction: `transaction!(db, |tx| sqlx::query(SQL).execute(&mut *tx).await?)`.
///
/// The expression's `?` leaves the calling function, and the transaction with it, undone. SQLite takes
/// its write lock at the beginning: a lock taken half-way would ignore the busy timeout.
#[macro_export]
macro_rules! transaction {
    ($db:expr, |$tx:ident| $run:expr) => {
        match $db {
            $crate::Db::Sqlite(sqlite) => {
                let mut $tx = sqlite.writer.begin_with("BEGIN IMMEDIATE").await?;
                let outcome = $run;
                $tx.commit().await?;
                outcome
            }
            $crate::Db::Postgres(postgres) => {
                let mut $tx = postgres.pool.begin().await?;
                let outcome = $run;
                $tx.commit().await?;
                outcome
            }
        }
    };
}
