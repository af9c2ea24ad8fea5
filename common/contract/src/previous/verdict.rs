//! Verdicts and principals by the contract before: without scopes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::authority::Authority;
use crate::grants::Grants;
use crate::ids::{KeyId, SessionId, Timestamp, UserId};
use crate::lease::ReadAt;
use crate::message::{Message, Untranslatable};
use crate::principal::{Detail, KeyDetail, Owner, Principal, UserDetail};
use crate::verdict::{Stored, Verdict, Verdicts};

/// [`Verdicts`] on principals without grants.
#[derive(Serialize, Deserialize)]
pub struct VerdictsBefore {
    read_at: ReadAt,
    verdicts: Vec<Option<VerdictBefore>>,
    authority: (),
}

/// [`Verdict`] that knows no disabled keys.
#[derive(Serialize, Deserialize)]
enum VerdictBefore {
    Valid(PrincipalBefore),
    Malformed,
    Unknown,
    Revoked,
    Expired(Option<Box<Stored>>),
    Inactive(Option<Box<Stored>>),
}

/// [`Principal`] without grants.
#[derive(Serialize, Deserialize)]
struct PrincipalBefore {
    expires_at: Timestamp,
    detail: DetailBefore,
}

#[derive(Serialize, Deserialize)]
enum DetailBefore {
    User(UserBefore),
    Key(KeyBefore),
}

/// [`UserDetail`] of a token that may do whatever its user may.
#[derive(Serialize, Deserialize)]
struct UserBefore {
    id: UserId,
    username: SmolStr,
    email: SmolStr,
    session: SessionId,
    is_original: bool,
}

/// [`KeyDetail`] without its lineage.
#[derive(Serialize, Deserialize)]
struct KeyBefore {
    id: KeyId,
    owner: Owner,
    name: SmolStr,
}

/// Whoever reads no scopes would take the credential for one that may do everything.
const RESTRICTED: Untranslatable = Untranslatable("a credential that is restricted");

impl TryFrom<Principal> for PrincipalBefore {
    type Error = Untranslatable;

    fn try_from(principal: Principal) -> Result<Self, Untranslatable> {
        let Principal { expires_at, detail, grants } = principal;
        if !grants.is_unrestricted() {
            return Err(RESTRICTED);
        }
        let detail = match detail {
            Detail::User(user) => {
                let UserDetail { id, username, email, session, is_original, is_narrowed } = *user;
                if is_narrowed {
                    return Err(RESTRICTED);
                }
                DetailBefore::User(UserBefore { id, username, email, session, is_original })
            }
            Detail::Key(KeyDetail { id, owner, name, lineage: _ }) => {
                DetailBefore::Key(KeyBefore { id, owner, name })
            }
        };
        Ok(Self { expires_at, detail })
    }
}

/// Of a service that knows no scopes: none was taken away.
impl From<PrincipalBefore> for Principal {
    fn from(before: PrincipalBefore) -> Self {
        let detail = match before.detail {
            DetailBefore::User(UserBefore { id, username, email, session, is_original }) => {
                let is_narrowed = false;
                let user = UserDetail { id, username, email, session, is_original, is_narrowed };
                Detail::User(user.into())
            }
            DetailBefore::Key(KeyBefore { id, owner, name }) => {
                Detail::Key(KeyDetail { id, owner, name, lineage: id })
            }
        };
        Self { expires_at: before.expires_at, detail, grants: Arc::new(Grants::everything()) }
    }
}

impl VerdictBefore {
    fn of(verdict: Verdict<Principal>) -> Result<Self, Untranslatable> {
        Ok(match verdict {
            Verdict::Valid(principal) => Self::Valid(principal.try_into()?),
            Verdict::Malformed => Self::Malformed,
            Verdict::Unknown => Self::Unknown,
            Verdict::Revoked => Self::Revoked,
            Verdict::Expired(stored) => Self::Expired(stored),
            // Both are refused until somebody allows it again.
            Verdict::Inactive(stored) | Verdict::Disabled(stored) => Self::Inactive(stored),
        })
    }
}

impl From<VerdictBefore> for Verdict<Principal> {
    fn from(before: VerdictBefore) -> Self {
        match before {
            VerdictBefore::Valid(principal) => Self::Valid(principal.into()),
            VerdictBefore::Malformed => Self::Malformed,
            VerdictBefore::Unknown => Self::Unknown,
            VerdictBefore::Revoked => Self::Revoked,
            VerdictBefore::Expired(stored) => Self::Expired(stored),
            VerdictBefore::Inactive(stored) => Self::Inactive(stored),
        }
    }
}

impl<A: Authority> Message for Verdicts<A> {
    type Previous = VerdictsBefore;

    fn into_previous(self) -> Result<VerdictsBefore, Untranslatable> {
        // What cannot be said of one credential is not said of that one: whoever asked for the others is answered.
        let said = self.verdicts.into_iter();
        let verdicts = said.map(|verdict| verdict.and_then(|it| VerdictBefore::of(it).ok()));
        Ok(VerdictsBefore { read_at: self.read_at, verdicts: verdicts.collect(), authority: () })
    }

    fn from_previous(previous: VerdictsBefore) -> Result<Self, Untranslatable> {
        let meant = previous.verdicts.into_iter().map(|verdict| verdict.map(Verdict::from));
        Ok(Self::in_part(previous.read_at, meant.collect()))
    }
}
