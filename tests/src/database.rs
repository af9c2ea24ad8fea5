//! A look into a stack's database, whichever engine it is on: for what no route can do or tell.

use std::time::Duration;

use sqlx::{Connection, PgConnection, Row, SqliteConnection};

use crate::poll;

/// What the key service was told that users may grant, once it was. The parameter is none.
const TOLD: &str =
    "SELECT default_ceiling FROM keys_telling WHERE default_ceiling IS NOT NULL AND $1 = ''";
/// Bound on being told.
const SOON: Duration = Duration::from_mins(1);

/// Waits until the key service, whose database this is, was told what users may grant: that is a change of everything.
pub async fn until_told(url: &str) {
    poll::until_async("the default ceiling is told", SOON, async || {
        (!texts(url, TOLD, "").await.is_empty()).then_some(())
    })
    .await;
}

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
