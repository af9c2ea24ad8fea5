//! The folded forms of names and addresses that the release before wrote without them.

use latchkey_store::{Db, StoreError, values};
use sqlx::FromRow;

use crate::rules;

pub(super) const UNFOLDED: &str = "SELECT id, username_canonical, email_canonical FROM users \
    WHERE username_folded IS NULL OR email_folded IS NULL ORDER BY id LIMIT $1";
pub(super) const HELD: &str = "SELECT \
    EXISTS (SELECT 1 FROM users WHERE username_folded = $1 AND id <> $3) AS username, \
    EXISTS (SELECT 1 FROM users WHERE email_folded = $2 AND id <> $3) AS email";
pub(super) const SHARE: &str = "UPDATE users SET username_shared = TRUE WHERE username_folded = $1";
pub(super) const FOLD: &str = "UPDATE users SET username_folded = $2, email_folded = $3, \
    username_shared = $4 WHERE id = $1 AND (username_folded IS NULL OR email_folded IS NULL)";

/// An account without its folded forms.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Unfolded {
    /// The account's id.
    pub id: i64,
    /// Its name as the release before compares it.
    pub username_canonical: String,
    /// Its address as the release before compares it.
    pub email_canonical: String,
}

/// Which of an account's folded forms another account has.
#[derive(Clone, Copy, Debug, FromRow)]
struct Held {
    username: bool,
    email: bool,
}

/// Writes the folded forms of at most `max` accounts that have none; how many there were.
///
/// # Errors
/// [`StoreError`]; another replica may have been at the same accounts.
pub async fn fold(db: &Db, max: i64) -> Result<usize, StoreError> {
    let unfolded: Vec<Unfolded> = db.fetch(UNFOLDED, values![max]).await?;
    for account in &unfolded {
        fold_one(db, account).await?;
    }
    Ok(unfolded.len())
}

async fn fold_one(db: &Db, account: &Unfolded) -> Result<(), StoreError> {
    let id = account.id;
    let username = rules::folded(&account.username_canonical);
    // An address that no rule takes any more is compared as it always was.
    let email = rules::folded_email(&account.email_canonical)
        .unwrap_or_else(|| account.email_canonical.clone());
    let mut tx = db.begin("fold names").await?;
    let held: Option<Held> = tx.fetch_first(HELD, values![&username, &email, id]).await?;
    let held = held.ok_or(StoreError::Unexpected("a question without an answer"))?;
    if held.username {
        tx.execute(SHARE, values![&username]).await?;
    }
    // No name and no address has a space behind it: this form is nobody's else.
    let own = |form: &str, held| if held { format!("{form} {id}") } else { form.to_owned() };
    let (own_username, own_email) = (own(&username, held.username), own(&email, held.email));
    tx.execute(FOLD, values![id, &own_username, &own_email, held.username]).await?;
    tx.commit().await
}
