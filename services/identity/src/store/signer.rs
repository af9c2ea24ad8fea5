//! The rows of `identity_signers` that are of secrets: whose tokens are accepted, and whose were taken back.

use latchkey_audit::{Action, Event, Target, append};
use latchkey_authority::invalidate_everything;
use latchkey_contract::lease::Revision;
use latchkey_contract::{Caller, Timestamp};
use latchkey_store::{Db, StoreError, Tx, values};
use sqlx::FromRow;

use super::{AUDIT, AUTHORITY, era, lock, signing_key};
use crate::fingerprint::Fingerprint;

pub(super) const ALL: &str =
    "SELECT fingerprint, withdrawn_at FROM identity_signers WHERE kid IS NULL";
pub(super) const ANY_SESSION: &str = "SELECT user_id FROM sessions LIMIT 1";
pub(super) const NAME: &str = "INSERT INTO identity_signers \
    (fingerprint, named_position, named_at) VALUES ($1, $2, $3)";
pub(super) const WITHDRAW: &str = "UPDATE identity_signers \
    SET withdrawn_position = $2, withdrawn_at = $3 WHERE fingerprint = $1";
/// The secret of the last start.
pub(super) const LAST: &str = "SELECT signing_secret FROM identity_settings WHERE id = 1";
pub(super) const SET_LAST: &str = "UPDATE identity_settings SET signing_secret = $1 WHERE id = 1";

/// What the rows say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signers {
    /// Whose tokens are accepted.
    pub named: Vec<Fingerprint>,
    /// Whose tokens are not accepted any more.
    pub withdrawn: Vec<Fingerprint>,
    /// Who signed at the last start, where a release that writes it down has started.
    pub last: Option<Fingerprint>,
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
        /// Whether the one that signed at the last start is among them: every session has ended.
        sessions_end: bool,
        /// The change's number; `None` where there was nothing to change, or nobody to tell.
        revision: Option<Revision>,
    },
    /// They name others, and none that the process holds. Nothing was done.
    Unknown,
    /// Its own was taken back, and stays so. Nothing was done.
    Withdrawn,
}

type LastRow = (Option<Vec<u8>>,);

#[derive(FromRow)]
struct SignerRow {
    fingerprint: Vec<u8>,
    withdrawn_at: Option<i64>,
}

struct Plan {
    name: Vec<Fingerprint>,
    withdraw: Vec<Fingerprint>,
    /// The secret of this start, where that of the last was another.
    last: Option<Fingerprint>,
    sessions_end: bool,
}

impl Signers {
    fn of(rows: &[SignerRow], last: Option<&LastRow>) -> Result<Self, StoreError> {
        let last = last.and_then(|(last,)| last.as_deref()).map(fingerprint).transpose()?;
        let mut signers = Self { last, ..Self::default() };
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
        let Some(signing) = own.first().filter(|mine| !self.withdrawn.contains(mine)) else {
            return Err(Adoption::Withdrawn);
        };
        let may = match others {
            Others::Stay => {
                self.named.is_empty() || own.iter().any(|mine| self.named.contains(mine))
            }
            Others::Withdrawn => true,
            Others::WithdrawnByNamed => self.named.contains(signing),
        };
        if !may {
            return Err(Adoption::Unknown);
        }
        let is_new =
            |mine: &&Fingerprint| !self.named.contains(mine) && !self.withdrawn.contains(mine);
        let is_other = |named: &&Fingerprint| others != Others::Stay && !own.contains(named);
        let withdraw: Vec<_> = self.named.iter().filter(is_other).copied().collect();
        // A release that knows nothing of it leaves it open who signed: whoever is named goes on.
        let sessions_end = match self.last {
            Some(last) => withdraw.contains(&last),
            None => !withdraw.is_empty() && !self.named.contains(signing),
        };
        Ok(Plan {
            name: own.iter().filter(is_new).copied().collect(),
            withdraw,
            last: (self.last != Some(*signing)).then_some(*signing),
            sessions_end,
        })
    }
}

impl Plan {
    fn is_empty(&self) -> bool {
        self.name.is_empty() && self.withdraw.is_empty() && self.last.is_none()
    }
}

/// What the rows say now.
///
/// # Errors
/// [`StoreError`]
pub async fn read(db: &Db) -> Result<Signers, StoreError> {
    let last: Option<LastRow> = db.fetch_first(LAST, &[]).await?;
    Signers::of(&db.fetch::<SignerRow>(ALL, &[]).await?, last.as_ref())
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
    const NOTHING: Adoption =
        Adoption::Named { added: 0, withdrawn: 0, sessions_end: false, revision: None };
    // Mostly there is nothing to do, and nobody is to be kept waiting for that.
    match read(db).await?.plan(own, others) {
        Ok(plan) if plan.is_empty() => return Ok(NOTHING),
        Ok(_) => {}
        Err(refused) => return Ok(refused),
    }
    let mut tx = db.begin("name signers").await?;
    tx.execute(lock::REVISION, &[]).await?;
    let last: Option<LastRow> = tx.fetch_first(LAST, &[]).await?;
    let signers = Signers::of(&tx.fetch::<SignerRow>(ALL, &[]).await?, last.as_ref())?;
    let plan = match signers.plan(own, others) {
        Ok(plan) if plan.is_empty() => return Ok(NOTHING),
        Ok(plan) => plan,
        Err(refused) => return Ok(refused),
    };
    let (added, withdrawn) = (plan.name.len(), plan.withdraw.len());
    let revision = if added + withdrawn == 0 || is_first(&mut tx, &signers).await? {
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
    if let Some(last) = plan.last {
        tx.execute(SET_LAST, values![&last.0]).await?;
    }
    let sessions_end = plan.sessions_end;
    if sessions_end {
        signing_key::revoke_each(&mut tx, number, now).await?;
        era::begin_next(&mut tx).await?;
    }
    if let Some(revision) = revision {
        let action =
            if withdrawn > 0 { Action::SigningKeyRevoked } else { Action::SigningKeyRotated };
        let changes = format!(r#"{{"secrets":{{"added":{added},"withdrawn":{withdrawn}}}}}"#);
        let event = Event::done(action, Target::Service(crate::NAME), now, by);
        append(&mut tx, &AUDIT, &event.took(revision).changing(&changes)).await?;
    }
    tx.commit().await?;
    Ok(Adoption::Named { added, withdrawn, sessions_end, revision })
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
    if !signers.named.is_empty() || !signers.withdrawn.is_empty() {
        return Ok(false);
    }
    let session: Option<(i64,)> = tx.fetch_first(ANY_SESSION, &[]).await?;
    Ok(session.is_none())
}
