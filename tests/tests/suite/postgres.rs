//! The throw-away Postgres server of the support library works: the store's tests stand on it.

use sqlx::{Connection, PgConnection};

#[tokio::test]
async fn every_fresh_database_is_empty_and_its_own() {
    let (one, two) = (e2e::postgres::fresh_database().await, e2e::postgres::fresh_database().await);
    assert_ne!(one, two);
    let mut connection = PgConnection::connect(&one).await.unwrap();
    sqlx::query("CREATE TABLE mine (id BIGINT)").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let mut connection = PgConnection::connect(&two).await.unwrap();
    let found = sqlx::query("SELECT 1 FROM pg_tables WHERE tablename = 'mine'")
        .fetch_optional(&mut connection)
        .await
        .unwrap();
    assert!(found.is_none());
}
