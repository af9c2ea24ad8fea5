//! What is asked of the key service about keys: to make and to show them. [`changes`](super::changes) has the rest.
//!
//! Each command names whose keys it is about, and the scopes of the token that acts where that was narrowed at
//! login. A key that acts is the caller: the service reads what it may do in the transaction of the command.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::object::{KeyObject, KeyOrigin, KeyState};
use crate::caller::Sender;
use crate::credential::CredentialHash;
use crate::grants::{AllowedIps, Metadata};
use crate::idempotency::Idempotency;
use crate::ids::{KeyId, Timestamp, UserId};
use crate::rpc::{ATTEMPT, Retry, Rpc};
use crate::scope::Scopes;
use crate::secret::{Secret, exposed, exposed_option};

/// How long one attempt to make a key waits. Longer than others: each attempt writes.
const ISSUE_ATTEMPT: Duration = Duration::from_secs(2);
/// Characters of a seed at least.
pub const SEED_MIN: usize = 32;

/// What a key is to be. What is not said is the default, or what the key has that acts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewKey {
    /// 1 to 100 characters after trimming; `None` where it is missing or no text.
    pub name: Option<String>,
    /// How long the key is to live.
    pub expires_in: ExpiresIn,
    /// See [`KeyObject`].
    pub description: String,
    /// See [`KeyObject`].
    pub metadata: Metadata,
    /// See [`KeyObject`].
    pub external_id: Option<String>,
    /// See [`KeyObject`].
    pub tags: Vec<String>,
    /// One of the environments of the installation; `None`: the acting key's, or the first.
    pub environment: Option<String>,
    /// What it is granted; `None`: the default of the installation, as far as the owner's ceiling reaches.
    pub scopes: Option<Scopes>,
    /// Where from it may be used; `None`: the acting key's list, or anywhere.
    pub allowed_ips: Option<AllowedIps>,
}

/// How long a new key is to live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExpiresIn {
    /// As long as the service is configured to give.
    #[default]
    Default,
    /// So many days: 1 to 3650.
    Days(i64),
    /// The caller sent something that is no whole number of 64 bits.
    NotAnInteger,
    /// Until this moment.
    At(Timestamp),
}

/// Makes a key for `owner`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IssueKey {
    /// The user whose key it is to be.
    pub owner: UserId,
    /// The scopes of the token that acts, where it is narrowed.
    pub narrowed: Option<Scopes>,
    /// What it is to be.
    pub key: NewKey,
    /// What the key is made from: at least [`SEED_MIN`] random characters, made by the sender for one request of a
    /// client. The same seed makes the same key, so a doubled message gets the same answer. `None`: the
    /// service takes random bits of its own.
    #[serde(default, with = "exposed_option")]
    pub seed: Option<Secret>,
    /// Where the client may ask again.
    pub idempotency: Option<Idempotency>,
}

/// Makes several keys: all or none.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IssueKeys {
    /// As in [`IssueKey`].
    pub owner: UserId,
    /// As in [`IssueKey`].
    pub narrowed: Option<Scopes>,
    /// 1 to [`MAX_MADE`](super::rules::MAX_MADE) of them.
    pub keys: Vec<NewKey>,
    /// As in [`IssueKey`]: each key grows from it and its place.
    #[serde(with = "exposed")]
    pub seed: Secret,
    /// As in [`IssueKey`].
    pub idempotency: Option<Idempotency>,
}

/// A key that was made, and what holds its text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IssuedKey {
    /// What is shown of it from now on.
    pub object: KeyObject,
    /// The key itself, never to be seen again.
    #[serde(with = "exposed")]
    pub key: Secret,
    /// Whether it was made for an earlier request of the client's, by another seed: it may have been shown before.
    pub is_replayed: bool,
}

/// A page of `owner`'s keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListKeys {
    /// The user whose keys they are.
    pub owner: UserId,
    /// Only keys behind this id; `None` for the first page.
    pub after: Option<KeyId>,
    /// How many at most: 1 to [`MAX_BATCH`](crate::wire::MAX_BATCH).
    pub limit: u32,
    /// Whether the newest come first.
    pub newest_first: bool,
    /// Which of them.
    pub filter: KeyFilter,
}

/// Which keys: those for which all of it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyFilter {
    /// In one of these states; none named: in any.
    pub states: Vec<KeyState>,
    /// With all of these tags.
    pub tags: Vec<String>,
    /// Of this environment.
    pub environment: Option<String>,
    /// With this text in their name, in any case.
    pub name: Option<String>,
    /// From there.
    pub origin: Option<KeyOrigin>,
    /// With this external id.
    pub external_id: Option<String>,
    /// Which end before.
    pub expires_before: Option<Timestamp>,
    /// Which were not used since, or never.
    pub unused_since: Option<Timestamp>,
    /// Of this lineage.
    pub lineage: Option<KeyId>,
}

/// A page of keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPage {
    /// The keys by rising id, or by falling. Fewer than were asked for where a message holds no more, or where more rows
    /// would have to be read.
    pub keys: Vec<KeyObject>,
    /// From where the next page goes on; `None` where there is none.
    pub next: Option<KeyId>,
}

/// Shows a key of `owner`'s.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetKey {
    /// The user whose key it is.
    pub owner: UserId,
    /// The key.
    pub key: KeyId,
}

/// Shows the keys of `owner`'s that a text or a hint is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookUpKeys {
    /// The user whose keys they are.
    pub owner: UserId,
    /// What is known of them.
    pub by: KnownBy,
}

/// What is known of a key that is looked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KnownBy {
    /// Its whole text.
    Hash(CredentialHash),
    /// What lists show of it.
    Hint(String),
}

impl ListKeys {
    /// At most `limit` keys of `owner` behind `after`, from the oldest on.
    #[must_use]
    pub fn of(owner: UserId, after: KeyId, limit: u32) -> Self {
        let (after, filter) = (Some(after), KeyFilter::default());
        Self { owner, after, limit, newest_first: false, filter }
    }
}

macro_rules! command {
    ($message:ty, $subject:literal, $timeout:expr, $retry:expr, $reply:ty) => {
        impl Rpc for $message {
            const SUBJECT: &'static str = $subject;
            const TIMEOUT: Duration = $timeout;
            const RETRY: Retry = $retry;
            const SENDER: Option<Sender> = Some(Sender::Edge);
            type Reply = $reply;
        }
    };
}

pub(super) use command;

/// How long an answer that needs no edge is waited for.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);
pub(super) const READ: Retry = Retry::Idempotent(ATTEMPT);
/// A seed makes it so.
const ISSUE: Retry = Retry::Idempotent(ISSUE_ATTEMPT);

command!(IssueKey, "v1.keys.issue", TIMEOUT, ISSUE, IssuedKey);
command!(IssueKeys, "v1.keys.issue-many", TIMEOUT, ISSUE, Vec<IssuedKey>);
command!(ListKeys, "v1.keys.list", TIMEOUT, READ, KeyPage);
command!(GetKey, "v1.keys.get", TIMEOUT, READ, KeyObject);
command!(LookUpKeys, "v1.keys.lookup", TIMEOUT, READ, Vec<KeyObject>);
