//! Sets as arguments: arrays on Postgres, a JSON text on SQLite.

use std::fmt::Write;

use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;

use crate::{Db, Watched};

/// A statement whose `$1` and `$2` are sets of byte strings.
#[derive(Clone, Copy, Debug)]
pub struct Batched {
    /// For SQLite: each is a JSON array of hexadecimal texts.
    pub sqlite: &'static str,
    /// For Postgres: each is a `bytea[]`.
    pub postgres: &'static str,
}

impl Batched {
    /// All rows for `values` and `more`, in no particular order.
    ///
    /// # Errors
    /// What the database said instead.
    pub async fn fetch<T>(
        &self,
        db: &Db,
        values: &[&[u8]],
        more: &[&[u8]],
    ) -> Result<Vec<T>, sqlx::Error>
    where
        T: for<'r> sqlx::FromRow<'r, SqliteRow> + for<'r> sqlx::FromRow<'r, PgRow>,
        T: Send + Unpin,
    {
        match db {
            Db::Sqlite(sqlite) => {
                let (values, more) = (json_of(values), json_of(more));
                let query = sqlx::query_as(self.sqlite).bind(values).bind(more);
                query.fetch_all(Watched::new(&sqlite.readers)).await
            }
            Db::Postgres(postgres) => crate::on!(@leased postgres, |at| {
                sqlx::query_as(self.postgres).bind(values).bind(more).fetch_all(at).await
            }),
        }
    }
}

/// A statement on a set of pairs of numbers, which it reads as the table `pairs (a, b)`.
#[derive(Clone, Copy, Debug)]
pub struct BatchedPairs {
    /// For SQLite: `$1` is a JSON array of arrays of two.
    pub sqlite: &'static str,
    /// For Postgres: `$1` and `$2` are each a `bigint[]`.
    pub postgres: &'static str,
}

/// `batched_pairs!("… FROM ", " WHERE …")`: the statement with the pairs between its parts.
#[macro_export]
macro_rules! batched_pairs {
    ($before:literal, $behind:literal) => {
        $crate::BatchedPairs {
            sqlite: concat!(
                $before,
                "(SELECT value ->> 0 AS a, value ->> 1 AS b FROM json_each($1)) AS pairs",
                $behind
            ),
            postgres: concat!(
                $before,
                "unnest(CAST($1 AS BIGINT[]), CAST($2 AS BIGINT[])) AS pairs (a, b)",
                $behind
            ),
        }
    };
}

impl BatchedPairs {
    /// Runs the statement, which writes.
    ///
    /// # Errors
    /// What the database said instead.
    pub async fn execute(&self, db: &Db, pairs: &[(i64, i64)]) -> Result<(), sqlx::Error> {
        match db {
            Db::Sqlite(sqlite) => {
                let pairs = json_of_pairs(pairs);
                let query = sqlx::query(self.sqlite).bind(pairs);
                query.execute(Watched::new(&sqlite.writer)).await.map(drop)
            }
            Db::Postgres(postgres) => crate::on!(@leased postgres, |at| {
                let (a, b): (Vec<i64>, Vec<i64>) = pairs.iter().copied().unzip();
                sqlx::query(self.postgres).bind(a).bind(b).execute(at).await.map(drop)
            }),
        }
    }
}

fn json_of_pairs(pairs: &[(i64, i64)]) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(a, b)| format!("[{a},{b}]")).collect();
    format!("[{}]", pairs.join(","))
}

fn json_of(values: &[&[u8]]) -> String {
    let bytes: usize = values.iter().map(|value| 2 * value.len() + 3).sum();
    let mut json = String::with_capacity(bytes + 2);
    json.push('[');
    for (index, value) in values.iter().enumerate() {
        json.push_str(if index == 0 { "\"" } else { ",\"" });
        for byte in *value {
            // Writing to a String cannot fail.
            let _ = write!(json, "{byte:02x}");
        }
        json.push('"');
    }
    json.push(']');
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_written_as_json() {
        assert_eq!(json_of(&[]), "[]");
        assert_eq!(json_of(&[&[0, 255], &[], &[16]]), r#"["00ff","","10"]"#);
        assert_eq!(json_of_pairs(&[]), "[]");
        assert_eq!(json_of_pairs(&[(1, -2), (i64::MAX, 4)]), "[[1,-2],[9223372036854775807,4]]");
    }
}
