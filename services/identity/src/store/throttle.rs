//! The rows of `login_failures`: budgets of tries at a password. What decides is one statement each, so
//! that the bounds hold whatever runs at the same time, in whichever replica.

use latchkey_audit::{Event, append};
use latchkey_contract::{CredentialHash, Timestamp};
use latchkey_store::{Db, StoreError, values};
use sqlx::FromRow;

use super::AUDIT;

/// When the next try is looked at, where none is under way. The first ten failures cost nothing; then
/// waits double from a second to a quarter of an hour; from the hundredth on it is a day
/// (NIST SP 800-63B-4 §3.2.2: no more than 100 consecutive failures).
macro_rules! free_at {
    () => {
        "CASE WHEN login_failures.failures < 10 THEN 0 \
            WHEN login_failures.failures < 20 THEN login_failures.last_failure_at \
                + 1000 * (1 << CAST(login_failures.failures - 10 AS INTEGER)) \
            WHEN login_failures.failures < 100 THEN login_failures.last_failure_at + 900000 \
            ELSE login_failures.last_failure_at + 86400000 END"
    };
}

/// Takes what was reserved in this round out of those under way.
macro_rules! one_less_in_flight {
    ($round:literal) => {
        concat!(
            "in_flight = login_failures.in_flight - CASE WHEN login_failures.round = ",
            $round,
            " AND login_failures.in_flight > 0 THEN 1 ELSE 0 END"
        )
    };
}

pub(super) const FIND: &str = concat!(
    "SELECT failures, in_flight, reserved_at, ",
    free_at!(),
    " AS free_at FROM login_failures WHERE name_hash = $1"
);
pub(super) const RESERVE: &str = concat!(
    "INSERT INTO login_failures \
        (name_hash, failures, last_failure_at, in_flight, reserved_at, round) \
        VALUES ($1, 0, 0, 1, $2, $2) ON CONFLICT (name_hash) DO UPDATE SET \
        in_flight = login_failures.in_flight + 1, reserved_at = $2 \
        WHERE login_failures.failures + login_failures.in_flight < 10 \
        OR (login_failures.in_flight = 0 AND ",
    free_at!(),
    " <= $2) RETURNING round"
);
pub(super) const FAIL: &str = concat!(
    "INSERT INTO login_failures \
        (name_hash, failures, last_failure_at, in_flight, reserved_at, round) \
        VALUES ($1, 1, $2, 0, $2, $2) ON CONFLICT (name_hash) DO UPDATE SET \
        failures = login_failures.failures + 1, last_failure_at = $2, ",
    one_less_in_flight!("$3")
);
pub(super) const SUCCEED: &str = concat!(
    "UPDATE login_failures SET failures = 0, ",
    one_less_in_flight!("$2"),
    " WHERE name_hash = $1"
);
pub(super) const GIVE_BACK: &str =
    concat!("UPDATE login_failures SET ", one_less_in_flight!("$2"), " WHERE name_hash = $1");
pub(super) const EXPIRE: &str = "UPDATE login_failures SET failures = failures + in_flight, \
    in_flight = 0, round = round + 1, last_failure_at = \
    CASE WHEN reserved_at > last_failure_at THEN reserved_at ELSE last_failure_at END \
    WHERE name_hash = $1 AND in_flight > 0 AND reserved_at <= $2";
pub(super) const DELETE_OLD: &str = "DELETE FROM login_failures WHERE name_hash IN \
    (SELECT name_hash FROM login_failures WHERE reserved_at < $1 AND last_failure_at < $1 \
    AND (failures < 100 OR last_failure_at < $2) LIMIT $3)";

/// Notes that a message was refused, by its hash: a row of no budget, which is forgotten like one.
pub(super) const NOTE: &str = "INSERT INTO login_failures \
    (name_hash, failures, last_failure_at, in_flight, reserved_at, round) \
    VALUES ($1, 0, $2, 0, $2, $2) ON CONFLICT (name_hash) DO NOTHING";

/// Failures that cost nothing yet; tries under way count among them.
pub const FREE: i64 = 10;

/// A budget of tries at a password.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromRow)]
pub struct Budget {
    /// How often a try failed since the last success.
    pub failures: i64,
    /// How many tries are under way.
    pub in_flight: i64,
    /// When the last one began, in milliseconds since 1970.
    pub reserved_at: i64,
    /// From when on the next one is looked at, where none is under way; in milliseconds since 1970.
    pub free_at: i64,
}

/// The budget of this name, if anything of it is spent.
///
/// # Errors
/// [`StoreError`]
pub async fn find(db: &Db, budget: &CredentialHash) -> Result<Option<Budget>, StoreError> {
    db.fetch_first(FIND, values![&budget.0]).await
}

/// Takes one try out of the budget and gives the round it was taken in; `None` where there is none left
/// now.
///
/// # Errors
/// [`StoreError`]
pub async fn reserve(
    db: &Db,
    budget: &CredentialHash,
    now: Timestamp,
) -> Result<Option<i64>, StoreError> {
    let taken: Option<(i64,)> = db.fetch_first(RESERVE, values![&budget.0, now.0]).await?;
    Ok(taken.map(|(round,)| round))
}

/// How a try ends that nobody is let in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It counts as a failure.
    Failed,
    /// As if it had not been.
    GivenBack,
}

/// Ends the try of this round, together with the event of its refusal. Where there are no limits it has no round. A
/// `message` that comes twice is one try, and one event.
///
/// # Errors
/// [`StoreError`]
pub async fn refuse(
    db: &Db,
    held: Option<(&CredentialHash, i64)>,
    end: End,
    message: Option<&CredentialHash>,
    event: &Event<'_>,
) -> Result<(), StoreError> {
    let mut tx = db.begin("refuse a password").await?;
    let is_first = match message {
        Some(hash) => tx.execute(NOTE, values![&hash.0, event.at.0]).await? > 0,
        None => true,
    };
    if let Some((budget, round)) = held {
        match if is_first { end } else { End::GivenBack } {
            End::Failed => tx.execute(FAIL, values![&budget.0, event.at.0, round]).await?,
            End::GivenBack => tx.execute(GIVE_BACK, values![&budget.0, round]).await?,
        };
    }
    if is_first {
        append(&mut tx, &AUDIT, event).await?;
    }
    tx.commit().await
}

/// Ends the try of this round and forgets the failures before it.
///
/// # Errors
/// [`StoreError`]
pub async fn succeed(db: &Db, budget: &CredentialHash, round: i64) -> Result<(), StoreError> {
    db.execute(SUCCEED, values![&budget.0, round]).await.map(drop)
}

/// Ends the try of this round as if it had not been.
///
/// # Errors
/// [`StoreError`]
pub async fn give_back(db: &Db, budget: &CredentialHash, round: i64) -> Result<(), StoreError> {
    db.execute(GIVE_BACK, values![&budget.0, round]).await.map(drop)
}

/// Counts tries as failures that are still under way where none began after `before`: whoever made them
/// has gone.
///
/// # Errors
/// [`StoreError`]
pub async fn expire(db: &Db, budget: &CredentialHash, before: Timestamp) -> Result<(), StoreError> {
    db.execute(EXPIRE, values![&budget.0, before.0]).await.map(drop)
}

/// Deletes at most `max` budgets of which nothing was spent since `before`, and where the hundred are
/// reached, since `blocked_before`; how many there were.
///
/// # Errors
/// [`StoreError`]
pub async fn delete_old(
    db: &Db,
    before: Timestamp,
    blocked_before: Timestamp,
    max: i64,
) -> Result<u64, StoreError> {
    db.execute(DELETE_OLD, values![before.0, blocked_before.0, max]).await
}
