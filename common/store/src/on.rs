//! Runs one text on whichever database is open.

/// Runs an expression on the open database: `on!(read db, |at| sqlx::query(SQL).fetch_one(at).await)`.
///
/// The expression is compiled once for each kind; `at` is where to run it, once. `write` takes
/// SQLite's single writing connection, `read` any of its reading ones. Its value is a
/// `Result<_, sqlx::Error>`, and so is the macro's.
#[macro_export]
macro_rules! on {
    (read $db:expr, |$at:ident| $run:expr) => {
        match $db {
            $crate::Db::Sqlite(sqlite) => {
                let $at = $crate::Watched::new(&sqlite.readers);
                $run
            }
            $crate::Db::Postgres(postgres) => $crate::on!(@leased postgres, |$at| $run),
        }
    };
    (write $db:expr, |$at:ident| $run:expr) => {
        match $db {
            $crate::Db::Sqlite(sqlite) => {
                let $at = $crate::Watched::new(&sqlite.writer);
                $run
            }
            $crate::Db::Postgres(postgres) => $crate::on!(@leased postgres, |$at| $run),
        }
    };
    (@leased $postgres:expr, |$at:ident| $run:expr) => {
        match $postgres.lease().await {
            Ok(mut lease) => {
                let $at = $crate::Watched::new(lease.connection());
                $crate::postgres::in_time(async { $run }).await
            }
            Err(error) => Err(error),
        }
    };
}

/// Runs an expression in one transaction: `transaction!(db, |tx| sqlx::query(SQL).execute(&mut *tx).await?)`.
///
/// The expression's `?` undoes the transaction and is the macro's error. SQLite takes its write lock
/// at the beginning: a lock taken half-way would ignore the busy timeout.
#[macro_export]
macro_rules! transaction {
    ($db:expr, |$tx:ident| $run:expr) => {
        match $db {
            $crate::Db::Sqlite(sqlite) => {
                async {
                    let mut $tx = sqlite.writer.begin_with("BEGIN IMMEDIATE").await?;
                    let outcome = $run;
                    $tx.commit().await?;
                    Ok::<_, $crate::sqlx::Error>(outcome)
                }
                .await
            }
            $crate::Db::Postgres(postgres) => match postgres.lease().await {
                Ok(mut lease) => {
                    $crate::postgres::in_time(async {
                        let connection = lease.connection();
                        let mut $tx = $crate::sqlx::Connection::begin(connection).await?;
                        let outcome = $run;
                        $tx.commit().await?;
                        Ok::<_, $crate::sqlx::Error>(outcome)
                    })
                    .await
                }
                Err(error) => Err(error),
            },
        }
    };
}
