//! How full the pools are, read when somebody looks.

use latchkey_runtime::metrics::register_gauge;
use metrics::{counter, gauge};
use sqlx::{Database, Pool};

use crate::Db;

impl Db {
    /// Has the database's pools in the metrics from now on.
    pub(crate) fn observe(&self) {
        for kind in ["connection", "timeout", "pool_timeout", "database"] {
            // So that the first one is seen as a rise.
            counter!("latchkey_db_errors_total", "kind" => kind).increment(0);
        }
        match self {
            Self::Sqlite(sqlite) => {
                observe("writer", sqlite.writer.pool().clone());
                observe("readers", sqlite.readers.pool().clone());
                observe("checkpoints", sqlite.checkpoints.pool().clone());
            }
            Self::Postgres(postgres) => observe("postgres", postgres.connections.pool().clone()),
        }
    }
}

fn observe<DB: Database>(name: &'static str, pool: Pool<DB>) {
    gauge!("latchkey_db_pool_limit", "pool" => name)
        .set(f64::from(pool.options().get_max_connections()));
    let idle = gauge!("latchkey_db_pool_connections", "pool" => name, "state" => "idle");
    let used = gauge!("latchkey_db_pool_connections", "pool" => name, "state" => "used");
    register_gauge(format!("pool {name}"), move || {
        let all = pool.size();
        let free = u32::try_from(pool.num_idle()).unwrap_or(all).min(all);
        idle.set(f64::from(free));
        used.set(f64::from(all - free));
    });
}
