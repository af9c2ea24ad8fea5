//! Why a statement has no answer, and whether it is worth asking again.

use std::io;

use latchkey_contract::Unavailable;
use sqlx::postgres::PgDatabaseError;
use sqlx::sqlite::SqliteError;

/// Classes of Postgres' error codes that pass by themselves: no connection, a transaction that lost a
/// race, no resources, stopped by an operator or a time limit, the system around the server.
const PASSING_CLASSES: [&str; 5] = ["08", "40", "53", "57", "58"];
/// Single codes that do: a lock that somebody holds, a server that is not the first any more or not
/// yet, a transaction that the server gave up waiting for.
const PASSING_CODES: [&str; 5] = ["55P03", "55000", "25006", "25P03", "25P04"];
/// Of these, a transaction that lost a race.
const GIVEN_UP_CLASS: &str = "40";
/// Codes of a server that does not let the service in: no password, no database, no right.
const REFUSING_CODES: [&str; 2] = ["3D000", "42501"];
/// SQLite's codes that pass by themselves: busy, locked, out of memory, read-only, interrupted, an error
/// of input or output, full, cannot be opened, a lock's protocol.
const PASSING_SQLITE: [i32; 9] = [5, 6, 7, 8, 9, 10, 13, 14, 15];
/// SQLite's codes where the disk is full, broken or read-only, and Postgres' for the same.
const NO_ROOM_SQLITE: [i32; 4] = [8, 10, 13, 14];
const NO_ROOM_CODES: [&str; 2] = ["53100", "25006"];
const NO_ROOM_CLASS: &str = "58";
/// SQLite's code where somebody else has the lock.
const BUSY: i32 = 5;
/// Postgres' code where a statement has waited for a lock for as long as it may.
const LOCK_NOT_AVAILABLE: &str = "55P03";
/// How the library calls a connection that was closed before its first answer.
const CLOSED_AT_ONCE: &str = "unexpected response from SSLRequest: 0x00";
/// The lower bits of a SQLite code are the code, those above say more.
const SQLITE_CODE: i32 = 0xff;

/// Why a statement or a transaction has no answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is away, full, locked or overloaded: the same again may be answered later.
    /// `?` makes it [`Failure::Unavailable`](latchkey_contract::Failure).
    #[error("the database is away: {cause}")]
    Away {
        /// What the database, or the way to it, said.
        cause: sqlx::Error,
        /// Says so to whoever turns this into an answer.
        #[source]
        passes: Unavailable,
    },
    /// The connection that writes was not free in time.
    #[error("the writing connection was not free in time: {holder} has held it for {held_ms} ms")]
    Held {
        /// The statement or transaction that has it.
        holder: &'static str,
        /// For how long, in milliseconds.
        held_ms: u64,
        /// Says so to whoever turns this into an answer.
        #[source]
        passes: Unavailable,
    },
    /// The last write found the disk full, broken or read-only.
    #[error("the database takes no writes")]
    NoRoom(#[source] Unavailable),
    /// The tables are for later releases alone. This process can do nothing more.
    #[error("the tables are for later releases alone: this process is of an older one")]
    Superseded(#[source] Unavailable),
    /// The database refused the statement, or answered what cannot be read: the same again is refused
    /// again.
    #[error("the database refused: {0}")]
    Refused(sqlx::Error),
    /// A row is missing, or is not what was written.
    #[error("{0}")]
    Unexpected(&'static str),
    /// A statement of this transaction failed, so that nothing of it holds.
    #[error("the transaction has failed")]
    Failed,
}

impl StoreError {
    /// Whether the same again may be answered later.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(
            self,
            Self::Away { .. } | Self::Held { .. } | Self::NoRoom(_) | Self::Superseded(_)
        )
    }

    /// Whether the database gave up this transaction for the sake of another that wanted the same rows, or had them for too
    /// long, so that nothing of it holds.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        let Self::Away { cause: sqlx::Error::Database(error), .. } = self else { return false };
        error.try_downcast_ref::<PgDatabaseError>().is_some()
            && error
                .code()
                .is_some_and(|code| code.starts_with(GIVEN_UP_CLASS) || code == LOCK_NOT_AVAILABLE)
    }

    /// Whether another row has what must be there once.
    #[must_use]
    pub fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Refused(sqlx::Error::Database(error)) if error.is_unique_violation())
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        // A server that does not let the service in any more may do so again: its operator has to act.
        // Nor is what follows on a connection told by one whose answers cannot be read.
        let is_broken = matches!(error, sqlx::Error::Protocol(_));
        if is_away(&error) || is_refused(&error) || is_broken {
            Self::Away { cause: error, passes: Unavailable }
        } else {
            Self::Refused(error)
        }
    }
}

/// What is said of a server that says nothing in time.
pub(crate) fn late() -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, "the database does not answer"))
}

/// Whether the database may answer if it is asked again.
pub(crate) fn is_away(error: &sqlx::Error) -> bool {
    match error {
        // A connection that breaks off, unlike a certificate that is not accepted.
        sqlx::Error::Io(error) => error.kind() != io::ErrorKind::InvalidData,
        // A proxy before a server that is away takes the connection and closes it: the library reads a
        // zero where the answer to its first question should be.
        sqlx::Error::Protocol(text) => text.contains(CLOSED_AT_ONCE),
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) if is_refused_by_pooler(error.message()) => false,
        sqlx::Error::Database(error) => match error.try_downcast_ref::<SqliteError>() {
            Some(_) => sqlite_code(error.code().as_deref())
                .is_some_and(|code| PASSING_SQLITE.contains(&(code & SQLITE_CODE))),
            None => error.code().is_some_and(|code| {
                PASSING_CLASSES.iter().any(|class| code.starts_with(class))
                    || PASSING_CODES.contains(&&*code)
            }),
        },
        _ => false,
    }
}

/// Whether nothing can be written until somebody makes room.
pub(crate) fn is_no_room(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    match error.try_downcast_ref::<SqliteError>() {
        Some(_) => sqlite_code(error.code().as_deref())
            .is_some_and(|code| NO_ROOM_SQLITE.contains(&(code & SQLITE_CODE))),
        None => error
            .code()
            .is_some_and(|code| NO_ROOM_CODES.contains(&&*code) || code.starts_with(NO_ROOM_CLASS)),
    }
}

/// Whether somebody else has had a lock for longer than a statement waits for it.
pub(crate) fn is_lock_wait_over(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    error.code().is_some_and(|code| code == LOCK_NOT_AVAILABLE)
}

/// Whether somebody else has the lock, so that nothing was done.
pub(crate) fn is_busy(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    error.try_downcast_ref::<SqliteError>().is_some()
        && sqlite_code(error.code().as_deref()).is_some_and(|code| code & SQLITE_CODE == BUSY)
}

fn sqlite_code(text: Option<&str>) -> Option<i32> {
    text?.parse().ok()
}

/// Whether PgBouncer does not take an address. It has one code for all it says, also for a server that is away.
fn is_refused_by_pooler(message: &str) -> bool {
    ["unsupported startup parameter", "no such database", "no such user"]
        .iter()
        .any(|refusal| message.starts_with(refusal))
}

/// Whether the server does not know this user, password or database, or its certificate is not the
/// one that is asked for.
pub(crate) fn is_refused(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() == io::ErrorKind::InvalidData,
        sqlx::Error::Tls(_) | sqlx::Error::Configuration(_) => true,
        sqlx::Error::Database(error) if is_refused_by_pooler(error.message()) => true,
        sqlx::Error::Database(error) => error
            .code()
            .is_some_and(|code| code.starts_with("28") || REFUSING_CODES.contains(&&*code)),
        _ => false,
    }
}
