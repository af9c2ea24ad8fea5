//! Every statement of the service. Its tables are its own: no other service reads them.

pub mod account;
pub mod session;
pub mod throttle;

use latchkey_authority::statements::Sql;
use latchkey_store::Migration;

/// The service's tables, step by step.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        description: "accounts",
        sql: include_str!("../../../migrations/identity/0001_accounts.sql"),
    },
    Migration {
        version: 2,
        description: "revocation",
        sql: include_str!("../../../migrations/identity/0002_revocation.sql"),
    },
];

/// The statements on positions, invalidations and members.
pub const AUTHORITY: Sql = latchkey_authority::sql!("identity");

/// Every statement, for the test that prepares each on both databases.
#[must_use]
pub fn statements(sqlite: bool) -> Vec<&'static str> {
    let (find, authority) = if sqlite {
        (session::FIND.sqlite, AUTHORITY.sqlite)
    } else {
        (session::FIND.postgres, AUTHORITY.postgres)
    };
    let mut all = authority.all();
    all.push(find);
    all.extend([account::SET_ACTIVE, account::FIND_PASSWORD, account::CHANGE_PASSWORD]);
    all.extend([session::PLACE, session::SETTLE, session::END_ALL]);
    all.extend([account::TAKEN, account::INSERT, account::FIND_LOGIN, account::SET_PASSWORD_HASH]);
    all.extend([session::INSERT, session::END, session::DELETE_EXPIRED]);
    all.extend([throttle::FIND, throttle::COUNT, throttle::FORGET, throttle::DELETE_OLD]);
    all
}
