//! What an edge asks of an authority besides verdicts: to join, to keep its lease, to leave. An authority
//! is a service that has the last word on one kind of credential.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::credential::CredentialHash;
use crate::ids::Timestamp;
use crate::lease::{Invalidate, Joined, MemberId, MemberResult, Renewed, Revision};
use crate::rpc::{Retry, Rpc, VERIFY_ATTEMPT};
use crate::verdict::Verdicts;

/// How long a caller waits for a change to be confirmed: longer than any revoke waits for its edges.
pub const CHANGE_TIMEOUT: Duration = Duration::from_secs(9);

/// What an attempt at a change waits for besides the wait for the edges: the way, the database's lock, the
/// commit.
pub const CHANGE_MARGIN: Duration = Duration::from_millis(1_800);

/// How long a caller waits for one replica to confirm a change before it asks another, where nothing is
/// configured: the wait for a dead edge, and the margin. Who knows the settings waits by [`change_attempt`].
pub const CHANGE_ATTEMPT: Duration = Duration::from_secs(4);

/// The same where authorities wait for `wait`: an attempt that gives up before its answer is a repeat
/// that begins to wait anew.
#[must_use]
pub fn change_attempt(wait: Duration) -> Duration {
    wait.saturating_add(CHANGE_MARGIN)
}

/// One authority: its name, and where it is asked.
pub trait Authority: Clone + Send + Sync + 'static {
    /// One question about a credential.
    type Question: Clone + Send + Sync + 'static;
    /// Many of them in one message.
    type Verify: Rpc<Reply = MemberResult<Verdicts<Self>>>;

    /// The service's name.
    const NAME: &'static str;
    /// Of [`Join`].
    const JOIN: &'static str;
    /// Of [`Renew`].
    const RENEW: &'static str;
    /// Of [`Leave`].
    const LEAVE: &'static str;
    /// Where [`Invalidating`] is published.
    const INVALIDATIONS: &'static str;

    /// Asks `questions` on behalf of `member`; the verdicts come in the same order.
    fn verify(questions: Vec<Self::Question>, member: Option<MemberId>) -> Self::Verify;
}

/// Becomes a member, under an id that nobody has had.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Join<A: Authority> {
    /// 128 random bits, made for this question.
    pub member: MemberId,
    /// How long the asker relies on an answer, in milliseconds. An authority that waits for less than that
    /// takes no such member.
    pub lease_ms: u64,
    authority: PhantomData<fn() -> A>,
}

/// Asks for everything since a revision, and with it for a further lease.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Renew<A: Authority> {
    /// Who asks.
    pub member: MemberId,
    /// Up to where it has applied every change.
    pub since: Revision,
    authority: PhantomData<fn() -> A>,
}

/// Says that this member has forgotten everything and will not be back: nobody need wait for it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Leave<A: Authority> {
    /// Who leaves.
    pub member: MemberId,
    authority: PhantomData<fn() -> A>,
}

/// A change as it is published, and where its acknowledgements go: the replica that waits for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invalidating {
    /// The change.
    pub invalidate: Invalidate<CredentialHash>,
    /// Which replica waits.
    pub waiter: WaiterId,
}

/// One process of an authority that waits for acknowledgements: 64 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WaiterId(pub [u8; 8]);

impl<A: Authority> Join<A> {
    /// A question by `member`, whose lease is `lease_ms` milliseconds.
    #[must_use]
    pub fn new(member: MemberId, lease_ms: u64) -> Self {
        Self { member, lease_ms, authority: PhantomData }
    }
}

impl<A: Authority> Renew<A> {
    /// A question by `member`, which has applied everything up to `since`.
    #[must_use]
    pub fn new(member: MemberId, since: Revision) -> Self {
        Self { member, since, authority: PhantomData }
    }
}

impl<A: Authority> Leave<A> {
    /// A farewell of `member`.
    #[must_use]
    pub fn new(member: MemberId) -> Self {
        Self { member, authority: PhantomData }
    }
}

impl<A: Authority> Rpc for Join<A> {
    const SUBJECT: &'static str = A::JOIN;
    const TIMEOUT: Duration = Duration::from_secs(2);
    type Reply = Joined;
}

impl<A: Authority> Rpc for Renew<A> {
    const SUBJECT: &'static str = A::RENEW;
    const TIMEOUT: Duration = Duration::from_secs(2);
    const RETRY: Retry = Retry::Idempotent(VERIFY_ATTEMPT);
    type Reply = MemberResult<Renewed<CredentialHash>>;
}

impl<A: Authority> Rpc for Leave<A> {
    const SUBJECT: &'static str = A::LEAVE;
    const TIMEOUT: Duration = Duration::from_secs(1);
    const RETRY: Retry = Retry::Idempotent(VERIFY_ATTEMPT);
    // Who leaves is not waited for any more, so nobody may say it of another.
    const SIGNED: bool = true;
    type Reply = ();
}

impl WaiterId {
    /// Where members of an authority acknowledge to this replica; `user` is the member's on the bus, so
    /// that the server lets nobody acknowledge in another's name.
    #[must_use]
    pub fn subject<A: Authority>(self, user: impl fmt::Display) -> String {
        format!("v1.{}.acknowledge.{self}.{user}", A::NAME)
    }
}

impl fmt::Display for WaiterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// What the answer to a change says of it: every edge is past it, or can no longer rely on anything older.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The change's number. A verification that names it is never answered from anything older.
    pub revision: Revision,
    /// Edges that said they have applied it.
    pub edges_confirmed: u32,
    /// How long it waited for them after the change was on disk, in milliseconds.
    pub waited_ms: u64,
}

/// How a change is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Changed {
    /// No edge accepts the credential any more.
    Confirmed(Receipt),
    /// The change is on disk, and its sender did not want to wait.
    Committed {
        /// The change's number.
        revision: Revision,
        /// From then on no edge accepts the credential.
        exact_from: Timestamp,
    },
}
