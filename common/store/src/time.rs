//! What time it is by the database's own clock, in milliseconds since 1970: for what one replica stamps and another
//! compares, and for nothing else. Replicas' clocks differ; the database has one. This is the one place of it.

/// The time by SQLite's clock, in a statement.
#[macro_export]
macro_rules! now_sqlite {
    () => {
        "CAST(unixepoch('subsec') * 1000 AS BIGINT)"
    };
}

/// The time by the clock of a Postgres server, in a statement: when it is run, and not when its transaction began.
#[macro_export]
macro_rules! now_postgres {
    () => {
        "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"
    };
}
