//! Deactivating and reactivating accounts, with what the key service has to be told of it.

use latchkey_audit::{Action, Event, Target, append};
use latchkey_authority::{Change, append_invalidation};
use latchkey_contract::identity::SetActive;
use latchkey_contract::keys::SetOwner;
use latchkey_contract::lease::Tag;
use latchkey_contract::{Caller, Timestamp};
use latchkey_store::{Db, StoreError, values};
use sqlx::FromRow;

use super::outbox::{self, Letter};
use super::session::{END_ALL, NO_SESSION};
use super::settings::scopes;
use super::{AUDIT, AUTHORITY};

/// One UPDATE decides: nothing newer came, or it is the same command once more, which raises nothing.
pub(super) const SET: &str = "UPDATE users SET is_active = $2, \
    version = version + CASE WHEN active_mark = $4 THEN 0 ELSE 1 END, \
    active_version = active_version + CASE WHEN active_mark = $4 THEN 0 ELSE 1 END, \
    active_mark = $4 WHERE id = $1 AND (active_version = $3 OR active_mark = $4) RETURNING id";
/// Nobody else changes the account before the transaction has ended.
pub(super) const LOCK: &str =
    "UPDATE users SET last_session = last_session WHERE id = $1 RETURNING is_active, ceiling";

/// What became of a command.
#[derive(Debug)]
pub enum Outcome {
    /// It was carried out here.
    Set {
        /// The change of the tokens.
        change: Change,
        /// What the key service has to be told.
        letter: Letter,
    },
    /// Something newer was decided since its sender read.
    Stale,
    /// There is no such account.
    NoSuchUser,
}

/// What the key service is told of an account.
#[derive(FromRow)]
pub(super) struct Owned {
    pub(super) is_active: bool,
    pub(super) ceiling: Option<String>,
}

/// Deactivates an account, with all its sessions, or reactivates it; takes a revision for it, and writes down
/// what the key service has to be told. The same command once more does it again, under a revision of its own. Where it
/// makes the account another than it was there is an event of it.
///
/// # Errors
/// What the database said instead.
pub async fn set(
    db: &Db,
    request: &SetActive,
    by: &Caller,
    now: Timestamp,
) -> Result<Outcome, StoreError> {
    let (user, active) = (request.user, request.active);
    let mut tx = db.begin("set an account").await?;
    let before: Option<Owned> = tx.fetch_first(LOCK, values![user.0]).await?;
    let Some(before) = before else { return Ok(Outcome::NoSuchUser) };
    let decided: Option<(i64,)> =
        tx.fetch_first(SET, values![user.0, active, request.version, &request.mark.0]).await?;
    if decided.is_none() {
        return Ok(Outcome::Stale);
    }
    if !active {
        tx.execute(END_ALL, values![user.0, now.0, &NO_SESSION]).await?;
    }
    let tag = Tag::of_user(user);
    let row = append_invalidation(&mut tx, &AUTHORITY, tag, now).await?;
    let letter = Letter::Owner(SetOwner {
        owner: user,
        disabled: !active,
        ceiling: before.ceiling.as_deref().map(scopes).transpose()?,
        epoch: row.epoch(),
        revision: row.revision(),
    });
    outbox::put(&mut tx, &letter).await?;
    if active != before.is_active {
        let action = if active { Action::UserReactivated } else { Action::UserDeactivated };
        let event = Event::done(action, Target::User(user), now, by).took(row.revision());
        append(&mut tx, &AUDIT, &event).await?;
    }
    tx.commit().await?;
    Ok(Outcome::Set { change: Change { tag, row, earlier: None }, letter })
}
