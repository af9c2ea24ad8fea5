//! A look into a stack's database, whichever engine it is on: for what no route can do or tell.

use sqlx::{Connection, PgConnection, Row, SqliteConnection};

/// Runs a statement with one parameter, `$1`; gives how many rows it changed.
pub async fn execute(url: &str, statement: &'static str, value: &str) -> u64 {
    if url.starts_with("sqlite:") {
        let mut connection = SqliteConnection::connect(url).await.expect("open the database");
        let done = sqlx::query(statement).bind(value).execute(&mut connection).await;
        connection.close().await.expect("close");
        done.expect("run the statement").rows_affected()
    } else {
        let mut connection = PgConnection::connect(url).await.expect("connect to the database");
        let done = sqlx::query(statement).bind(value).execute(&mut connection).await;
        connection.close().await.expect("close");
        done.expect("run the statement").rows_affected()
    }
}

/// Runs a query with one parameter, `$1`; gives the text in the first column of the only row.
pub async fn text(url: &str, query: &'static str, value: &str) -> String {
    if url.starts_with("sqlite:") {
        let mut connection = SqliteConnection::connect(url).await.expect("open the database");
        let row = sqlx::query(query).bind(value).fetch_one(&mut connection).await;
        connection.close().await.expect("close");
        row.expect("one row").get(0)
    } else {
        let mut connection = PgConnection::connect(url).await.expect("connect to the database");
        let row = sqlx::query(query).bind(value).fetch_one(&mut connection).await;
        connection.close().await.expect("close");
        row.expect("one row").get(0)
    }
}

/// Runs a query with one parameter, `$1`; gives the text in the first column of each row.
pub async fn texts(url: &str, query: &'static str, value: &str) -> Vec<String> {
    if url.starts_with("sqlite:") {
        let mut connection = SqliteConnection::connect(url).await.expect("open the database");
        let rows = sqlx::query(query).bind(value).fetch_all(&mut connection).await;
        connection.close().await.expect("close");
        rows.expect("rows").iter().map(|row| row.get(0)).collect()
    } else {
        let mut connection = PgConnection::connect(url).await.expect("connect to the database");
        let rows = sqlx::query(query).bind(value).fetch_all(&mut connection).await;
        connection.close().await.expect("close");
        rows.expect("rows").iter().map(|row| row.get(0)).collect()
    }
}
