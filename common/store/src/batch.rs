//! A set of byte strings as one argument: an array on Postgres, a JSON text on SQLite.

use std::fmt::Write;

use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;

use crate::{Db, Watched};

/// A statement whose `$1` is a set of byte strings, written by [`batched!`](crate::batched).
#[derive(Clone, Copy, Debug)]
pub struct Batched {
    /// For SQLite: `$1` is a JSON array of hexadecimal texts.
    pub sqlite: &'static str,
    /// For Postgres: `$1` is a `bytea[]`.
    pub postgres: &'static str,
}

/// `batched!("SELECT … FROM …", "hash")`: the rows whose column is one of the set in `$1`.
#[macro_export]
macro_rules! batched {
    ($select:literal, $column:literal) => {
        $crate::Batched {
            sqlite: concat!(
                $select,
                " WHERE ",
                $column,
                " IN (SELECT unhex(value) FROM json_each($1))"
            ),
            postgres: concat!($select, " WHERE ", $column, " = ANY($1)"),
        }
    };
}

impl Batched {
    /// All rows for `values`, in no particular order.
    ///
    /// # Errors
    /// What the database said instead.
    pub async fn fetch<T>(&self, db: &Db, values: &[&[u8]]) -> Result<Vec<T>, sqlx::Error>
    where
        T: for<'r> sqlx::FromRow<'r, SqliteRow> + for<'r> sqlx::FromRow<'r, PgRow>,
        T: Send + Unpin,
    {
        match db {
            Db::Sqlite(sqlite) => {
                let values = json_of(values);
                sqlx::query_as(self.sqlite)
                    .bind(values)
                    .fetch_all(Watched::new(&sqlite.readers))
                    .await
            }
            Db::Postgres(postgres) => crate::on!(@leased postgres, |at| {
                sqlx::query_as(self.postgres).bind(values).fetch_all(at).await
            }),
        }
    }
}

impl Batched {
    /// The same for a statement with a second set in `$2`.
    ///
    /// # Errors
    /// What the database said instead.
    pub async fn fetch_with<T>(
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
                query.fetch_all(&sqlite.readers).await
            }
            Db::Postgres(postgres) => crate::on!(@leased postgres, |at| {
                sqlx::query_as(self.postgres).bind(values).bind(more).fetch_all(at).await
            }),
        }
    }
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
    }
}
