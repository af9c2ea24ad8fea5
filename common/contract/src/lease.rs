//! What an edge and an authority say to each other so that revoked means revoked: membership, leases,
//! invalidations, acknowledgements. The rules are in the crate `latchkey-revocation`.
//!
//! `C` is how an authority names a credential: an API key by its hash, a token by its session.

use std::marker::PhantomData;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::credential::CredentialHash;
use crate::ids::{SessionId, UserId};
use crate::rpc::Rpc;
use crate::secret::{Secret, exposed_list};
use crate::verdict::{KeyPrincipal, UserPrincipal, Verdict};

/// The number of a change to credentials: the authority's database counts them in commit order.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Position(pub i64);

/// Which history of a database the positions count. Two that differ cannot be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Epoch {
    /// A random number, made together with the row that counts.
    pub made: i64,
    /// The timeline of the database server; it grows when a standby takes over. 0 where there is none.
    pub timeline: i64,
}

/// One holder of cached answers: 128 random bits, made afresh at each start and each time it joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MemberId(pub [u8; 16]);

/// What is invalidated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Subject<C> {
    /// One credential.
    Credential(C),
    /// Every credential of one user.
    Owner(UserId),
}

/// One change to credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Invalidation<C> {
    /// Its number.
    pub position: Position,
    /// What it is about.
    pub subject: Subject<C>,
}

/// Tells every edge of a change. It is repeated to those that do not acknowledge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Invalidate<C> {
    /// Which history the position is of.
    pub epoch: Epoch,
    /// The change.
    pub change: Invalidation<C>,
}

/// Sent by an edge once it has applied an [`Invalidate`], not before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Acknowledge {
    /// Who has.
    pub member: MemberId,
    /// Which history the position is of.
    pub epoch: Epoch,
    /// Which change.
    pub position: Position,
}

/// An answer that only a member is given.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Standing<T> {
    /// The asker is no member, or no longer: it must forget everything and join anew.
    NotMember,
    /// The answer.
    Member(T),
}

/// The answer to a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Joined {
    /// The authority's history.
    pub epoch: Epoch,
    /// The last change so far.
    pub position: Position,
}

/// The answer to a renewal: everything from one snapshot of the database.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Renewed<C> {
    /// The authority's history.
    pub epoch: Epoch,
    /// The last change so far.
    pub position: Position,
    /// The changes since the position that the asker named.
    pub missed: Missed<C>,
}

/// Changes since a position.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Missed<C> {
    /// All of them.
    These(Vec<Invalidation<C>>),
    /// More than are told one by one: drop every cached answer.
    TooMany,
}

/// Where the answer to a verification was read: one snapshot of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReadAt {
    /// The authority's history.
    pub epoch: Epoch,
    /// The last change that the answer knows of.
    pub position: Position,
}

/// One of the two services that say who a credential stands for.
pub trait Authority: Send + Sync + 'static {
    /// How it names a credential in an invalidation.
    type Credential: Serialize + DeserializeOwned + Send + Sync + 'static;
    /// Where it is asked to join.
    const JOIN: &'static str;
    /// Where it is asked to renew.
    const RENEW: &'static str;
    /// Where its [`Invalidate`] is published, to every edge.
    const INVALIDATE: &'static str;
    /// Where [`Acknowledge`] is published. The edge's name on the bus follows as one more token, so that
    /// the bus's permissions say who may send it.
    const ACKNOWLEDGE: &'static str;
}

/// The key service.
#[derive(Debug)]
pub struct Keys;

/// The identity service.
#[derive(Debug)]
pub struct Identity;

impl Authority for Keys {
    type Credential = CredentialHash;
    const JOIN: &'static str = "v1.keys.join";
    const RENEW: &'static str = "v1.keys.renew";
    const INVALIDATE: &'static str = "v1.keys.invalidate";
    const ACKNOWLEDGE: &'static str = "v1.keys.acknowledge";
}

impl Authority for Identity {
    type Credential = SessionId;
    const JOIN: &'static str = "v1.identity.join";
    const RENEW: &'static str = "v1.identity.renew";
    const INVALIDATE: &'static str = "v1.identity.invalidate";
    const ACKNOWLEDGE: &'static str = "v1.identity.acknowledge";
}

/// Asks the authority `A` to take a holder of cached answers as a member.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Join<A> {
    /// An id that was never used before.
    pub member: MemberId,
    #[serde(skip)]
    authority: PhantomData<fn() -> A>,
}

/// Asks the authority `A` for the changes since a position; the answer extends the lease.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Renew<A> {
    /// Who asks.
    pub member: MemberId,
    /// What it has applied.
    pub since: Position,
    #[serde(skip)]
    authority: PhantomData<fn() -> A>,
}

/// Asks who each of these keys stands for, for a cache: a member alone is answered.
#[derive(Debug, Serialize, Deserialize)]
pub struct VerifyKeysForCache {
    /// Who asks.
    pub member: MemberId,
    /// At most [`MAX_BATCH`](crate::wire::MAX_BATCH) hashes.
    pub hashes: Vec<CredentialHash>,
}

/// Asks who each of these access tokens stands for, for a cache: a member alone is answered.
#[derive(Debug, Serialize, Deserialize)]
pub struct VerifyTokensForCache {
    /// Who asks.
    pub member: MemberId,
    /// The tokens, within the bounds of [`VerifyTokens`](crate::identity::VerifyTokens).
    #[serde(with = "exposed_list")]
    pub tokens: Vec<Secret>,
}

impl<A> Join<A> {
    /// Asks for `member`.
    #[must_use]
    pub fn new(member: MemberId) -> Self {
        Self { member, authority: PhantomData }
    }
}

impl<A> Renew<A> {
    /// Asks for `member`, which has applied everything up to `since`.
    #[must_use]
    pub fn new(member: MemberId, since: Position) -> Self {
        Self { member, since, authority: PhantomData }
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
    type Reply = Standing<Renewed<A::Credential>>;
}

impl Rpc for VerifyKeysForCache {
    const SUBJECT: &'static str = "v1.keys.verify.cache";
    const TIMEOUT: Duration = Duration::from_secs(2);
    type Reply = Standing<(ReadAt, Vec<Verdict<KeyPrincipal>>)>;
}

impl Rpc for VerifyTokensForCache {
    const SUBJECT: &'static str = "v1.identity.verify.cache";
    const TIMEOUT: Duration = Duration::from_secs(2);
    type Reply = Standing<(ReadAt, Vec<Verdict<UserPrincipal>>)>;
}

#[cfg(test)]
mod tests;
