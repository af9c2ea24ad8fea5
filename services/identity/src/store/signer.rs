//! The rows of `identity_signers`: which secrets' tokens are accepted, and which were taken back.

use latchkey_audit::{Action, Event, Target, append};
use latchkey_authority::invalidate_everything;
use latchkey_contract::lease::Revision;
use latchkey_contract::{Caller, Timestamp};
use latchkey_store::{Db, StoreError, Tx, values};
use sqlx::FromRow;

use super::{AUDIT, AUTHORITY};
use crate::token::Fingerprint;

pub(super) const ALL: &str = "SELECT fingerprint, withdrawn_at FROM identity_signers";
/// Whoever changes the rows takes the revision's row first: of two starts at the same time one decides after the
/// other.
pub(super) const LOCK: &str = "UPDATE identity_position SET position = position WHERE id = 1";
pub(super) const ANY_SESSION: &str = "SELECT user_id FROM sessions LIMIT 1";
pub(super) const NAME: &str = "INSERT INTO identity_signers \
    (fingerprint, named_position, named_at) VALUES ($1, $2, $3)";
pub(super) const WITHDRAW: &str = "UPDATE identity_signers \
    SET withdrawn_position = $2, withdrawn_at = $3 WHERE fingerprint = $1";

/// What the rows say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signers {
    /// Whose tokens are accepted.
    pub named: Vec<Fingerprint>,
    /// Whose tokens are not accepted any more.
    pub withdrawn: Vec<Fingerprint>,
}

/// What a process does about the secrets that the rows name and it does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// They stay, and one of its own must be among those that are named.
    Stay,
    /// They are taken back.
    Withdrawn,
    /// They are taken back, where the one that signs is named already.
    WithdrawnByNamed,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Adoption {
    /// The rows name the process' own secret.
    Named {
        /// Secrets that they did not name before.
        added: usize,
        /// Secrets that were taken back.
        withdrawn: usize,
        /// The change's number; `None` where there was nothing to change, or nobody to tell.
        revision: Option<Revision>,
    },
    /// They name others, and none that the process holds. Nothing was done.
    Unknown,
    /// Its own was taken back, and stays so. Nothing was done.
    Withdrawn,
}

#[derive(FromRow)]
struct SignerRow {
    fingerprint: Vec<u8>,
    withdrawn_at: Option<i64>,
}

struct Plan {
    name: Vec<Fingerprint>,
    withdraw: Vec<Fingerprint>,
}

impl Signers {
    fn of(rows: &[SignerRow]) -> Result<Self, StoreError> {
        let mut signers = Self::default();
        for row in rows {
            let fingerprint = fingerprint(&row.fingerprint)?;
            match row.withdrawn_at {
                None => signers.named.push(fingerprint),
                Some(_) => signers.withdrawn.push(fingerprint),
            }
        }
        Ok(signers)
    }

    /// Whether a process with these secrets, of which the first signs, serves without waiting.
    #[must_use]
    pub fn may_serve(&self, own: &[Fingerprint]) -> bool {
        self.plan(own, Others::Stay).is_ok()
    }

    /// What makes the rows name `own`, of which the first signs.
    fn plan(&self, own: &[Fingerprint], others: Others) -> Result<Plan, Adoption> {
        if own.first().is_none_or(|signing| self.withdrawn.contains(signing)) {
            return Err(Adoption::Withdrawn);
        }
        let may = match others {
            Others::Stay => {
                self.named.is_empty() || own.iter().any(|mine| self.named.contains(mine))
            }
            Others::Withdrawn => true,
            Others::WithdrawnByNamed => own.first().is_some_and(|mine| self.named.contains(mine)),
        };
        if !may {
            return Err(Adoption::Unknown);
        }
        let is_new =
            |mine: &&Fingerprint| !self.named.contains(mine) && !self.withdrawn.contains(mine);
        let is_other = |named: &&Fingerprint| others != Others::Stay && !own.contains(named);
        Ok(Plan {
            name: own.iter().filter(is_new).copied().collect(),
            withdraw: self.named.iter().filter(is_other).copied().collect(),
        })
    }
}

impl Plan {
    fn is_empty(&self) -> bool {
        self.name.is_empty() && self.withdraw.is_empty()
    }
}

/// What the rows say now.
///
/// # Errors
/// [`StoreError`]
pub async fn read(db: &Db) -> Result<Signers, StoreError> {
    Signers::of(&db.fetch::<SignerRow>(ALL, &[]).await?)
}

/// Has the rows name `own`, of which the first signs. What changes, changes together with the revision, so that
/// every edge drops what it remembers, and with an event of `by`, where there was somebody who could remember.
///
/// # Errors
/// [`StoreError`]; then nothing was done, or all of it.
pub async fn take_up(
    db: &Db,
    own: &[Fingerprint],
    others: Others,
    by: &Caller,
    now: Timestamp,
) -> Result<Adoption, StoreError> {
    const NOTHING: Adoption = Adoption::Named { added: 0, withdrawn: 0, revision: None };
    // Mostly there is nothing to do, and nobody is to be kept waiting for that.
    match read(db).await?.plan(own, others) {
        Ok(plan) if plan.is_empty() => return Ok(NOTHING),
        Ok(_) => {}
        Err(refused) => return Ok(refused),
    }
    let mut tx = db.begin("name signers").await?;
    tx.execute(LOCK, &[]).await?;
    let signers = Signers::of(&tx.fetch::<SignerRow>(ALL, &[]).await?)?;
    let plan = match signers.plan(own, others) {
        Ok(plan) if plan.is_empty() => return Ok(NOTHING),
        Ok(plan) => plan,
        Err(refused) => return Ok(refused),
    };
    let revision = if is_first(&mut tx, &signers).await? {
        None
    } else {
        Some(invalidate_everything(&mut tx, &AUTHORITY).await?.revision())
    };
    let number = revision.unwrap_or_default().0;
    for fingerprint in &plan.name {
        tx.execute(NAME, values![&fingerprint.0, number, now.0]).await?;
    }
    for fingerprint in &plan.withdraw {
        tx.execute(WITHDRAW, values![&fingerprint.0, number, now.0]).await?;
    }
    let (added, withdrawn) = (plan.name.len(), plan.withdraw.len());
    if let Some(revision) = revision {
        let action =
            if withdrawn > 0 { Action::SigningKeyRevoked } else { Action::SigningKeyRotated };
        let changes = format!(r#"{{"secrets":{{"added":{added},"withdrawn":{withdrawn}}}}}"#);
        let event = Event::done(action, Target::Service(crate::NAME), now, by);
        append(&mut tx, &AUDIT, &event.took(revision).changing(&changes)).await?;
    }
    tx.commit().await?;
    Ok(Adoption::Named { added, withdrawn, revision })
}

/// The fingerprint in a row.
///
/// # Errors
/// [`StoreError`] where it is none of this release's.
pub fn fingerprint(bytes: &[u8]) -> Result<Fingerprint, StoreError> {
    let fingerprint = bytes.try_into().map(Fingerprint);
    fingerprint
        .map_err(|_length| StoreError::Unexpected("a signer is not known by this release's mark"))
}

/// Whether there was nothing that anybody could remember: no secret named, and no session opened.
async fn is_first(tx: &mut Tx, signers: &Signers) -> Result<bool, StoreError> {
    if *signers != Signers::default() {
        return Ok(false);
    }
    let session: Option<(i64,)> = tx.fetch_first(ANY_SESSION, &[]).await?;
    Ok(session.is_none())
}
