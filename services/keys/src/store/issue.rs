//! Adding a key.

use latchkey_audit::{Action, Event, Target, append};
use latchkey_contract::keys::KeyObject;
use latchkey_contract::scope::Scopes;
use latchkey_contract::{
    AllowedIps, Caller, CredentialHash, KeyId, Metadata, Owner, Refusal, Timestamp, UserId,
};
use latchkey_store::{Db, StoreError, Tx, values};

use super::acting::{Barred, ceiling, reach};
use super::key::{KeyRow, select_keys};
use super::{AUDIT, IS_DISABLED};
use crate::acting::{Reach, WRITE, Wanted};

pub(super) const INSERT: &str = "INSERT INTO api_keys (owner_id, hash, hint, name, created_at, expires_at, description, \
    metadata, external_id, tags, environment, origin, scopes, allowed_ips, created_by) \
    SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'issued', $12, $13, $14 WHERE NOT EXISTS \
    (SELECT 1 FROM keys_disabled_owners WHERE owner_id = $1) \
    ON CONFLICT (hash) DO NOTHING RETURNING id";
pub(super) const FIND_ISSUED: &str = select_keys!("hash = $2 AND api_keys.owner_id = $1");
pub(super) const ADD_TAG: &str =
    "INSERT INTO key_tags (tag, key_id) VALUES ($1, $2) ON CONFLICT DO NOTHING";

/// A key that is asked for; what was not said stands for itself.
#[derive(Clone, Debug)]
pub struct Order {
    /// Whose it is to be.
    pub owner: UserId,
    /// The scopes of the token that acts, where it is narrowed.
    pub narrowed: Option<Scopes>,
    /// What is stored of it.
    pub hash: CredentialHash,
    /// What is shown of it.
    pub hint: String,
    /// Its name.
    pub name: String,
    /// Now.
    pub created_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
    /// Whether nobody said when: then a key that acts makes none that outlives itself.
    pub is_default_expiry: bool,
    /// What it is for.
    pub description: String,
    /// What verifiers are told of it.
    pub metadata: Metadata,
    /// Whose key it is in the owner's own system.
    pub external_id: Option<String>,
    /// Each once, in order.
    pub tags: Vec<String>,
    /// The environment that it is for.
    pub environment: String,
    /// What it is granted; `None`: the default, as far as the owner's ceiling reaches.
    pub scopes: Option<Scopes>,
    /// Where from it may be used; `None`: as the key that acts, or from anywhere.
    pub allowed_ips: Option<AllowedIps>,
}

/// A key to be.
#[derive(Clone, Debug)]
pub struct NewRow {
    /// Whose it is to be.
    pub owner: UserId,
    /// Who makes it.
    pub created_by: Option<UserId>,
    /// What is stored of it.
    pub hash: CredentialHash,
    /// What is shown of it.
    pub hint: String,
    /// Its name.
    pub name: String,
    /// Now.
    pub created_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
    /// What it is for.
    pub description: String,
    /// What verifiers are told of it.
    pub metadata: Metadata,
    /// Whose key it is in the owner's own system.
    pub external_id: Option<String>,
    /// Each once, in order.
    pub tags: Vec<String>,
    /// The environment that it is for.
    pub environment: String,
    /// What it is granted.
    pub scopes: Scopes,
    /// Where from it may be used.
    pub allowed_ips: AllowedIps,
}

/// What became of a key to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It is there, from now on or since the same message came before.
    Key(Box<KeyObject>),
    /// Its owner's account is deactivated.
    OwnerDisabled,
    /// Whoever acts may not make it.
    Barred(Barred),
    /// It was not added for a reason that is no longer there.
    Nothing,
}

impl Order {
    /// The row that it makes, within what whoever acts may give away and the owner's ceiling.
    fn row(self, reach: &Reach, ceiling: &Scopes) -> Result<NewRow, Refusal> {
        let acting = match reach {
            Reach::Key(within) => Some(within),
            Reach::Owner | Reach::Token(_) => None,
        };
        let expires_at = match acting {
            Some(own) if self.is_default_expiry => self.expires_at.min(own.expires_at),
            _ => self.expires_at,
        };
        let scopes = self.scopes.unwrap_or_else(|| Scopes::everything().intersection(ceiling));
        let allowed_ips = self.allowed_ips.unwrap_or_else(|| {
            acting.map_or_else(AllowedIps::default, |own| own.allowed_ips.clone())
        });
        let wanted = Wanted {
            scopes: &scopes,
            allowed_ips: &allowed_ips,
            environment: &self.environment,
            expires_at,
        };
        reach.covers(wanted, ceiling)?;
        let Self { owner, hash, hint, name, created_at, description, metadata, .. } = self;
        let (environment, external_id, tags) = (self.environment, self.external_id, self.tags);
        let created_by = Some(owner);
        Ok(NewRow {
            owner,
            created_by,
            hash,
            hint,
            name,
            created_at,
            expires_at,
            description,
            metadata,
            external_id,
            tags,
            environment,
            scopes,
            allowed_ips,
        })
    }
}

impl NewRow {
    /// The key as it is shown, once it has this id.
    fn object(self, id: KeyId) -> KeyObject {
        KeyObject {
            name: self.name,
            hint: self.hint,
            description: self.description,
            metadata: self.metadata,
            external_id: self.external_id,
            tags: self.tags,
            environment: self.environment,
            scopes: self.scopes,
            allowed_ips: self.allowed_ips,
            created_by: self.created_by,
            ..KeyObject::bare(id, Owner::User(self.owner), self.created_at, self.expires_at)
        }
    }
}

/// Text that is stored as NULL where it is empty.
fn filled(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// Adds a key of an owner who is not disabled, and the event of it, unless it is there: then a message came twice.
///
/// # Errors
/// [`StoreError`]
pub async fn insert(db: &Db, order: Order, by: &Caller) -> Result<Inserted, StoreError> {
    let mut tx = db.begin("issue key").await?;
    let (owner, now) = (order.owner, order.created_at);
    let reach = reach(&mut tx, by, owner, order.narrowed.as_ref(), WRITE, now).await?;
    let key = match reach.map(|reach| (order, reach)) {
        Ok((order, reach)) => {
            let ceiling = ceiling(&mut tx, owner).await?;
            match order.row(&reach, &ceiling) {
                Ok(row) => row,
                Err(refusal) => return Ok(Inserted::Barred(Barred::Refused(refusal))),
            }
        }
        Err(barred) => return Ok(Inserted::Barred(barred)),
    };
    if let Some(id) = add(&mut tx, &key).await? {
        let event = Event::done(Action::KeyCreated, Target::Key(id), key.created_at, by);
        append(&mut tx, &AUDIT, &event).await?;
        tx.commit().await?;
        return Ok(Inserted::Key(key.object(id).into()));
    }
    drop(tx);
    let (owner, hash) = (key.owner.0, &key.hash.0);
    let before: Option<KeyRow> = db.fetch_first(FIND_ISSUED, values![owner, hash]).await?;
    if let Some(row) = before {
        return Ok(Inserted::Key(row.object(key.created_at)?.into()));
    }
    let disabled: Option<(bool,)> = db.fetch_first(IS_DISABLED, values![owner]).await?;
    Ok(if disabled == Some((true,)) { Inserted::OwnerDisabled } else { Inserted::Nothing })
}

/// Adds the row of a key and its tags; `None`: its owner is disabled, or it is there.
async fn add(tx: &mut Tx, key: &NewRow) -> Result<Option<KeyId>, StoreError> {
    let (tags, allowed_ips) = (key.tags.join(" "), key.allowed_ips.to_string());
    let values = values![
        key.owner.0,
        &key.hash.0,
        &key.hint,
        &key.name,
        key.created_at.0,
        key.expires_at.0,
        &key.description,
        filled(key.metadata.as_text()),
        key.external_id.as_deref(),
        &tags,
        &key.environment,
        key.scopes.as_text(),
        filled(&allowed_ips),
        key.created_by.map(|user| user.0)
    ];
    let Some((id,)) = tx.fetch_first(INSERT, values).await? else { return Ok(None) };
    for tag in &key.tags {
        tx.execute(ADD_TAG, values![tag, id]).await?;
    }
    Ok(Some(KeyId(id)))
}
