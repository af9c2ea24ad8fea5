//! Deactivating and reactivating accounts, with what the key service has to be told of it.

use latchkey_authority::{Change, append_invalidation};
use latchkey_contract::Timestamp;
use latchkey_contract::identity::SetActive;
use latchkey_contract::keys::SetOwner;
use latchkey_contract::lease::Tag;
use latchkey_store::{Db, StoreError, values};

use super::AUTHORITY;
use super::outbox::{self, Letter};
use super::session::{END_ALL, NO_SESSION};

/// One UPDATE decides: nothing newer came, or it is the same command once more, which raises nothing.
pub(super) const SET: &str = "UPDATE users SET is_active = $2, \
    version = version + CASE WHEN active_mark = $4 THEN 0 ELSE 1 END, \
    active_version = active_version + CASE WHEN active_mark = $4 THEN 0 ELSE 1 END, \
    active_mark = $4 WHERE id = $1 AND (active_version = $3 OR active_mark = $4) RETURNING id";
pub(super) const EXISTS: &str = "SELECT id FROM users WHERE id = $1";

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

/// Deactivates an account, with all its sessions, or reactivates it; takes a revision for it, and writes down
/// what the key service has to be told. The same command once more does it again, under a revision of its own.
///
/// # Errors
/// What the database said instead.
pub async fn set(db: &Db, request: &SetActive, now: Timestamp) -> Result<Outcome, StoreError> {
    let (user, active) = (request.user, request.active);
    let mut tx = db.begin("set an account").await?;
    let decided: Option<(i64,)> =
        tx.fetch_first(SET, values![user.0, active, request.version, &request.mark.0]).await?;
    if decided.is_none() {
        let exists: Option<(i64,)> = tx.fetch_first(EXISTS, values![user.0]).await?;
        return Ok(exists.map_or(Outcome::NoSuchUser, |_| Outcome::Stale));
    }
    if !active {
        tx.execute(END_ALL, values![user.0, now.0, &NO_SESSION]).await?;
    }
    let tag = Tag::of_user(user);
    let row = append_invalidation(&mut tx, &AUTHORITY, tag, now).await?;
    let letter = Letter(SetOwner {
        owner: user,
        disabled: !active,
        epoch: row.epoch(),
        revision: row.revision(),
    });
    outbox::put(&mut tx, &letter).await?;
    tx.commit().await?;
    Ok(Outcome::Set { change: Change { tag, row, earlier: None }, letter })
}
