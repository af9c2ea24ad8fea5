//! Every statement of the service. Its tables are its own: no other service reads them.

pub mod account;
pub mod activity;
pub mod ceiling;
pub mod client;
pub mod era;
pub mod key_sessions;
mod lock;
pub mod names;
pub mod outbox;
pub mod owners;
pub mod password;
pub mod reads;
pub mod refresh;
pub mod session;
pub mod session_list;
pub mod session_open;
pub mod settings;
pub mod signer;
pub mod signing_key;
pub mod throttle;

use latchkey_audit::{AuditSql, ListSql, audit, listing};
use latchkey_authority::changes;
use latchkey_authority::statements::Sql;
use latchkey_contract::Timestamp;
use latchkey_store::{ChoreSql, Engine, Migration, SkipIds, StoreError, Tx, chores, skip_ids};

/// The service's tables, step by step.
pub const MIGRATIONS: &[Migration] = &[
    Migration::new(1, "accounts", include_str!("../../../migrations/identity/0001_accounts.sql")),
    Migration::new(
        2,
        "revocation",
        include_str!("../../../migrations/identity/0002_revocation.sql"),
    ),
    Migration::new(3, "births", include_str!("../../../migrations/identity/0003_births.sql")),
    Migration::new(4, "guessing", include_str!("../../../migrations/identity/0004_guessing.sql")),
    Migration::new(5, "names", include_str!("../../../migrations/identity/0005_names.sql")),
    Migration::new(
        6,
        "password costs",
        include_str!("../../../migrations/identity/0006_password_costs.sql"),
    ),
    Migration::new(7, "signers", include_str!("../../../migrations/identity/0007_signers.sql")),
    Migration::new(
        8,
        "session signers",
        include_str!("../../../migrations/identity/0008_session_signers.sql"),
    ),
    Migration::new(9, "members", include_str!("../../../migrations/identity/0009_members.sql")),
    Migration::new(
        10,
        "deactivated",
        include_str!("../../../migrations/identity/0010_deactivated.sql"),
    ),
    Migration::new(11, "chores", include_str!("../../../migrations/identity/0011_chores.sql")),
    Migration::new(12, "audit", include_str!("../../../migrations/identity/0012_audit.sql")),
    Migration::new(13, "ceilings", include_str!("../../../migrations/identity/0013_ceilings.sql")),
    Migration::new(14, "sessions", include_str!("../../../migrations/identity/0014_sessions.sql")),
    Migration::new(
        15,
        "signing keys",
        include_str!("../../../migrations/identity/0015_signing_keys.sql"),
    ),
];

/// The statements on revisions, invalidations and members.
pub const AUTHORITY: Sql = latchkey_authority::sql!("identity");

/// The statements on the audit log.
pub const AUDIT: AuditSql = audit!("identity");

/// What a user sees of it. Whatever is done to a session of theirs they do, or it is done to them.
pub const LISTING: ListSql = listing!("identity");

/// The statements on the rows of chores.
pub const CHORES: ChoreSql = chores!("identity");

const SKIP_IDS: SkipIds = skip_ids!("users");

/// Every statement, for the test that prepares each on both databases.
#[must_use]
pub fn statements(sqlite: bool) -> Vec<&'static str> {
    let (find, skip_ids, authority) = if sqlite {
        (session::FIND.sqlite, SKIP_IDS.sqlite, AUTHORITY.sqlite)
    } else {
        (session::FIND.postgres, SKIP_IDS.postgres, AUTHORITY.postgres)
    };
    let engine = if sqlite { Engine::Sqlite } else { Engine::Postgres };
    let mut all = authority.all();
    all.extend(CHORES.statements.of(engine).all());
    all.extend(AUDIT.all(engine));
    all.extend(LISTING.all(engine));
    all.push(reads::LAST);
    all.extend([find, skip_ids]);
    all.extend([account::TAKEN, account::INSERT, account::FIND_LOGIN, account::FIND_LOGIN_BY_ID]);
    all.extend([account::STATE, account::NAME, account::STATE_BY_NAME]);
    all.extend([account::RENEW_PASSWORD_HASH, account::FIND_PASSWORD, account::NEXT_COST]);
    all.extend([password::CHANGE, password::ACT, password::SIGNED, activity::SET, activity::LOCK]);
    all.extend([ceiling::SET, ceiling::FIND]);
    all.extend([outbox::PUT, outbox::WAITING, outbox::DELIVERED, owners::TOLD]);
    all.extend([
        session_open::NUMBER,
        session_open::IS_NAMED,
        session_open::INSERT,
        session_open::FIND_MARK,
        session_open::SURPLUS,
        session::LOCK_USER,
    ]);
    all.extend([session_list::PAGE, session_list::NAME, session_list::FIND]);
    let timed = refresh::TIMED.of(engine);
    all.extend([refresh::INSERT, refresh::FIND, refresh::HOLD, refresh::COUNT, refresh::PROLONG]);
    all.extend([timed.rotate, timed.look, refresh::DELETE_EXPIRED]);
    all.extend([session::END_OPEN, session::END, session::SET_REVISION, session::MARK_CONFIRMED]);
    all.extend([session::END_ALL, session::END_THROUGH, session::DELETE_EXPIRED]);
    all.extend([session::PAGE, session::END_PAGE]);
    all.extend([signer::ALL, lock::REVISION, signer::ANY_SESSION, signer::NAME, signer::WITHDRAW]);
    all.extend([signer::LAST, signer::SET_LAST, era::NEXT, era::END_FORMER]);
    all.extend([key_sessions::PAGE, key_sessions::END_PAGE]);
    all.extend(signing_key::all());
    all.extend([settings::READ, settings::SET]);
    all.extend([throttle::FIND, throttle::RESERVE, throttle::FAIL, throttle::SUCCEED]);
    all.extend([throttle::GIVE_BACK, throttle::NOTE, throttle::EXPIRE, throttle::DELETE_OLD]);
    all.extend([names::UNFOLDED, names::HELD, names::SHARE, names::FOLD]);
    all.extend([client::FIND, client::REMEMBER, client::KEEP_LAST, client::DELETE_OLD]);
    all
}

/// Begins another epoch, with the random number `made`, inside a transaction: the database was restored. No account
/// gets a number that one had who is not in the backup: the key service may know keys of theirs.
///
/// # Errors
/// [`StoreError`]
pub async fn new_epoch(tx: &mut Tx, made: i64, now: Timestamp) -> Result<(), StoreError> {
    // The backup may hold sessions and signing keys of which it does not know that they had ended.
    era::begin_next(tx).await?;
    signing_key::revoke_each(tx, 0, now).await?;
    SKIP_IDS.run(tx).await?;
    changes::new_epoch(tx, &AUTHORITY, made).await
}
