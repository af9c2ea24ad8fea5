//! Numbers of an identity column that are not given again after a restore.

use crate::{StoreError, Tx};

/// A statement that has a table's identity column skip a million numbers: those that were given after the backup
/// may still be known elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct SkipIds {
    /// For SQLite, which keeps the last number in a table.
    pub sqlite: &'static str,
    /// For Postgres, which keeps it in a sequence. It is no part of the transaction.
    pub postgres: &'static str,
}

/// `skip_ids!("users")`: the statement for the column `id` of this table.
#[macro_export]
macro_rules! skip_ids {
    ($table:literal) => {
        $crate::SkipIds {
            sqlite: concat!(
                "UPDATE sqlite_sequence SET seq = seq + 1000000 WHERE name = '",
                $table,
                "'"
            ),
            postgres: concat!(
                "SELECT setval(pg_get_serial_sequence('",
                $table,
                "', 'id'), ",
                "nextval(pg_get_serial_sequence('",
                $table,
                "', 'id')) + 1000000)"
            ),
        }
    };
}

impl SkipIds {
    /// Runs the statement.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn run(&self, tx: &mut Tx) -> Result<(), StoreError> {
        let sql = match tx {
            Tx::Sqlite(_) => self.sqlite,
            Tx::Postgres(_) => self.postgres,
        };
        tx.execute(sql, &[]).await.map(drop)
    }
}
