//! What whoever acts may do, read in the transaction of what they do.

use latchkey_contract::scope::Scopes;
use latchkey_contract::{
    Actor, AllowedIps, Caller, Failure, Forbidden, KeyId, Refusal, Timestamp, Unavailable, UserId,
};
use latchkey_store::{StoreError, Tx, values};
use sqlx::FromRow;

use crate::acting::{Reach, Within, lacks};

/// A key that acts: it is good when the command is carried out. Whoever ends it waits until that is done, or has done
/// so before, and then nothing is done.
pub(super) const ACTING: &str = "UPDATE api_keys SET version = version \
    WHERE id = $2 AND owner_id = $1 AND revoked_at IS NULL AND disabled_at IS NULL AND expires_at > $3 \
    AND NOT EXISTS (SELECT 1 FROM keys_disabled_owners WHERE keys_disabled_owners.owner_id = $1) \
    RETURNING scopes, allowed_ips, environment, expires_at, external_id";
pub(super) const CEILING: &str = "SELECT COALESCE((SELECT ceiling FROM keys_ceilings WHERE owner_id = $1), \
    (SELECT default_ceiling FROM keys_telling WHERE id = 1)) AS ceiling";

#[derive(FromRow)]
struct ActingRow {
    scopes: Option<String>,
    allowed_ips: Option<String>,
    environment: String,
    expires_at: i64,
    external_id: Option<String>,
}

/// Why nothing is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Barred {
    /// An edge should not have asked.
    Forbidden(Forbidden),
    /// Whoever acts is told so.
    Refused(Refusal),
    /// It depends on what the identity service has not told yet.
    Untold,
}

/// What keys may do at most was not told yet.
#[derive(Debug, thiserror::Error)]
#[error(
    "the identity service has not told yet which scopes that begin with latchkey: users may grant"
)]
struct Untold(#[source] Unavailable);

impl From<Barred> for Failure {
    fn from(barred: Barred) -> Self {
        match barred {
            Barred::Refused(refusal) => refusal.into(),
            Barred::Forbidden(forbidden) => forbidden.into(),
            Barred::Untold => Untold(Unavailable).into(),
        }
    }
}

/// What the keys of an owner may do at most. Where it was never told, the identity service knows of no ceilings: then
/// it is everything but what is reserved.
///
/// # Errors
/// [`StoreError`]
pub async fn ceiling(tx: &mut Tx, owner: UserId) -> Result<Scopes, StoreError> {
    Ok(told(tx, owner).await?.unwrap_or_else(Scopes::everything))
}

/// The same for keys that are to be granted this. What is reserved nobody can say before it was told: a key is not made
/// without what it would be granted a moment later.
///
/// # Errors
/// [`StoreError`]
pub(super) async fn ceiling_of<'a>(
    tx: &mut Tx,
    owner: UserId,
    granted: impl IntoIterator<Item = &'a Scopes> + Send,
) -> Result<Result<Scopes, Barred>, StoreError> {
    let most = Scopes::everything();
    let is_reserved = granted.into_iter().any(|scopes| !scopes.is_within(&most));
    Ok(match told(tx, owner).await? {
        None if is_reserved => Err(Barred::Untold),
        told => Ok(told.unwrap_or(most)),
    })
}

async fn told(tx: &mut Tx, owner: UserId) -> Result<Option<Scopes>, StoreError> {
    let row: Option<(Option<String>,)> = tx.fetch_first(CEILING, values![owner.0]).await?;
    let text = row.and_then(|(ceiling,)| ceiling);
    let scopes = text.as_deref().map(Scopes::parse).transpose();
    scopes.map_err(|_faulty| StoreError::Unexpected("a ceiling that is no scopes"))
}

/// How far whoever acts may change keys of `owner`'s now, by the scope `needed`. A key is locked until the transaction
/// ends.
///
/// # Errors
/// [`StoreError`]
pub async fn reach(
    tx: &mut Tx,
    by: &Caller,
    owner: UserId,
    narrowed: Option<&Scopes>,
    needed: &'static str,
    now: Timestamp,
) -> Result<Result<Reach, Barred>, StoreError> {
    let Actor::Key { id, owner: of } = by.actor else {
        if let Err(forbidden) = by.acts_as(owner) {
            return Ok(Err(Barred::Forbidden(forbidden)));
        }
        return Ok(match narrowed {
            None => Ok(Reach::Owner),
            Some(scopes) if scopes.cover(needed) => Ok(Reach::Token(scopes.clone())),
            Some(_) => Err(Barred::Refused(lacks([needed]))),
        });
    };
    if of.user() != owner {
        let why = "the key that acts is of another owner than what it is about";
        return Ok(Err(Barred::Forbidden(Forbidden(why))));
    }
    let row: Option<ActingRow> = tx.fetch_first(ACTING, values![owner.0, id.0, now.0]).await?;
    // It has ended since the edge looked.
    let Some(row) = row else { return Ok(Err(Barred::Refused(Refusal::SessionEnded))) };
    let ceiling = ceiling(tx, owner).await?;
    let within = within(id, &row)?;
    // The edge has judged it by what the list was then.
    if !within.allowed_ips.allow(by.address) {
        return Ok(Err(Barred::Refused(Refusal::IpDenied)));
    }
    let scopes = within.scopes.intersection(&ceiling);
    if !scopes.cover(needed) {
        return Ok(Err(Barred::Refused(lacks([needed]))));
    }
    Ok(Ok(Reach::Key(Within { scopes, ..within })))
}

fn within(id: KeyId, row: &ActingRow) -> Result<Within, StoreError> {
    let unreadable = StoreError::Unexpected("a key's row holds what no key is granted");
    let scopes = Scopes::parse(row.scopes.as_deref().unwrap_or_default());
    let allowed_ips = AllowedIps::parse(row.allowed_ips.as_deref().unwrap_or_default());
    let (Ok(scopes), Ok(allowed_ips)) = (scopes, allowed_ips) else { return Err(unreadable) };
    let (environment, expires_at) = (row.environment.clone(), Timestamp(row.expires_at));
    let external_id = row.external_id.clone();
    Ok(Within { id, scopes, allowed_ips, environment, expires_at, external_id })
}
