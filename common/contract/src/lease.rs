//! What an edge and an authority say to each other so that revoked means revoked: membership, leases,
//! invalidations, acknowledgements. The rules are in the crate `latchkey-revocation`.
//!
//! `C` is how an authority names a credential: by the hash of its text.

use serde::{Deserialize, Serialize};

use crate::ids::{SessionId, UserId};
use crate::principal::Owner;

/// The number of a change to credentials: the authority's database counts them in commit order.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub i64);

/// Which history of a database the revisions count. Two that differ cannot be compared.
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

/// What a change is about, and what an answer depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tag<C> {
    /// One credential.
    Credential(C),
    /// What many credentials share.
    Shared(SharedTag),
    /// Everything.
    All,
    /// A kind that this release does not know, by its number: it means everything, so that a newer authority can
    /// add kinds.
    Unknown(u16),
}

/// What many credentials share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SharedTag {
    /// Their owner.
    Owner(Owner),
    /// The login session that they belong to.
    Session(SessionId),
}

/// One change to credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(bound(serialize = "Tag<C>: Serialize", deserialize = "Tag<C>: Deserialize<'de>"))]
pub struct Invalidation<C> {
    /// Its number.
    pub revision: Revision,
    /// What it is about.
    pub tag: Tag<C>,
}

/// Tells every edge of a change. It is repeated to those that do not acknowledge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(bound(serialize = "Tag<C>: Serialize", deserialize = "Tag<C>: Deserialize<'de>"))]
pub struct Invalidate<C> {
    /// Which history the revision is of.
    pub epoch: Epoch,
    /// The change.
    pub change: Invalidation<C>,
}

/// Sent by an edge once it has applied an [`Invalidate`], not before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Acknowledge {
    /// Who has.
    pub member: MemberId,
    /// Which history the revision is of.
    pub epoch: Epoch,
    /// Which change.
    pub revision: Revision,
}

/// An answer that only a member is given.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MemberResult<T> {
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
    pub revision: Revision,
}

/// The answer to a renewal: everything from one snapshot of the database.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(bound(serialize = "Tag<C>: Serialize", deserialize = "Tag<C>: Deserialize<'de>"))]
pub struct Renewed<C> {
    /// The authority's history.
    pub epoch: Epoch,
    /// The last change so far.
    pub revision: Revision,
    /// The changes since the revision that the asker named.
    pub missed: Missed<C>,
}

/// Changes since a revision.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(bound(serialize = "Tag<C>: Serialize", deserialize = "Tag<C>: Deserialize<'de>"))]
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
    pub revision: Revision,
}

impl<C> Tag<C> {
    /// Every credential of a user.
    #[must_use]
    pub fn of_user(user: UserId) -> Self {
        Self::Shared(SharedTag::Owner(Owner::User(user)))
    }

    /// Every token of a session.
    #[must_use]
    pub fn of_session(session: SessionId) -> Self {
        Self::Shared(SharedTag::Session(session))
    }
}

mod tag;
#[cfg(test)]
mod tests;
