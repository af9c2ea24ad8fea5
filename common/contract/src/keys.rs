//! What the key service answers: issue, list, revoke and verify API keys.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::authority::{Authority, CHANGE_ATTEMPT, CHANGE_TIMEOUT, Receipt};
use crate::credential::CredentialHash;
use crate::ids::{KeyId, Timestamp, UserId};
use crate::lease::{Epoch, MemberId, MemberResult, Revision};
use crate::rpc::{ATTEMPT, Retry, Rpc, VERIFY_ATTEMPT};
use crate::scope::Scopes;
use crate::verdict::Verdicts;
pub use ceiling::{CeilingsTold, SetDefaultCeiling, ToldOwner};
pub use changes::*;
pub use commands::*;
pub use object::{KeyObject, KeyOrigin, KeyState, Lineage, Revocation, RevocationReason, Revoker};
pub use operator::{FindKeys, FoundKey};
pub use weight::MAX_PAGE_WEIGHT;

mod ceiling;
mod changes;
mod commands;
mod object;
mod operator;
pub mod rules;

mod weight;

/// The key service, on API keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeysAuthority {}

/// Asks who each of these keys stands for; the verdicts come in the same order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VerifyKeys {
    /// At most [`MAX_BATCH`](crate::wire::MAX_BATCH) hashes. The keys themselves stay with the caller.
    pub hashes: Vec<CredentialHash>,
    /// Who asks, where the answer is to be remembered. Whoever is no member is told so, and nothing else.
    pub member: Option<MemberId>,
}

/// Tells the whole state of a key owner, as the identity service decided it. What is older than what was told
/// before is refused: a message that comes late undoes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SetOwner {
    /// The user.
    pub owner: UserId,
    /// Whether their keys are refused: the account is deactivated.
    pub disabled: bool,
    /// What their keys may do at most; `None`: what those of all users may. Left out in the outbox where there is none, as
    /// it was before there were any.
    #[serde(default)]
    pub ceiling: Option<Scopes>,
    /// The identity service's history that the revision counts. Another history replaces what was told.
    pub epoch: Epoch,
    /// The revision of the decision.
    pub revision: Revision,
}

/// Asks how far the key service was told of owners.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReadTelling;

/// How far the key service was told of owners: of each that is deactivated or has a ceiling of their own, and with that of
/// each that is and has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Telling {
    /// Rises with each [`TellOwners`] that is taken.
    pub version: i64,
    /// The key service's own history.
    pub epoch: Epoch,
    /// Whether the telling began in that history. If not, no key is accepted until everything was told.
    pub is_current: bool,
    /// The identity service's history that is told; `None` before the first time.
    pub of: Option<Epoch>,
    /// Owners were told of as of this revision.
    pub revision: Revision,
    /// Up to this owner; `None`: all of them.
    pub through: Option<UserId>,
    /// Whether ceilings were told, too.
    pub ceilings: CeilingsTold,
}

/// Tells which owners are deactivated or have a ceiling of their own, a page at a time: every other one in the page's range
/// is and has not. A decision that
/// is newer than [`revision`](Self::revision) and was told by [`SetOwner`] stays. Of a page that is not the one that
/// comes next nothing is done; the reply says how far it is told then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TellOwners {
    /// [`Telling::version`] as the sender read it, before it read what it tells.
    pub version: i64,
    /// [`Telling::epoch`] as the sender read it.
    pub keys: Epoch,
    /// The identity service's history.
    pub of: Epoch,
    /// What is told was read when this revision was there.
    pub revision: Revision,
    /// The page begins behind this owner, up to whom the same telling came; `None`: a telling begins.
    pub after: Option<UserId>,
    /// By rising id, at most [`TellOwners::MAX`], and [`TellOwners::MAX_TEXT`] bytes of ceilings.
    pub owners: Vec<ToldOwner>,
    /// Whether the page ends with the last of these; if not, it goes to the end.
    pub more: bool,
    /// The ceiling of all others. `None`: whoever tells knows no ceilings, and all of them stay what they are.
    pub default_ceiling: Option<Scopes>,
}

/// Tells when keys were last accepted. Counts for [`KeyObject::last_used_at`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecordUses {
    /// At most [`RecordUses::MAX`] keys, each with its latest use.
    pub uses: Vec<(KeyId, Timestamp)>,
}

/// Asks whether the service can do its work: it answers after its database has answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ready;

impl Telling {
    /// Whether all was told of identity's history `of`, in the key service's present one.
    #[must_use]
    pub fn is_complete(&self, of: Epoch) -> bool {
        let knows_ceilings = match self.ceilings {
            CeilingsTold::Unknown => true,
            CeilingsTold::Untold => false,
            CeilingsTold::Of(told) => told == of.made,
        };
        self.is_current && self.of == Some(of) && self.through.is_none() && knows_ceilings
    }

    /// Whether a telling of identity's history `of` is under way.
    #[must_use]
    pub fn is_under_way(&self, of: Epoch) -> bool {
        self.is_current && self.of == Some(of) && self.through.is_some()
    }
}

impl TellOwners {
    /// Owners in one page at most.
    pub const MAX: usize = 500;
    /// Bytes of their ceilings at most, so that a page is shorter than a message may be.
    pub const MAX_TEXT: usize = 32 * 1_024;
}

impl RecordUses {
    /// Keys in one report at most; a report is at most 18 bytes a key.
    pub const MAX: usize = 2_000;
}

impl Authority for KeysAuthority {
    type Question = CredentialHash;
    type Verify = VerifyKeys;
    const NAME: &'static str = "keys";
    const JOIN: &'static str = "v1.keys.join";
    const RENEW: &'static str = "v1.keys.renew";
    const LEAVE: &'static str = "v1.keys.leave";
    const INVALIDATIONS: &'static str = "v1.keys.invalidate";

    fn verify(hashes: Vec<CredentialHash>, member: Option<MemberId>) -> VerifyKeys {
        VerifyKeys { hashes, member }
    }
}

impl Rpc for VerifyKeys {
    const SUBJECT: &'static str = "v1.keys.verify";
    const TIMEOUT: Duration = Duration::from_secs(2);
    const RETRY: Retry = Retry::Idempotent(VERIFY_ATTEMPT);
    type Reply = MemberResult<Verdicts<KeysAuthority>>;
}

impl Rpc for SetOwner {
    const SUBJECT: &'static str = "v1.keys.operator.set-owner";
    const TIMEOUT: Duration = CHANGE_TIMEOUT;
    const RETRY: Retry = Retry::Idempotent(CHANGE_ATTEMPT);
    type Reply = Receipt;
}

impl Rpc for ReadTelling {
    const SUBJECT: &'static str = "v1.keys.operator.telling";
    const TIMEOUT: Duration = Duration::from_secs(2);
    const RETRY: Retry = Retry::Idempotent(ATTEMPT);
    type Reply = Telling;
}

impl Rpc for TellOwners {
    const SUBJECT: &'static str = "v1.keys.operator.tell-owners";
    const TIMEOUT: Duration = Duration::from_secs(5);
    type Reply = Telling;
}

impl Rpc for RecordUses {
    const SUBJECT: &'static str = "v1.keys.uses";
    const TIMEOUT: Duration = Duration::from_secs(2);
    const RETRY: Retry = Retry::Idempotent(ATTEMPT);
    type Reply = ();
}

impl Rpc for Ready {
    const SUBJECT: &'static str = "v1.keys.ready";
    const TIMEOUT: Duration = Duration::from_secs(2);
    const RETRY: Retry = Retry::Idempotent(ATTEMPT);
    type Reply = ();
}
