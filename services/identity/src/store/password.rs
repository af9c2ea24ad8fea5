//! Changing the password of an account.

use latchkey_audit::{Action, Event, Target, append};
use latchkey_authority::{Change, append_invalidation};
use latchkey_contract::identity::ChangePassword;
use latchkey_contract::lease::Tag;
use latchkey_contract::{Caller, SessionId, Timestamp, UserId};
use latchkey_store::{Db, StoreError, Tx, values};

use super::session::END_ALL;
use super::{AUDIT, AUTHORITY};

/// One UPDATE decides: the account is still what the current password was checked against.
pub(super) const CHANGE: &str = "UPDATE users SET password_hash = $3, version = version + 1, \
    password_mark = $4 WHERE id = $1 AND version = $2 AND is_active RETURNING id";
/// Whether the session that acts is good; it cannot be ended before the transaction has.
pub(super) const ACT: &str = "UPDATE sessions SET user_id = user_id \
    WHERE id = $1 AND user_id = $2 AND ended_at IS NULL AND expires_at > $3 RETURNING id";
/// Whether the token of the session that acts is accepted, by its signer. It is asked when the transaction has the
/// revision's row: whoever takes a secret back has that first, so that one of the two is decided after the other.
pub(super) const SIGNED: &str = "SELECT id FROM sessions WHERE id = $1 AND (EXISTS \
    (SELECT 1 FROM identity_signers WHERE fingerprint = sessions.signer AND withdrawn_at IS NULL) \
    OR (signer IS NULL AND NOT EXISTS \
    (SELECT 1 FROM identity_signers WHERE withdrawn_at IS NOT NULL)))";

/// What became of a change.
#[derive(Debug)]
pub enum Outcome {
    /// It was made.
    Changed(Change),
    /// The session that asked for it has ended, or its token's signer is not accepted any more. Nothing was done.
    SessionEnded,
    /// The account is not what it was decided on any more. Nothing was done.
    Overtaken,
}

/// Sets the hash of a new password of the user who acts, ends every session of theirs but the one by which they do, and
/// takes a revision for it, with an event.
///
/// # Errors
/// What the database said instead.
pub async fn change(
    db: &Db,
    (user, session): (UserId, SessionId),
    request: &ChangePassword,
    hash: &str,
    by: &Caller,
    now: Timestamp,
) -> Result<Outcome, StoreError> {
    let session = &session.0;
    let mut tx = db.begin("change a password").await?;
    // The account first, as everywhere: logins and changes of one account wait for each other.
    let decided: Option<(i64,)> =
        tx.fetch_first(CHANGE, values![user.0, request.version, hash, &request.mark.0]).await?;
    if decided.is_none() {
        return Ok(Outcome::Overtaken);
    }
    let acts: Option<(Vec<u8>,)> = tx.fetch_first(ACT, values![session, user.0, now.0]).await?;
    if acts.is_none() {
        return Ok(Outcome::SessionEnded);
    }
    tx.execute(END_ALL, values![user.0, now.0, session]).await?;
    let change = invalidate(&mut tx, user, now).await?;
    let signed: Option<(Vec<u8>,)> = tx.fetch_first(SIGNED, values![session]).await?;
    if signed.is_none() {
        return Ok(Outcome::SessionEnded);
    }
    let event = Event::done(Action::UserPasswordChanged, Target::User(user), now, by);
    append(&mut tx, &AUDIT, &event.took(change.revision())).await?;
    tx.commit().await?;
    Ok(Outcome::Changed(change))
}

/// Takes a further revision for a change that was made before, so that its repeat waits too.
///
/// # Errors
/// What the database said instead.
pub async fn changed_before(db: &Db, user: UserId, now: Timestamp) -> Result<Change, StoreError> {
    let mut tx = db.begin("repeat a change of password").await?;
    let change = invalidate(&mut tx, user, now).await?;
    tx.commit().await?;
    Ok(change)
}

async fn invalidate(tx: &mut Tx, user: UserId, now: Timestamp) -> Result<Change, StoreError> {
    let tag = Tag::of_user(user);
    let row = append_invalidation(tx, &AUTHORITY, tag, now).await?;
    Ok(Change { tag, row, earlier: None })
}
