//! Principals by the contract before: each kind had a form of its own, and each authority names its own
//! ([`Authority::Before`](crate::authority::Authority::Before)).

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::{Detail, KeyDetail, Owner, Principal, UserDetail};
use crate::ids::{KeyId, SessionId, Timestamp, UserId};
use crate::message::Untranslatable;

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
