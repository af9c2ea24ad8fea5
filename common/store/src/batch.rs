//! Sets of byte strings as arguments: an array on Postgres, a JSON text on SQLite.

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
