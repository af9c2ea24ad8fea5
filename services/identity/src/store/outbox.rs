//! The rows of `identity_outbox`: what was decided here and has to be done by the key service.

use latchkey_contract::UserId;
use latchkey_contract::keys::{SetDefaultCeiling, SetOwner};
use latchkey_contract::lease::{Epoch, Revision};
use latchkey_store::{Db, StoreError, Tx, values};
use serde::{Deserialize, Serialize};

/// A newer decision on the same subject replaces an older one that was not delivered yet: it holds the whole state.
pub(super) const PUT: &str = "INSERT INTO identity_outbox (subject, revision, message) \
    VALUES ($1, $2, $3) ON CONFLICT (subject) DO UPDATE \
    SET revision = excluded.revision, message = excluded.message";
pub(super) const WAITING: &str = "SELECT message FROM identity_outbox ORDER BY revision LIMIT $1";
/// The message is compared whole: a newer one on the same subject stays.
pub(super) const DELIVERED: &str =
    "DELETE FROM identity_outbox WHERE subject = $1 AND message = $2";

/// One thing to be told.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(untagged)]
pub enum Letter {
    /// The state of one account.
    Owner(SetOwner),
    /// The ceiling of all users without one of their own.
    DefaultCeiling(SetDefaultCeiling),
}

/// An account without a ceiling of its own.
#[derive(Serialize)]
struct WithoutCeiling {
    owner: UserId,
    disabled: bool,
    epoch: Epoch,
    revision: Revision,
}

impl Letter {
    /// What it is about: of each subject the newest is kept.
    #[must_use]
    pub fn subject(&self) -> String {
        match self {
            Self::Owner(told) => format!("owner:{}", told.owner),
            Self::DefaultCeiling(_) => "default-ceiling".to_owned(),
        }
    }

    /// The history of its decision, and the revision in that.
    #[must_use]
    pub fn at(&self) -> (Epoch, Revision) {
        match self {
            Self::Owner(told) => (told.epoch, told.revision),
            Self::DefaultCeiling(told) => (told.epoch, told.revision),
        }
    }

    fn text(&self) -> Result<String, StoreError> {
        let text = match self {
            // As the release before writes it.
            Self::Owner(SetOwner { owner, disabled, ceiling: None, epoch, revision }) => {
                serde_json::to_string(&WithoutCeiling {
                    owner: *owner,
                    disabled: *disabled,
                    epoch: *epoch,
                    revision: *revision,
                })
            }
            Self::Owner(told) => serde_json::to_string(told),
            Self::DefaultCeiling(told) => serde_json::to_string(told),
        };
        text.map_err(|_unwritable| {
            StoreError::Unexpected("a message of the outbox cannot be written")
        })
    }
}

/// Writes down what has to be told, in the transaction that decides it.
///
/// # Errors
/// What the database said instead.
pub async fn put(tx: &mut Tx, letter: &Letter) -> Result<(), StoreError> {
    let (subject, message) = (letter.subject(), letter.text()?);
    tx.execute(PUT, values![&subject, letter.at().1.0, &message]).await?;
    Ok(())
}

/// At most `limit` things that nobody has confirmed yet, by rising revision.
///
/// # Errors
/// What the database said instead.
pub async fn waiting(db: &Db, limit: i64) -> Result<Vec<Letter>, StoreError> {
    let rows: Vec<(String,)> = db.fetch(WAITING, values![limit]).await?;
    Ok(rows.iter().filter_map(|(message,)| read(message)).collect())
}

/// What a newer release wrote in other words is left to it.
fn read(message: &str) -> Option<Letter> {
    serde_json::from_str(message)
        .inspect_err(
            |error| tracing::warn!(%error, "a row of the outbox cannot be read by this release"),
        )
        .ok()
}

/// Forgets what was confirmed.
///
/// # Errors
/// What the database said instead.
pub async fn delivered(db: &Db, letter: &Letter) -> Result<(), StoreError> {
    let (subject, message) = (letter.subject(), letter.text()?);
    db.execute(DELIVERED, values![&subject, &message]).await?;
    Ok(())
}
