//! Principals by the contract before: each kind had a form of its own.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::{Message, Untranslatable};
use crate::authority::Authority;
use crate::ids::{KeyId, SessionId, Timestamp, UserId};
use crate::lease::ReadAt;
use crate::principal::{Detail, KeyDetail, Owner, Principal, UserDetail};
use crate::{Verdict, Verdicts};

/// One kind of principal.
pub trait PrincipalBefore: Serialize + DeserializeOwned + Into<Principal> {
    /// What is said of a principal.
    ///
    /// # Errors
    /// [`Untranslatable`] of any other kind.
    fn of(principal: Principal) -> Result<Self, Untranslatable>;
}

/// Who an access token stands for.
#[derive(Serialize, Deserialize)]
pub struct UserPrincipalBefore {
    user: UserId,
    username: SmolStr,
    email: SmolStr,
    session: SessionId,
    is_original: bool,
    expires_at: Timestamp,
}

/// Who an API key stands for.
#[derive(Serialize, Deserialize)]
pub struct KeyPrincipalBefore {
    key: KeyId,
    name: SmolStr,
    owner: UserId,
    expires_at: Timestamp,
}

/// [`Verdicts`] on one kind of credential.
#[derive(Serialize, Deserialize)]
pub struct VerdictsBefore<P> {
    read_at: ReadAt,
    verdicts: Vec<VerdictBefore<P>>,
}

/// [`Verdict`] that does not say what a refusal depends on.
#[derive(Serialize, Deserialize)]
enum VerdictBefore<P> {
    Valid(P),
    Malformed,
    Unknown,
    Revoked,
    Expired,
    Inactive,
}

impl<P: PrincipalBefore> VerdictBefore<P> {
    fn of(verdict: Verdict<Principal>) -> Result<Self, Untranslatable> {
        Ok(match verdict {
            Verdict::Valid(principal) => Self::Valid(P::of(principal)?),
            Verdict::Malformed => Self::Malformed,
            Verdict::Unknown => Self::Unknown,
            Verdict::Revoked => Self::Revoked,
            Verdict::Expired(_) => Self::Expired,
            Verdict::Inactive(_) => Self::Inactive,
        })
    }
}

impl<P: PrincipalBefore> From<VerdictBefore<P>> for Verdict<Principal> {
    fn from(before: VerdictBefore<P>) -> Self {
        match before {
            VerdictBefore::Valid(principal) => Self::Valid(principal.into()),
            VerdictBefore::Malformed => Self::Malformed,
            VerdictBefore::Unknown => Self::Unknown,
            VerdictBefore::Revoked => Self::Revoked,
            VerdictBefore::Expired => Self::Expired(None),
            VerdictBefore::Inactive => Self::Inactive(None),
        }
    }
}

/// The release before answered the whole question or nothing.
const NOT_JUDGED: Untranslatable = Untranslatable("a credential that could not be judged");
/// An authority has one kind of credentials.
const OTHER_KIND: Untranslatable = Untranslatable("a principal of another kind");

impl PrincipalBefore for UserPrincipalBefore {
    fn of(principal: Principal) -> Result<Self, Untranslatable> {
        let Detail::User(user) = principal.detail else { return Err(OTHER_KIND) };
        let UserDetail { id, username, email, session, is_original } = *user;
        let expires_at = principal.expires_at;
        Ok(Self { user: id, username, email, session, is_original, expires_at })
    }
}

impl PrincipalBefore for KeyPrincipalBefore {
    fn of(principal: Principal) -> Result<Self, Untranslatable> {
        let Detail::Key(key) = principal.detail else { return Err(OTHER_KIND) };
        let KeyDetail { id, owner: Owner::User(owner), name } = key;
        Ok(Self { key: id, name, owner, expires_at: principal.expires_at })
    }
}

impl From<UserPrincipalBefore> for Principal {
    fn from(before: UserPrincipalBefore) -> Self {
        let UserPrincipalBefore { user, username, email, session, is_original, expires_at } =
            before;
        let user = UserDetail { id: user, username, email, session, is_original };
        Self { expires_at, detail: Detail::User(user.into()) }
    }
}

impl From<KeyPrincipalBefore> for Principal {
    fn from(before: KeyPrincipalBefore) -> Self {
        let KeyPrincipalBefore { key, name, owner, expires_at } = before;
        let key = KeyDetail { id: key, owner: Owner::User(owner), name };
        Self { expires_at, detail: Detail::Key(key) }
    }
}

impl<A: Authority> Message for Verdicts<A> {
    type Previous = VerdictsBefore<A::Before>;

    fn into_previous(self) -> Result<Self::Previous, Untranslatable> {
        let said = self.verdicts.into_iter();
        let said = said.map(|verdict| verdict.ok_or(NOT_JUDGED).and_then(VerdictBefore::of));
        Ok(VerdictsBefore { read_at: self.read_at, verdicts: said.collect::<Result<_, _>>()? })
    }

    fn from_previous(previous: Self::Previous) -> Result<Self, Untranslatable> {
        let meant = previous.verdicts.into_iter().map(Verdict::from);
        Ok(Self::new(previous.read_at, meant.collect()))
    }
}
