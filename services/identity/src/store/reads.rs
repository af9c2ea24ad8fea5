//! That somebody read the log: an event, one for each user and hour.

use latchkey_audit::{Action, Event, Target, append};
use latchkey_contract::{Caller, Timestamp, UserId};
use latchkey_store::{Db, StoreError, values};

use super::AUDIT;
use super::session::LOCK_USER;

/// How long no other event is written after one, in milliseconds.
const HOUR: i64 = 3_600 * Timestamp::SECOND;

/// When `$1` read the log, as it was written down last.
pub(super) const LAST: &str = "SELECT at FROM identity_audit_events \
    WHERE target_type = 'audit' AND target_id = $1 ORDER BY id DESC LIMIT 1";

/// Writes down that `user` reads the log, unless that was written down within the hour before. Of several at once, by
/// whichever replica, one does: the user's row decides.
///
/// # Errors
/// [`StoreError`]
pub async fn note(db: &Db, user: UserId, by: &Caller, now: Timestamp) -> Result<(), StoreError> {
    let name = user.to_string();
    if is_noted(db.fetch_first(LAST, values![&name]).await?, now) {
        return Ok(());
    }
    let mut tx = db.begin("note a read of the log").await?;
    tx.execute(LOCK_USER, values![user.0]).await?;
    // Another one may have written it while this one waited.
    if is_noted(tx.fetch_first(LAST, values![&name]).await?, now) {
        return Ok(());
    }
    let event = Event::done(Action::AuditRead, Target::Log(user), now, by);
    append(&mut tx, &AUDIT, &event).await?;
    tx.commit().await
}

/// Whether the hour of the last one lasts; one whose time is further ahead was written before a clock was set back.
fn is_noted(last: Option<(i64,)>, now: Timestamp) -> bool {
    last.is_some_and(|(at,)| now.0.abs_diff(at) < HOUR.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_is_for_an_hour_and_none_for_longer() {
        let now = Timestamp(10 * HOUR);
        assert!(!is_noted(None, now));
        for (at, is) in [
            (now.0, true),
            (now.0 - HOUR + 1, true),
            (now.0 - HOUR, false),
            (now.0 + HOUR - 1, true),
            (now.0 + HOUR, false),
            (i64::MIN, false),
        ] {
            assert_eq!(is_noted(Some((at,)), now), is, "{at}");
        }
    }
}
