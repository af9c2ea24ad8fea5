//! Which releases use a service's tables on a Postgres server, told by the server itself.
//!
//! A release is known by the newest step of the tables that it knows. Every session of a process holds a shared lock
//! with that number, taken when it begins and gone when it ends, and only then looks for the lowest number that
//! may use the tables. Whoever raises the lowest first takes the locks of all lower numbers for itself alone, and keeps them
//! until the new lowest is committed. So either an older session is there, and the lowest is not raised, or
//! there is none: each that comes later finds the new lowest, and is refused. No clock and no message has a part in it,
//! and a process that is stopped or cut off has its sessions for as long as it can use them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{Row, raw_sql};
use tokio::time::{Instant, sleep};

use crate::statement::safe;

/// Sessions that say which release they are of, but not one of those that may stay; of each number how many.
const OLDER: &str = "SELECT locks.objid::bigint AS version, count(*) AS sessions FROM pg_locks AS locks \
    JOIN pg_stat_activity AS activity ON activity.pid = locks.pid AND activity.datid = locks.database \
    WHERE locks.locktype = 'advisory' AND locks.objsubid = 2 AND locks.granted \
    AND activity.datname = current_database() AND locks.pid <> pg_backend_pid() AND ";
/// Sessions of this service's user that say nothing: of a release that does not know how to, or of somebody who has
/// the service's password. A pooler's session that waits for its next client has forgotten everything.
const SILENT: &str = "SELECT COALESCE(activity.application_name, '') AS name, count(*) AS sessions \
    FROM pg_stat_activity AS activity WHERE activity.datname = current_database() \
    AND activity.usename = session_user AND activity.backend_type = 'client backend' \
    AND activity.pid <> pg_backend_pid() \
    AND NOT (activity.state = 'idle' AND activity.query = 'DISCARD ALL') \
    AND NOT EXISTS (SELECT 1 FROM pg_locks AS locks WHERE locks.pid = activity.pid \
        AND locks.locktype = 'advisory' AND locks.objsubid = 2) \
    GROUP BY 1 ORDER BY 1 LIMIT 5";

/// How often those are looked at before they count, and the pause between: a connection that was closed, also this process'
/// own, is there for a moment more, and a new one does not begin by saying what it knows.
const LOOKS: usize = 20;
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// What this process knows of the tables of its services: what each of its sessions says of itself.
#[derive(Debug, Default)]
pub(crate) struct Release {
    known: Mutex<Known>,
    is_superseded: AtomicBool,
}

#[derive(Debug, Default)]
struct Known {
    /// The newest step of each service.
    versions: BTreeMap<&'static str, i64>,
    since: Option<Instant>,
}

impl Release {
    /// From now on this process uses the tables of `service`, of which it knows the steps up to `version`. Whether it
    /// did not say so yet.
    pub(crate) fn uses(&self, service: &'static str, version: i64) -> bool {
        let now = Instant::now();
        #[expect(
            clippy::disallowed_methods,
            reason = "nothing panics between the two steps of a change"
        )]
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = known.versions.insert(service, version) != Some(version);
        if is_new {
            known.since = Some(now);
        }
        is_new
    }

    /// Whether a session that began so long ago has said everything. Tables are prepared before anybody asks them
    /// anything, so that nothing is under way on one that has not.
    pub(crate) fn was_told_by(&self, age: Duration) -> bool {
        #[expect(
            clippy::disallowed_methods,
            reason = "nothing panics between the two steps of a change"
        )]
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.since.is_none_or(|since| age <= since.elapsed())
    }

    /// Says on a new session what this process knows, and finds out whether that is still enough.
    pub(crate) async fn tell(&self, session: &mut PgConnection) -> Result<(), sqlx::Error> {
        for (service, version) in self.versions() {
            share(session, service, version).await?;
            // A statement of its own: it must see what was committed before the lock was given.
            let row = raw_sql(safe(lowest_text(service))).fetch_one(&mut *session).await?;
            let lowest: i64 = row.try_get(0)?;
            if version < lowest {
                if !self.is_superseded.swap(true, Ordering::AcqRel) {
                    tracing::error!(
                        service,
                        lowest,
                        known = version,
                        "the tables are for later releases alone since `migrate --finish`: this process answers nothing \
                         more and is not ready. Run the release of the others"
                    );
                }
                return Err(sqlx::Error::Configuration("superseded by a later release".into()));
            }
        }
        Ok(())
    }

    /// Whether the tables are not for this process any more. They never are again.
    pub(crate) fn is_superseded(&self) -> bool {
        self.is_superseded.load(Ordering::Acquire)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "nothing panics between the two steps of a change"
    )]
    fn versions(&self) -> BTreeMap<&'static str, i64> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).versions.clone()
    }
}

/// Says on a session that it is of a release which knows the steps of `service` up to `version`. While somebody raises
/// the lowest above that, it waits.
pub(crate) async fn share(
    session: &mut PgConnection,
    service: &str,
    version: i64,
) -> Result<(), sqlx::Error> {
    let class = class(service);
    let text = format!("SELECT pg_advisory_lock_shared({class}, {version}::int)");
    raw_sql(safe(text)).execute(session).await.map(drop)
}

/// Keeps every release that knows less than `lowest` out of the tables of `service`, until this session ends. `Some` says
/// who is still there: then nothing holds.
pub(crate) async fn keep_out_older(
    session: &mut PgConnection,
    service: &str,
    lowest: i64,
) -> Result<Option<String>, sqlx::Error> {
    let class = class(service);
    let text = format!(
        "SELECT count(*) FROM generate_series(0, {lowest}::int - 1) AS version \
         WHERE NOT pg_try_advisory_lock({class}, version)"
    );
    let refused: i64 = raw_sql(safe(text)).fetch_one(&mut *session).await?.try_get(0)?;
    let older = older(session, class, lowest).await?;
    if refused > 0 || !older.is_empty() {
        let ending = || "a connection that ends, or another that does this".to_owned();
        return Ok(Some(if older.is_empty() { ending() } else { older }));
    }
    for look in 1.. {
        let silent = silent(session).await?;
        if silent.is_empty() {
            break;
        }
        if look == LOOKS {
            return Ok(Some(silent));
        }
        sleep(BETWEEN_LOOKS).await;
    }
    Ok(None)
}

/// Reads the lowest version that may use the tables.
fn lowest_text(service: &str) -> String {
    format!("SELECT lowest FROM {service}_schema WHERE id = 1")
}

/// Those that say that they know less than `lowest`.
async fn older(session: &mut PgConnection, class: i32, lowest: i64) -> Result<String, sqlx::Error> {
    let older = format!(
        "{OLDER} locks.classid::bigint = {class} AND locks.objid::bigint < {lowest} GROUP BY 1 ORDER BY 1"
    );
    let mut who = Vec::new();
    for row in raw_sql(safe(older)).fetch_all(session).await? {
        let (version, sessions): (i64, i64) = (row.try_get("version")?, row.try_get("sessions")?);
        who.push(format!("a release that knows step {version} ({sessions} connections)"));
    }
    Ok(who.join(", "))
}

/// Those that say nothing.
async fn silent(session: &mut PgConnection) -> Result<String, sqlx::Error> {
    let mut who = Vec::new();
    for row in raw_sql(SILENT).fetch_all(session).await? {
        let (name, sessions): (String, i64) = (row.try_get("name")?, row.try_get("sessions")?);
        who.push(format!("{name:?}, which does not say what it knows ({sessions} connections)"));
    }
    Ok(who.join(", "))
}

/// The first half of the lock's number, by the service's name (FNV-1a): the second is a step's version.
fn class(service: &str) -> i32 {
    let hash = service
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    i32::try_from(hash >> 1).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_have_locks_of_their_own() {
        assert_ne!(class("identity"), class("keys"));
        assert!(class("identity") > 0 && class("keys") > 0);
    }

    #[test]
    fn a_session_from_before_says_too_little() {
        let (release, before, now) = (Release::default(), Duration::from_hours(1), Duration::ZERO);
        assert!(release.was_told_by(before));
        assert!(release.uses("identity", 9));
        assert!(!release.uses("identity", 9), "nothing is another");
        assert!(!release.was_told_by(before) && release.was_told_by(now));
    }
}
