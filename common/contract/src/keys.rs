//! What the key service answers: issue, list, revoke and verify API keys.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::authority::{CHANGE_ATTEMPT, CHANGE_TIMEOUT, Changed, Receipt};
use crate::credential::CredentialHash;
use crate::ids::{KeyId, Timestamp, UserId};
use crate::lease::{MemberId, Standing};
use crate::rpc::{ATTEMPT, Retry, Rpc, VERIFY_ATTEMPT};
use crate::secret::{Secret, exposed};
use crate::verdict::{KeyPrincipal, Verdicts};

/// Makes a key for `owner`.
#[derive(Debug, Serialize, Deserialize)]
pub struct IssueKey {
    /// The user who asks, from a token that was verified.
    pub owner: UserId,
    /// 1 to 100 characters after trimming; `None` where it is missing or no text.
    pub name: Option<String>,
    /// How long the key is to live.
    pub expires_in: ExpiresIn,
}

/// How long a new key is to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExpiresIn {
    /// As long as the service is configured to give.
    Default,
    /// So many days: 1 to 3650.
    Days(i64),
    /// The caller sent something that is no whole number of 64 bits.
    NotAnInteger,
}

/// A key that was made. The only message that holds its text.
#[derive(Debug, Serialize, Deserialize)]
pub struct IssuedKey {
    /// What a list shows of it from now on.
    pub listed: ListedKey,
    /// The key itself, never to be seen again.
    #[serde(with = "exposed")]
    pub key: Secret,
}

/// A page of `owner`'s keys, oldest first.
#[derive(Debug, Serialize, Deserialize)]
pub struct ListKeys {
    /// The user who asks, from a token that was verified.
    pub owner: UserId,
    /// Only keys with a greater id; 0 for the first page.
    pub after: KeyId,
    /// How many at most: 1 to [`MAX_BATCH`](crate::wire::MAX_BATCH).
    pub limit: u32,
}

/// A page of keys.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Serialize, Deserialize)]
pub struct RevokeKey {
    /// The user who asks, from a token that was verified.
    pub owner: UserId,
    /// The key to end.
    pub key: KeyId,
    /// Whether the reply comes when no edge accepts the key any more, or as soon as it is on disk.
    pub wait: bool,
}

/// Asks who each of these keys stands for; the verdicts come in the same order.
#[derive(Debug, Serialize, Deserialize)]
pub struct VerifyKeys {
    /// At most [`MAX_BATCH`](crate::wire::MAX_BATCH) hashes. The keys themselves stay with the caller.
    pub hashes: Vec<CredentialHash>,
    /// Who asks, where the answer is to be remembered. Whoever is no member is told so, and nothing else.
    pub member: Option<MemberId>,
}

/// Has every key of a user refused, or accepted again: the account was deactivated, or reactivated.
#[derive(Debug, Serialize, Deserialize)]
pub struct DisableOwner {
    /// The user.
    pub owner: UserId,
    /// Whether their keys are refused.
    pub disabled: bool,
}

/// Tells when keys were last accepted. Counts for [`ListedKey::last_used_at`].
#[derive(Debug, Serialize, Deserialize)]
pub struct RecordUses {
    /// At most [`RecordUses::MAX`] keys, each with its latest use.
    pub uses: Vec<(KeyId, Timestamp)>,
}

/// Asks whether the service can do its work: it answers after its database has answered.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ready;

impl RecordUses {
    /// Keys in one report at most; a report is at most 18 bytes a key.
    pub const MAX: usize = 2_000;
}

impl Rpc for IssueKey {
    const SUBJECT: &'static str = "v1.keys.issue";
    const TIMEOUT: Duration = Duration::from_secs(5);
    type Reply = IssuedKey;
}

impl Rpc for ListKeys {
    const SUBJECT: &'static str = "v1.keys.list";
    const TIMEOUT: Duration = Duration::from_secs(5);
    const RETRY: Retry = Retry::Idempotent(ATTEMPT);
    type Reply = KeyPage;
}

impl Rpc for RevokeKey {
    const SUBJECT: &'static str = "v1.keys.revoke";
    const TIMEOUT: Duration = CHANGE_TIMEOUT;
    const RETRY: Retry = Retry::Idempotent(CHANGE_ATTEMPT);
    type Reply = Changed;
}

impl Rpc for VerifyKeys {
    const SUBJECT: &'static str = "v1.keys.verify";
    const TIMEOUT: Duration = Duration::from_secs(2);
    const RETRY: Retry = Retry::Idempotent(VERIFY_ATTEMPT);
    type Reply = Standing<Verdicts<KeyPrincipal>>;
}

impl Rpc for DisableOwner {
    const SUBJECT: &'static str = "v1.keys.operator.disable-owner";
    const TIMEOUT: Duration = CHANGE_TIMEOUT;
    type Reply = Receipt;
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
