//! What is asked about signing keys: what is published, what an operator sees, and that one is revoked.

use std::sync::Arc;

use latchkey_bus::Context;
use latchkey_contract::authority::Receipt;
use latchkey_contract::signing::{
    ListSigningKeys, PublishedKey, PublishedKeys, ReadSigningKeys, RevokeSigningKey, SigningKey,
};
use latchkey_contract::{Failure, Timestamp};

use super::keeper::KeepError;
use crate::store::key_sessions;
use crate::store::signing_key::{self as rows, SigningKeyRow};
use crate::{Identity, NAME};

/// The keys that are accepted, or will be: by the rows, and the time.
pub(crate) async fn published(
    identity: Arc<Identity>,
    _: Context,
    ReadSigningKeys: ReadSigningKeys,
) -> Result<PublishedKeys, Failure> {
    let (_, rows) = rows::read(&identity.db).await?;
    let now = identity.now();
    let is_accepted = |row: &SigningKeyRow| row.accepted_until.is_none_or(|until| now.0 < until);
    let published = |row: SigningKeyRow| PublishedKey {
        kid: row.kid,
        algorithm: row.algorithm,
        public: row.public,
        until: row.accepted_until.map(Timestamp),
    };
    let keys = rows.into_iter().filter(is_accepted).map(published).collect();
    Ok(PublishedKeys { issuer: identity.config.token.issuer.clone(), keys })
}

/// Every key that there is a row of.
pub(crate) async fn list(
    identity: Arc<Identity>,
    context: Context,
    ListSigningKeys: ListSigningKeys,
) -> Result<Vec<SigningKey>, Failure> {
    context.caller()?;
    let known = identity.keeper.keys.load(&identity.db).await?;
    let now = identity.now();
    let signing = known.algorithm.and_then(|algorithm| known.signing(algorithm, now).ok());
    let signing = signing.map(|(public, _)| public.kid());
    let rows = rows::each(&identity.db).await?;
    let shown = |row: SigningKeyRow| SigningKey {
        signs: signing == Some(row.kid.as_str()),
        kid: row.kid,
        algorithm: row.algorithm,
        created_at: Timestamp(row.created_at),
        signs_from: Timestamp(row.signs_from),
        signs_until: Timestamp(row.signs_until),
        accepted_until: row.accepted_until.map(Timestamp),
        revoked_at: row.revoked_at.map(Timestamp),
    };
    Ok(rows.into_iter().map(shown).collect())
}

/// Has another key sign, then revokes this one, and returns when no edge accepts what it has signed and the sessions have
/// ended whose last access token that was. Where it is cut short the key stays revoked, and a repeat ends the rest.
pub(crate) async fn revoke(
    identity: Arc<Identity>,
    context: Context,
    request: RevokeSigningKey,
) -> Result<Option<Receipt>, Failure> {
    let caller = context.caller()?;
    let kid = &request.kid;
    // First, so that logins go on; where the key is none, or signs nothing, nothing comes of it.
    identity.keeper.replace(kid).await.map_err(|error| match error {
        KeepError::Store(error) => Failure::from(error),
        KeepError::Key(error) => Failure::from(error),
    })?;
    let Some(change) = rows::revoke(&identity.db, kid, caller, identity.now()).await? else {
        return Ok(None);
    };
    tracing::warn!(target: "audit", service = NAME, actor = context.actor(), kid, request_id = %context.request_id, "a signing key was revoked");
    identity.keeper.keys.load(&identity.db).await?;
    // Edges hear of it at once, however many sessions there are to be ended.
    let told = identity.authority.confirm(change, async { Ok(()) });
    let (receipt, ended) = tokio::join!(told, key_sessions::end(&identity.db, kid, identity.now()));
    match ended? {
        Some(change) => Ok(Some(identity.authority.confirm(change, async { Ok(()) }).await)),
        None => Ok(Some(receipt)),
    }
}
