//! What a user may do and grant at most, with what the key service has to be told of it.

use latchkey_audit::{Action, Event, Target, append};
use latchkey_authority::{Change, append_invalidation};
use latchkey_contract::identity::SetCeiling;
use latchkey_contract::keys::SetOwner;
use latchkey_contract::lease::Tag;
use latchkey_contract::{Caller, Scopes, Timestamp, UserId};
use latchkey_store::{Db, StoreError, values};

use super::activity::{LOCK, Outcome, Owned};
use super::outbox::{self, Letter};
use super::settings::scopes;
use super::{AUDIT, AUTHORITY};

/// One UPDATE decides: nothing newer came, or it is the same command once more, which raises nothing.
pub(super) const SET: &str = "UPDATE users SET ceiling = $2, \
    ceiling_version = ceiling_version + CASE WHEN ceiling_mark = $4 THEN 0 ELSE 1 END, \
    ceiling_mark = $4 WHERE id = $1 AND (ceiling_version = $3 OR ceiling_mark = $4) RETURNING id";

pub(super) const FIND: &str = "SELECT COALESCE(users.ceiling, identity_settings.user_scopes) \
    FROM users LEFT JOIN identity_settings ON identity_settings.id = 1 WHERE users.id = $1";

/// Gives an account a ceiling, or takes it away; takes a revision for it, and writes down what the key service has to be
/// told. The same command once more does it again, under a revision of its own. Where it makes the ceiling another than it
/// was there is an event of it.
///
/// # Errors
/// What the database said instead.
pub async fn set(
    db: &Db,
    request: &SetCeiling,
    by: &Caller,
    now: Timestamp,
) -> Result<Outcome, StoreError> {
    let SetCeiling { user, ceiling, version, mark } = request;
    let text = ceiling.as_ref().map(Scopes::as_text);
    let mut tx = db.begin("set a ceiling").await?;
    let before: Option<Owned> = tx.fetch_first(LOCK, values![user.0]).await?;
    let Some(before) = before else { return Ok(Outcome::NoSuchUser) };
    let decided: Option<(i64,)> =
        tx.fetch_first(SET, values![user.0, text, *version, &mark.0]).await?;
    if decided.is_none() {
        return Ok(Outcome::Stale);
    }
    let tag = Tag::of_user(*user);
    let row = append_invalidation(&mut tx, &AUTHORITY, tag, now).await?;
    let letter = Letter::Owner(SetOwner {
        owner: *user,
        disabled: !before.is_active,
        ceiling: ceiling.clone(),
        epoch: row.epoch(),
        revision: row.revision(),
    });
    outbox::put(&mut tx, &letter).await?;
    if before.ceiling.as_deref() != text {
        let was = before.ceiling.as_deref().map(scopes).transpose()?;
        let changes = serde_json::json!({"ceiling": {"from": was, "to": ceiling}});
        let changes = changes.to_string();
        let event = Event::done(Action::UserCeilingChanged, Target::User(*user), now, by);
        append(&mut tx, &AUDIT, &event.took(row.revision()).changing(&changes)).await?;
    }
    tx.commit().await?;
    Ok(Outcome::Set { change: Change { tag, row, earlier: None }, letter })
}

/// What a user may do at most; nothing where there is no such user.
///
/// # Errors
/// [`StoreError`]
pub async fn of(db: &Db, user: UserId) -> Result<Scopes, StoreError> {
    let row: Option<(Option<String>,)> = db.fetch_first(FIND, values![user.0]).await?;
    match row {
        Some((Some(text),)) => scopes(&text),
        // No release that knows ceilings has set one yet.
        Some((None,)) => Ok(Scopes::everything()),
        None => Ok(Scopes::default()),
    }
}
