//! Commands that make a secret and may come again from their client: under the same `Idempotency-Key` the first answer comes
//! again, the secret included, and nothing more is done.
//!
//! The row with the answer is written in the transaction of what it is about (`store::idempotency`), sealed so that only
//! the client's key opens it ([`sealer`]). It holds the texts of the keys; what else is shown of them is what they are now.

pub mod sealer;

use std::sync::Arc;

use latchkey_contract::authority::Changed;
use latchkey_contract::keys::{IssuedKey, RotateKey, RotatedKey};
use latchkey_contract::refusal::Conflict;
use latchkey_contract::scope::Scopes;
use latchkey_contract::{
    Actor, Caller, CredentialHash, Failure, FieldError, Forbidden, Idempotency, Refusal, Secret,
    UserId,
};
use latchkey_store::StoreError;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::acting::{ROTATE_SELF, WRITE};
use crate::store::again;
use crate::store::idempotency::{Claim, Slot, find};
use crate::store::replay::{self, Asked, Shown};
use crate::{Keys, acting};
use sealer::{Sealer, Unsealable};

/// What stands between the texts of an answer: no key holds it.
const BETWEEN: char = '\n';

/// A command that its client may send again.
pub(crate) struct Repeatable<'a> {
    by: &'a Caller,
    owner: UserId,
    narrowed: Option<&'a Scopes>,
    named: &'a Idempotency,
    sealer: &'a Sealer,
    slot: Slot,
    request_hash: [u8; 32],
    /// Stands for the message's seed: by it a doubled message is told from a repeat.
    seed: String,
}

/// What was answered.
struct Kept {
    texts: Vec<Secret>,
    is_replayed: bool,
}

impl<'a> Repeatable<'a> {
    /// `None`: its client has not said so.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] where this installation keeps no answers.
    pub(crate) fn of(
        keys: &'a Keys,
        by: &'a Caller,
        (owner, narrowed): (UserId, Option<&'a Scopes>),
        named: Option<&'a Idempotency>,
        seed: Option<&Secret>,
    ) -> Result<Option<Self>, Failure> {
        let Some(named) = named else { return Ok(None) };
        let Some(sealer) = &keys.sealer else {
            let rule = "is not taken here: the key service has no AUDIT_KEY, by which it keeps answers for a repeat";
            return Err(Refusal::Invalid(vec![FieldError::new("Idempotency-Key", rule)]).into());
        };
        let actor = match &by.actor {
            Actor::User { session, .. } => format!("session:{session}"),
            Actor::Key { id, .. } => format!("key:{id}"),
            _ => return Err(Forbidden("whoever acts sends no request again").into()),
        };
        let key_hash = sealer.name(&named.key)?;
        let slot = Slot { owner, actor, route: named.route.name(), key_hash };
        let request_hash = sealer.digest(named.request)?;
        let seed = seed.map(hash_text).unwrap_or_default();
        Ok(Some(Self { by, owner, narrowed, named, sealer, slot, request_hash, seed }))
    }

    /// The answer with these texts, to be kept with what makes it come true.
    ///
    /// # Errors
    /// [`Unsealable`]
    pub(crate) fn claim(&self, keys: &Keys, texts: &[Secret]) -> Result<Claim, Unsealable> {
        let mut answer = Zeroizing::new(self.seed.clone());
        for text in texts {
            answer.push(BETWEEN);
            answer.push_str(text.expose());
        }
        let salt = keys.entropy.bytes();
        let sealed = self.sealer.seal(&self.named.key, &salt, &self.bound(), answer.as_bytes())?;
        let (slot, request_hash, at) = (self.slot.clone(), self.request_hash, keys.now());
        Ok(Claim { slot, request_hash, salt, sealed, at })
    }

    /// What was answered; `None`: nothing yet.
    async fn kept(&self, keys: &Keys) -> Result<Option<Kept>, Failure> {
        let Some(row) = find(&keys.db, &self.slot, keys.now()).await? else { return Ok(None) };
        if row.request_hash != self.request_hash {
            return Err(Refusal::IdempotencyMismatch.into());
        }
        let opened = self.sealer.open(&self.named.key, &row.salt, &self.bound(), &row.sealed)?;
        let text = std::str::from_utf8(&opened).map_err(|_not_text| Unsealable)?;
        let mut texts = text.split(BETWEEN);
        let seed = texts.next().unwrap_or_default();
        let is_replayed = seed.is_empty() || seed != self.seed;
        let texts = texts.map(|text| Secret::new(text.to_owned())).collect();
        Ok(Some(Kept { texts, is_replayed }))
    }

    /// What the row says besides, so that no other row can stand for it.
    fn bound(&self) -> Vec<u8> {
        let Slot { owner, actor, route, key_hash } = &self.slot;
        let head = format!("{}{BETWEEN}{actor}{BETWEEN}{route}{BETWEEN}", owner.0);
        [head.as_bytes(), key_hash, &self.request_hash].concat()
    }

    async fn show(
        &self,
        keys: &Keys,
        kept: &Kept,
        rotation: Option<&RotateKey>,
    ) -> Result<Shown, Failure> {
        let hash = |text: &Secret| CredentialHash::of(text.expose());
        let made: Vec<CredentialHash> = kept.texts.iter().map(hash).collect();
        let is_self = rotation.is_some_and(|request| acting::is_self(request, self.by));
        let asked = Asked {
            by: self.by,
            owner: self.owner,
            narrowed: self.narrowed,
            needed: if is_self { ROTATE_SELF } else { WRITE },
            is_self,
            made: &made,
            replaced: rotation.map(|request| request.target.key),
        };
        Ok(again(|| replay::show(&keys.db, &asked, keys.now())).await??)
    }
}

/// The keys that an earlier request has made; `None`: there was none.
///
/// # Errors
/// [`Refusal::IdempotencyMismatch`] where it was another request; why whoever acts is shown nothing.
pub(crate) async fn made_before(
    keys: &Arc<Keys>,
    command: Option<&Repeatable<'_>>,
) -> Result<Option<Vec<IssuedKey>>, Failure> {
    let Some(command) = command else { return Ok(None) };
    let Some(kept) = command.kept(keys).await? else { return Ok(None) };
    let Shown { keys: objects, change, open, .. } = command.show(keys, &kept, None).await?;
    if let Some(change) = change {
        // A key that is shown as ended is accepted by nobody.
        let db = keys.db.clone();
        let confirmed = async move { replay::confirm(&db, &open).await };
        Box::pin(keys.authority.answer(change, true, confirmed)).await?;
    }
    let Kept { texts, is_replayed } = kept;
    let issued = objects.into_iter().zip(texts);
    Ok(Some(issued.map(|(object, key)| IssuedKey { object, key, is_replayed }).collect()))
}

/// The same of a rotation: it waits as the first did.
///
/// # Errors
/// As for [`made_before`].
pub(crate) async fn rotated_before(
    keys: &Arc<Keys>,
    command: Option<&Repeatable<'_>>,
    request: &RotateKey,
) -> Result<Option<RotatedKey>, Failure> {
    let Some(command) = command else { return Ok(None) };
    let Some(kept) = command.kept(keys).await? else { return Ok(None) };
    let shown = command.show(keys, &kept, Some(request)).await?;
    let Shown { keys: objects, replaced, change, open } = shown;
    let (object, key) = (objects.into_iter().next(), kept.texts.into_iter().next());
    let (Some(object), Some(key), Some(old), Some(change)) = (object, key, replaced, change) else {
        return Err(Unsealable.into());
    };
    let db = keys.db.clone();
    let confirmed = async move { replay::confirm(&db, &open).await };
    let changed: Changed = Box::pin(keys.authority.answer(change, request.wait, confirmed)).await?;
    let issued = IssuedKey { object, key, is_replayed: kept.is_replayed };
    let retires_at = old.lineage.retires_at.unwrap_or(old.expires_at);
    Ok(Some(RotatedKey { issued, replaces: old.id, retires_at, changed }))
}

/// The first request with the same key is not done yet: nothing was done, and the next try gets its answer.
pub(crate) fn in_hand() -> Failure {
    Refusal::Conflict(Conflict::InFlight).into()
}

/// Why a transaction that keeps an answer, or none, has failed. Who has waited for the first one's row for too long may ask
/// again.
pub(crate) fn failed(error: StoreError, keeps: bool) -> Failure {
    if keeps && error.is_given_up() { in_hand() } else { error.into() }
}

fn hash_text(seed: &Secret) -> String {
    hex::encode(Sha256::digest(seed.expose().as_bytes()))
}
