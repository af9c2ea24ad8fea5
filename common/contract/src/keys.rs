//! What the key service answers: issue, list, revoke and verify API keys.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::authority::{Authority, CHANGE_ATTEMPT, CHANGE_TIMEOUT, Changed, Receipt};
use crate::caller::Sender;
use crate::credential::CredentialHash;
use crate::ids::{KeyId, Timestamp, UserId};
use crate::lease::{Epoch, MemberId, MemberResult, Revision};
use crate::principal::before::KeyPrincipalBefore;
use crate::rpc::{ATTEMPT, Retry, Rpc, VERIFY_ATTEMPT};
use crate::secret::{Secret, exposed, exposed_option};
use crate::verdict::Verdicts;

/// How long one attempt to make a key waits. Longer than others: each attempt writes.
const ISSUE_ATTEMPT: Duration = Duration::from_secs(2);
/// Characters of a seed at least.
pub const SEED_MIN: usize = 32;

/// The key service, on API keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeysAuthority {}

/// Makes a key for `owner`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IssueKey {
    /// The user whose key it is to be: the one who acts.
    pub owner: UserId,
    /// 1 to 100 characters after trimming; `None` where it is missing or no text.
    pub name: Option<String>,
    /// How long the key is to live.
    pub expires_in: ExpiresIn,
    /// What the key is made from: at least [`SEED_MIN`] random characters, made by the sender for one request of a
    /// client. The same seed makes the same key, so a doubled message gets the same answer. `None`: the
    /// service takes random bits of its own.
    #[serde(default, with = "exposed_option")]
    pub seed: Option<Secret>,
}

/// How long a new key is to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExpiresIn {
    /// As long as the service is configured to give.
    Default,
    /// So many days: 1 to as many as the key service is configured to allow.
    Days(i64),
    /// The caller sent something that is no whole number of 64 bits.
    NotAnInteger,
}

/// A key that was made. The only message that holds its text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IssuedKey {
    /// What a list shows of it from now on.
    pub listed: ListedKey,
    /// The key itself, never to be seen again.
    #[serde(with = "exposed")]
    pub key: Secret,
}

/// A page of `owner`'s keys, oldest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ListKeys {
    /// The user whose keys they are: the one who acts.
    pub owner: UserId,
    /// Only keys with a greater id; 0 for the first page.
    pub after: KeyId,
    /// How many at most: 1 to [`MAX_BATCH`](crate::wire::MAX_BATCH).
    pub limit: u32,
}

/// A page of keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPage {
    /// The keys by rising id.
    pub keys: Vec<ListedKey>,
    /// Whether there are keys behind the last of these.
    pub more: bool,
}

/// What is shown of a key after it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedKey {
    /// The key's id.
    pub id: KeyId,
    /// The name its owner gave it.
    pub name: String,
    /// Enough of the key to recognise it by.
    pub hint: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// From then on it is no longer accepted.
    pub expires_at: Timestamp,
    /// Whether its owner ended it.
    pub is_revoked: bool,
    /// When it was last accepted, at most 10 s behind; `None` before the first use.
    pub last_used_at: Option<Timestamp>,
}

/// Ends a key of `owner`'s: it is refused from the reply on. Revoking twice is no error.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RevokeKey {
    /// The user whose key it is: the one who acts, unless an edge ends a key that it could show nobody.
    pub owner: UserId,
    /// The key to end.
    pub key: KeyId,
    /// Whether the reply comes when no edge accepts the key any more, or as soon as it is on disk.
    pub wait: bool,
}

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SetOwner {
    /// The user.
    pub owner: UserId,
    /// Whether their keys are refused: the account is deactivated.
    pub disabled: bool,
    /// The identity service's history that the revision counts. Another history replaces what was told.
    pub epoch: Epoch,
    /// The revision of the decision.
    pub revision: Revision,
}

/// Asks how far the key service was told of owners.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReadTelling;

/// How far the key service was told of owners: of each that is deactivated, and with that of each that is not.
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
}

/// Tells which owners are deactivated, a page at a time: every other one in the page's range is not. A decision that
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
    /// By rising id, at most [`TellOwners::MAX`].
    pub deactivated: Vec<UserId>,
    /// Whether the page ends with the last of these; if not, it goes to the end.
    pub more: bool,
}

/// Tells when keys were last accepted. Counts for [`ListedKey::last_used_at`].
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
        self.is_current && self.of == Some(of) && self.through.is_none()
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
}

impl RecordUses {
    /// Keys in one report at most; a report is at most 18 bytes a key.
    pub const MAX: usize = 2_000;
}

impl Rpc for IssueKey {
    const SUBJECT: &'static str = "v1.keys.issue";
    const TIMEOUT: Duration = Duration::from_secs(5);
    // The seed makes it so.
    const RETRY: Retry = Retry::Idempotent(ISSUE_ATTEMPT);
    const SENDER: Option<Sender> = Some(Sender::Edge);
    type Reply = IssuedKey;
}

impl Rpc for ListKeys {
    const SUBJECT: &'static str = "v1.keys.list";
    const TIMEOUT: Duration = Duration::from_secs(5);
    const RETRY: Retry = Retry::Idempotent(ATTEMPT);
    const SENDER: Option<Sender> = Some(Sender::Edge);
    type Reply = KeyPage;
}

impl Rpc for RevokeKey {
    const SUBJECT: &'static str = "v1.keys.revoke";
    const TIMEOUT: Duration = CHANGE_TIMEOUT;
    const RETRY: Retry = Retry::Idempotent(CHANGE_ATTEMPT);
    const SENDER: Option<Sender> = Some(Sender::Edge);
    type Reply = Changed;
}

impl Authority for KeysAuthority {
    type Question = CredentialHash;
    type Verify = VerifyKeys;
    type Before = KeyPrincipalBefore;
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
