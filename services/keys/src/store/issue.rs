//! Adding keys: all that one command asks for, or none.

use latchkey_audit::{Action, Event, Target, append};
use latchkey_contract::keys::{IssueKeys, KeyObject};
use latchkey_contract::{Caller, CredentialHash, KeyId, Timestamp, UserId};
use latchkey_store::{Db, StoreError, Tx, Value, values};

use super::acting::{Barred, ceiling_of, reach};
use super::idempotency::{Claim, claim};
use super::key::{KeyRow, select_keys};
pub use super::order::{NewRow, Order, Policy};
use super::{AUDIT, IS_DISABLED, limit, locks};
use crate::acting::WRITE;

/// A key of an owner who is not disabled, where something else holds, too.
macro_rules! insert_key {
    ($and:literal) => {
        concat!(
            "INSERT INTO api_keys (owner_id, hash, hint, name, created_at, expires_at, description, metadata, \
             external_id, tags, environment, origin, scopes, allowed_ips, created_by) \
             SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'issued', $12, $13, $14 WHERE NOT EXISTS \
             (SELECT 1 FROM keys_disabled_owners WHERE owner_id = $1)",
            $and,
            " ON CONFLICT (hash) DO NOTHING RETURNING id"
        )
    };
}

pub(super) const INSERT: &str = insert_key!("");
/// Behind the owner's [lock](limit::lock): unless the owner has as many living keys as they may.
pub(super) const INSERT_LIMITED: &str = insert_key!(
    " AND NOT EXISTS (SELECT 1 FROM api_keys WHERE owner_id = $1 AND revoked_at IS NULL AND expires_at > $5 \
     LIMIT 1 OFFSET $15)"
);
pub(super) const FIND_ISSUED: &str = select_keys!("hash = $2 AND api_keys.owner_id = $1");
pub(super) const ADD_TAG: &str =
    "INSERT INTO key_tags (tag, key_id) VALUES ($1, $2) ON CONFLICT DO NOTHING";

/// What became of keys to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inserted<T = Box<KeyObject>> {
    /// They are there, from now on or since the same message came before.
    Key(T),
    /// Their owner's account is deactivated.
    OwnerDisabled,
    /// Their owner has as many living keys as they may, or would have more.
    Full,
    /// They are more than one message can show.
    TooHeavy,
    /// Whoever acts may not make them.
    Barred(Barred),
    /// They were not added for a reason that is no longer there.
    Nothing,
    /// An earlier request has the same idempotency key.
    Claimed,
}

impl<T> Inserted<T> {
    /// The same of what `change` makes of the keys.
    fn map<U>(self, change: impl FnOnce(T) -> Inserted<U>) -> Inserted<U> {
        match self {
            Self::Key(keys) => change(keys),
            Self::OwnerDisabled => Inserted::OwnerDisabled,
            Self::Full => Inserted::Full,
            Self::TooHeavy => Inserted::TooHeavy,
            Self::Barred(barred) => Inserted::Barred(barred),
            Self::Nothing => Inserted::Nothing,
            Self::Claimed => Inserted::Claimed,
        }
    }
}

/// Text that is stored as NULL where it is empty.
fn filled(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// Adds a key, as [`insert_all`].
///
/// # Errors
/// [`StoreError`]
pub async fn insert(
    db: &Db,
    order: Order,
    policy: &Policy,
    by: &Caller,
) -> Result<Inserted, StoreError> {
    let inserted = insert_all(db, vec![order], policy, by).await?;
    Ok(inserted.map(|keys| {
        let first = keys.into_iter().next();
        first.map_or(Inserted::Nothing, |key| Inserted::Key(Box::new(key)))
    }))
}

/// Adds keys of one owner, who is not disabled, for one command, and the event of each, unless they are there: then a
/// message came twice, and whoever has asked for them is not asked again what they may do.
///
/// # Errors
/// [`StoreError`]
pub async fn insert_all(
    db: &Db,
    orders: Vec<Order>,
    policy: &Policy,
    by: &Caller,
) -> Result<Inserted<Vec<KeyObject>>, StoreError> {
    insert_once(db, orders, policy, by, None).await
}

/// The same for a client that may ask again, unless what it is answered is kept already.
///
/// # Errors
/// [`StoreError`]
pub async fn insert_once(
    db: &Db,
    orders: Vec<Order>,
    policy: &Policy,
    by: &Caller,
    answer: Option<&Claim>,
) -> Result<Inserted<Vec<KeyObject>>, StoreError> {
    let Some(first) = orders.first() else { return Ok(Inserted::Key(Vec::new())) };
    let (owner, now) = (first.owner, first.created_at);
    let hashes: Vec<CredentialHash> = orders.iter().map(|order| order.hash).collect();
    let mut tx = db.begin("issue key").await?;
    let added = match rows(&mut tx, orders, policy, by).await? {
        Ok(rows) => match answer {
            Some(first) if !claim(&mut tx, first).await? => return Ok(Inserted::Claimed),
            _ => add_all(&mut tx, rows, policy, by).await?,
        },
        Err(barred) => Inserted::Barred(barred),
    };
    if let Inserted::Key(keys) = added {
        tx.commit().await?;
        return Ok(Inserted::Key(keys));
    }
    drop(tx);
    let may_ask = !matches!(added, Inserted::Barred(Barred::Forbidden(_)));
    if may_ask && let Some(before) = find(db, owner, &hashes, now).await? {
        return Ok(Inserted::Key(before));
    }
    match (added, policy.per_owner) {
        (Inserted::Nothing, _) if is_disabled(db, owner).await? => Ok(Inserted::OwnerDisabled),
        // One of several may be the one too many: there is room for fewer.
        (Inserted::Nothing, Some(most)) if is_full(db, owner, most, hashes.len(), now).await? => {
            Ok(Inserted::Full)
        }
        (added, _) => Ok(added),
    }
}

/// The rows that the orders make, or why whoever acts may not have them.
async fn rows(
    tx: &mut Tx,
    orders: Vec<Order>,
    policy: &Policy,
    by: &Caller,
) -> Result<Result<Vec<NewRow>, Barred>, StoreError> {
    let Some(Order { owner, narrowed, created_at, .. }) = orders.first() else {
        return Ok(Ok(Vec::new()));
    };
    let (owner, now) = (*owner, *created_at);
    locks::owner(tx, owner).await?;
    let reach = match reach(tx, by, owner, narrowed.as_ref(), WRITE, now).await? {
        Ok(reach) => reach,
        Err(barred) => return Ok(Err(barred)),
    };
    let granted = orders.iter().map(|it| it.scopes.as_ref().unwrap_or(&policy.default_scopes));
    let ceiling = match ceiling_of(tx, owner, granted).await? {
        Ok(ceiling) => ceiling,
        Err(barred) => return Ok(Err(barred)),
    };
    let rows = orders.into_iter().map(|order| order.row(&reach, &ceiling, policy));
    Ok(rows.collect::<Result<_, _>>().map_err(Barred::Refused))
}

/// Adds every row, or says that one of them was not.
async fn add_all(
    tx: &mut Tx,
    rows: Vec<NewRow>,
    policy: &Policy,
    by: &Caller,
) -> Result<Inserted<Vec<KeyObject>>, StoreError> {
    let owner = rows.first().map(|row| row.owner);
    if let (Some(owner), Some(_)) = (owner, policy.per_owner) {
        limit::lock(tx, owner).await?;
    }
    let mut keys = Vec::with_capacity(rows.len());
    for row in rows {
        let Some(id) = add(tx, &row, policy.per_owner).await? else { return Ok(Inserted::Nothing) };
        let (event, said) =
            (Event::done(Action::KeyCreated, Target::Key(id), row.created_at, by), row.said());
        append(tx, &AUDIT, &event.changing(&said)).await?;
        keys.push(row.object(id));
    }
    Ok(if IssueKeys::fits(&keys) { Inserted::Key(keys) } else { Inserted::TooHeavy })
}

/// The owner's keys with these hashes, if there are all of them.
async fn find(
    db: &Db,
    owner: UserId,
    hashes: &[CredentialHash],
    now: Timestamp,
) -> Result<Option<Vec<KeyObject>>, StoreError> {
    let mut keys = Vec::with_capacity(hashes.len());
    for hash in hashes {
        let row: Option<KeyRow> = db.fetch_first(FIND_ISSUED, values![owner.0, &hash.0]).await?;
        let Some(row) = row else { return Ok(None) };
        keys.push(row.object(now)?);
    }
    Ok(Some(keys))
}

async fn is_disabled(db: &Db, owner: UserId) -> Result<bool, StoreError> {
    let disabled: Option<(bool,)> = db.fetch_first(IS_DISABLED, values![owner.0]).await?;
    Ok(disabled == Some((true,)))
}

/// Whether an owner who may have `most` living keys has no room for `more`.
async fn is_full(
    db: &Db,
    owner: UserId,
    most: u32,
    more: usize,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let others = u32::try_from(more.saturating_sub(1)).unwrap_or(u32::MAX);
    match most.checked_sub(others) {
        Some(most) if most > 0 => limit::is_full(db, owner, most, now.0).await,
        _ => Ok(true),
    }
}

/// Adds the row of a key and its tags; `None`: its owner is disabled or has `most` living keys, or it is there.
async fn add(tx: &mut Tx, key: &NewRow, most: Option<u32>) -> Result<Option<KeyId>, StoreError> {
    let (tags, allowed_ips) = (key.tags.join(" "), key.allowed_ips.to_string());
    let bare: [Value<'_>; 14] = [
        key.owner.0.into(),
        (&key.hash.0).into(),
        (&key.hint).into(),
        (&key.name).into(),
        key.created_at.0.into(),
        key.expires_at.0.into(),
        (&key.description).into(),
        filled(key.metadata.as_text()).into(),
        key.external_id.as_deref().into(),
        (&tags).into(),
        (&key.environment).into(),
        key.scopes.as_text().into(),
        filled(&allowed_ips).into(),
        key.created_by.map(|user| user.0).into(),
    ];
    let added = match most {
        None => tx.fetch_first(INSERT, &bare).await?,
        Some(most) => {
            let mut values = bare.to_vec();
            values.push(limit::last(most).into());
            tx.fetch_first(INSERT_LIMITED, &values).await?
        }
    };
    let Some((id,)) = added else { return Ok(None) };
    for tag in &key.tags {
        tx.execute(ADD_TAG, values![tag, id]).await?;
    }
    Ok(Some(KeyId(id)))
}
