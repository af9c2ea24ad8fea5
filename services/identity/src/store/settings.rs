//! The row of `identity_settings`: what verdicts depend on and a start may change.

use latchkey_audit::{Action, Event, Target, append};
use latchkey_authority::changes::{invalidate_everything, revision};
use latchkey_contract::keys::SetDefaultCeiling;
use latchkey_contract::{Caller, Scopes, Timestamp};
use latchkey_store::{Db, StoreError, values};

use super::outbox::{self, Letter};
use super::signer::ANY_SESSION;
use super::{AUDIT, AUTHORITY, lock};

pub(super) const READ: &str = "SELECT user_scopes FROM identity_settings WHERE id = 1";
pub(super) const SET: &str =
    "UPDATE identity_settings SET user_scopes = $1, set_position = $2 WHERE id = 1";

/// The ceiling of all users without one of their own; `None` until it is first set.
///
/// # Errors
/// [`StoreError`]
pub async fn user_scopes(db: &Db) -> Result<Option<Scopes>, StoreError> {
    let row: Option<(Option<String>,)> = db.fetch_first(READ, &[]).await?;
    row.and_then(|(text,)| text).as_deref().map(scopes).transpose()
}

/// Makes `wanted` the ceiling of all users without one of their own, together with a revision by which every edge drops
/// what it remembers, with an event of `by`, where there was somebody whose it could be, and writes down what the key service
/// has to be told. `None`: it was that already.
///
/// # Errors
/// [`StoreError`]; then nothing was done, or all of it.
pub async fn set_user_scopes(
    db: &Db,
    wanted: &Scopes,
    by: &Caller,
    now: Timestamp,
) -> Result<Option<Letter>, StoreError> {
    // Mostly there is nothing to do, and nobody is to be kept waiting for that.
    if user_scopes(db).await?.as_ref() == Some(wanted) {
        return Ok(None);
    }
    let mut tx = db.begin("set the scopes of users").await?;
    tx.execute(lock::REVISION, &[]).await?;
    let row: Option<(Option<String>,)> = tx.fetch_first(READ, &[]).await?;
    let before = row.and_then(|(text,)| text);
    if before.as_deref() == Some(wanted.as_text()) {
        return Ok(None);
    }
    let session: Option<(i64,)> = tx.fetch_first(ANY_SESSION, &[]).await?;
    // Nobody remembers anything of a session then, nor of one that is opened meanwhile that it would not do any more.
    let is_wider = Scopes::everything().is_within(wanted);
    let is_first = before.is_none() && session.is_none() && is_wider;
    let row = if is_first {
        revision(&mut tx, &AUTHORITY).await?
    } else {
        invalidate_everything(&mut tx, &AUTHORITY).await?
    };
    tx.execute(SET, values![wanted.as_text(), row.revision().0]).await?;
    let letter = Letter::DefaultCeiling(SetDefaultCeiling {
        ceiling: wanted.clone(),
        epoch: row.epoch(),
        revision: row.revision(),
    });
    outbox::put(&mut tx, &letter).await?;
    if !is_first {
        let was = before.as_deref().map(scopes).transpose()?;
        let changes = serde_json::json!({"user_scopes": {"from": was, "to": wanted}}).to_string();
        let event = Event::done(Action::UserScopesChanged, Target::Service(crate::NAME), now, by);
        append(&mut tx, &AUDIT, &event.took(row.revision()).changing(&changes)).await?;
    }
    tx.commit().await?;
    Ok(Some(letter))
}

/// The scopes in a row.
///
/// # Errors
/// [`StoreError`] where they have another form.
pub(super) fn scopes(text: &str) -> Result<Scopes, StoreError> {
    Scopes::parse(text).map_err(|_form| StoreError::Unexpected("scopes in a row have another form"))
}
