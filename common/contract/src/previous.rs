//! The messages as the contract before ([`PREVIOUS`](crate::wire::PREVIOUS)) has them, in both directions:
//! requests of the release before become ours, our replies and refusals become its, and the other way round
//! where this release asks the one before.
//!
//! A message that did not change stands in `same!`. To change one, `X`, under the present number:
//!
//! 1. Copy it, as it was, into `previous/identity.rs`, `previous/keys.rs` or the like, as `XBefore`: the fields
//!    with their serde attributes, `Serialize` and `Deserialize`. Take `X` out of `same!`, change it where it
//!    stands, and write `impl Message for X { type Previous = XBefore; … }` beside `XBefore`. A second change of `X` under the same
//!    number changes only the conversions.
//! 2. [`from_previous`](Message::from_previous) gives a new field the meaning that its absence had.
//!    [`into_previous`](Message::into_previous) may leave out what the other side need not know. What
//!    restricts, conditions or takes away it may not: that is an [`Untranslatable`], which becomes 503 on the way
//!    back and no request at all on the way there. **A translation never widens.**
//! 3. What holds an `X` as a field has changed with it, down to the message that is sent: `same!` does not look
//!    inside. `Result`, `Option`, `Vec` and `MemberResult` pass on what they hold.
//! 4. Pin the bytes by both numbers in `previous/tests.rs`, with `pinned(&x, &[new bytes], &[bytes before])`, and
//!    what cannot be said.
//!
//! A message that is new stands in `same!`: the release before has nobody on its subject. A new variant of
//! [`Refusal`](crate::Refusal) or of any other enum is a change of it. Raising the number empties all of it: everything
//! is `same!` again.

mod identity;
mod keys;
mod owners;
mod refusal;
mod verdict;
mod verify;

use crate::audit::{EventPage, ListEvents};
use crate::authority::{Authority, Changed, Invalidating, Join, Leave, Receipt, Renew};
use crate::credential::CredentialHash;
use crate::lease::{Acknowledge, Joined, MemberResult, Renewed};
use crate::message::{Message, Untranslatable};
use crate::same;

same!(
    // Identity.
    crate::identity::SignUp,
    crate::identity::Account,
    crate::identity::Refresh,
    crate::identity::Refreshed,
    crate::identity::RevokeToken,
    crate::identity::LogOut,
    crate::identity::ListSessions,
    crate::identity::SessionPage,
    crate::identity::EndSession,
    crate::identity::ChangePassword,
    crate::identity::VerifyTokens,
    crate::identity::ReadUser,
    crate::identity::FindUser,
    crate::identity::NameUser,
    crate::identity::UserName,
    crate::identity::SetActive,
    crate::identity::ActiveSet,
    crate::identity::SetCeiling,
    crate::identity::CeilingSet,
    crate::identity::Ready,
    crate::signing::ReadSigningKeys,
    crate::signing::PublishedKeys,
    crate::signing::ListSigningKeys,
    crate::signing::SigningKey,
    crate::signing::RevokeSigningKey,
    // Keys.
    crate::keys::IssueKeys,
    crate::keys::GetKey,
    crate::keys::LookUpKeys,
    crate::keys::FindKeys,
    crate::keys::FoundKey,
    crate::keys::UpdateKey,
    crate::keys::SetKeyEnabled,
    crate::keys::KeyChanged,
    crate::keys::RevokeKeys,
    crate::keys::RevokeShown,
    crate::keys::KeysRevoked,
    crate::keys::RotateKey,
    crate::keys::RotatedKey,
    crate::keys::KeyObject,
    crate::keys::PurgeKey,
    crate::keys::VerifyKeys,
    crate::keys::SetDefaultCeiling,
    crate::keys::ReadTelling,
    crate::keys::RecordUses,
    crate::keys::Ready,
    // Of both authorities.
    EventPage,
    Receipt,
    Changed,
    Joined,
    Acknowledge,
    Invalidating,
    Renewed<CredentialHash>,
);

/// The same for messages of either authority.
macro_rules! same_for_each_authority {
    ($($message:ident),*) => {$(
        impl<A: Authority> Message for $message<A> {
            type Previous = Self;

            fn into_previous(self) -> Result<Self, Untranslatable> {
                Ok(self)
            }

            fn from_previous(previous: Self) -> Result<Self, Untranslatable> {
                Ok(previous)
            }
        }
    )*};
}

same_for_each_authority!(Join, Renew, Leave, ListEvents);

impl<T: Message> Message for MemberResult<T> {
    type Previous = MemberResult<T::Previous>;

    fn into_previous(self) -> Result<Self::Previous, Untranslatable> {
        Ok(match self {
            Self::NotMember => MemberResult::NotMember,
            Self::Member(answer) => MemberResult::Member(answer.into_previous()?),
        })
    }

    fn from_previous(previous: Self::Previous) -> Result<Self, Untranslatable> {
        Ok(match previous {
            MemberResult::NotMember => Self::NotMember,
            MemberResult::Member(answer) => Self::Member(T::from_previous(answer)?),
        })
    }
}

#[cfg(test)]
mod tests;
