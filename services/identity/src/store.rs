//! Every statement of the service. Its tables are its own: no other service reads them.

pub mod account;
pub mod session;
pub mod throttle;

use latchkey_store::Migration;

/// The service's tables, step by step.
pub const MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    description: "accounts",
    sql: include_str!("../../../migrations/identity/0001_accounts.sql"),
}];

/// Every statement, for the test that prepares each on both databases.
#[must_use]
pub fn statements(sqlite: bool) -> Vec<&'static str> {
    let find = if sqlite { session::FIND.sqlite } else { session::FIND.postgres };
    let mut all = vec![find];
    all.extend([account::TAKEN, account::INSERT, account::FIND_LOGIN, account::SET_PASSWORD_HASH]);
    all.extend([session::INSERT, session::END, session::DELETE_EXPIRED]);
    all.extend([throttle::FIND, throttle::COUNT, throttle::FORGET, throttle::DELETE_OLD]);
    all
}
