//! Sets as arguments: arrays on Postgres, a JSON text on SQLite.

use serde_json::json;
use sqlx::postgres::PgArguments;
use sqlx::{Arguments, Error, Sqlite};

use crate::driver::{Driver, FromAnyRow};
use crate::{Db, StoreError, values};

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
    /// [`StoreError`], as for any statement.
    pub async fn fetch<T>(
        &self,
        db: &Db,
        values: &[&[u8]],
        more: &[&[u8]],
    ) -> Result<Vec<T>, StoreError>
    where
        T: FromAnyRow,
    {
        match db {
            Db::Sqlite(sqlite) => {
                let (values, more) = (json_of(values), json_of(more));
                let arguments = Sqlite::arguments(values![&values, &more]);
                sqlite.readers.fetch(self.sqlite, arguments).await
            }
            Db::Postgres(postgres) => {
                let mut arguments = PgArguments::default();
                arguments.add(values).and_then(|()| arguments.add(more)).map_err(Error::Encode)?;
                postgres.connections.fetch(self.postgres, Ok(arguments)).await
            }
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
    /// Runs the statement, which writes; how many rows.
    ///
    /// # Errors
    /// [`StoreError`], as for any statement.
    pub async fn execute(&self, db: &Db, pairs: &[(i64, i64)]) -> Result<u64, StoreError> {
        match db {
            Db::Sqlite(sqlite) => {
                let pairs = json_of_pairs(pairs);
                sqlite.writer.execute(self.sqlite, Sqlite::arguments(values![&pairs])).await
            }
            Db::Postgres(postgres) => {
                let (a, b): (Vec<i64>, Vec<i64>) = pairs.iter().copied().unzip();
                let mut arguments = PgArguments::default();
                arguments.add(a).and_then(|()| arguments.add(b)).map_err(Error::Encode)?;
                postgres.connections.execute(self.postgres, Ok(arguments)).await
            }
        }
    }
}

fn json_of_pairs(pairs: &[(i64, i64)]) -> String {
    json!(pairs).to_string()
}

fn json_of(values: &[&[u8]]) -> String {
    let texts: Vec<String> = values.iter().map(hex::encode).collect();
    json!(texts).to_string()
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
