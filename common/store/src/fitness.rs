//! Whether a Postgres server can hold what Latchkey writes, asked once before its tables are looked at: is it
//! UTF-8, the primary, and does a connection stay with one session of it?
//!
//! A pooler that gives a session to another client after each transaction (PgBouncer's `transaction` and
//! `statement` modes) is refused. A statement is prepared in one session and run in another, or in one where
//! another client has prepared a different one under its name; the lock under which tables are changed stays
//! with a session that somebody else gets; and the bounds on statements would be theirs, too.

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection, Row, raw_sql};
use tokio::time::timeout;

use crate::Postgres;
use crate::driver::ANSWER_TIMEOUT;
use crate::error::late;

/// In which order two connections ask for the session that serves them. With one session for both, with the
/// one that was used last and with one after the other in turn, some two of the answers contradict that each
/// has a session of its own.
const TURNS: [usize; 10] = [0, 1, 1, 0, 0, 1, 0, 1, 1, 0];
const SESSION: &str = "SELECT pg_backend_pid()";
const SERVER: &str = "SELECT current_setting('server_encoding'), pg_is_in_recovery()";
const ENCODING: &str = "UTF8";

/// Why a server cannot be used, in words for whoever set it up.
const POOLED: &str = "it is behind a pooler that gives each transaction another session (PgBouncer's \
    pool_mode = transaction or statement): set pool_mode = session, or name the server itself";
const STANDBY: &str = "it is a standby: name the primary, of which everything is asked";

/// Looks at the server; `Some` says why it cannot be used.
///
/// # Errors
/// What the database, or the way to it, said instead.
pub(crate) async fn fault(postgres: &Postgres) -> Result<Option<String>, sqlx::Error> {
    let mut connections = [postgres.connect_alone().await?, postgres.connect_alone().await?];
    let looking = timeout(ANSWER_TIMEOUT, look(&mut connections)).await;
    let found = looking.unwrap_or_else(|_late| Err(late()));
    for connection in connections {
        // What was found stands; the server ends a connection that is not closed in good order.
        drop(timeout(ANSWER_TIMEOUT, connection.close()).await);
    }
    found
}

async fn look(connections: &mut [PgConnection; 2]) -> Result<Option<String>, sqlx::Error> {
    if shares_sessions(connections).await? {
        return Ok(Some(POOLED.to_owned()));
    }
    let [connection, _] = connections;
    let row = raw_sql(SERVER).fetch_one(connection).await?;
    let (encoding, standby): (String, bool) = (row.try_get(0)?, row.try_get(1)?);
    if encoding != ENCODING {
        return Ok(Some(format!(
            "its encoding is {encoding}, where names in every script need {ENCODING}: make it anew by \
             CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )));
    }
    Ok(standby.then(|| STANDBY.to_owned()))
}

/// Whether two connections are not served by one session each. Each question is a transaction of its own.
async fn shares_sessions(connections: &mut [PgConnection; 2]) -> Result<bool, sqlx::Error> {
    let mut sessions: [Option<i32>; 2] = [None, None];
    for turn in TURNS {
        let Some(connection) = connections.get_mut(turn) else { continue };
        let row: PgRow = raw_sql(SESSION).fetch_one(connection).await?;
        let session: i32 = row.try_get(0)?;
        let [own, other] = match sessions {
            [one, two] if turn == 0 => [one, two],
            [one, two] => [two, one],
        };
        if other == Some(session) || own.is_some_and(|own| own != session) {
            return Ok(true);
        }
        if let Some(own) = sessions.get_mut(turn) {
            *own = Some(session);
        }
    }
    Ok(false)
}
