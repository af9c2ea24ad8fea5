//! What an authority says of a credential.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::ids::{KeyId, SessionId, Timestamp, UserId};
use crate::lease::ReadAt;

/// What is known of one credential at the moment the authority looked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict<P> {
    /// It is good, and stands for this principal.
    Valid(P),
    /// It has not the form of a credential that this system makes, or its signature is wrong.
    Malformed,
    /// Well formed, but nothing is stored of it.
    Unknown,
    /// Its owner or an operator ended it.
    Revoked,
    /// Its time is over.
    Expired,
    /// Its owner's account is deactivated.
    Inactive,
}

/// Verdicts from one snapshot of the authority's database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdicts<P> {
    /// Which snapshot.
    pub read_at: ReadAt,
    /// One for each credential, in the order of the question.
    pub verdicts: Vec<Verdict<P>>,
}

/// Who an API key stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPrincipal {
    /// The key.
    pub key: KeyId,
    /// The name its owner gave it.
    pub name: SmolStr,
    /// The user who made it.
    pub owner: UserId,
    /// From then on it is no longer accepted.
    pub expires_at: Timestamp,
}

/// Who an access token stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserPrincipal {
    /// The user.
    pub user: UserId,
    /// The user's name as it was written at signup.
    pub username: SmolStr,
    /// The user's e-mail address.
    pub email: SmolStr,
    /// The login session that the token belongs to.
    pub session: SessionId,
    /// Whether the token is the very text that the login gave. Another text with the same claims and a
    /// right signature is as good, but no invalidation names it: it is not remembered.
    pub is_original: bool,
    /// From then on it is no longer accepted.
    pub expires_at: Timestamp,
}

impl<P> Verdict<P> {
    /// The same verdict with another form of the principal.
    pub fn map<Q>(self, form: impl FnOnce(P) -> Q) -> Verdict<Q> {
        match self {
            Self::Valid(principal) => Verdict::Valid(form(principal)),
            Self::Malformed => Verdict::Malformed,
            Self::Unknown => Verdict::Unknown,
            Self::Revoked => Verdict::Revoked,
            Self::Expired => Verdict::Expired,
            Self::Inactive => Verdict::Inactive,
        }
    }

    /// The principal, where the credential is good.
    pub fn valid(self) -> Option<P> {
        match self {
            Self::Valid(principal) => Some(principal),
            Self::Malformed | Self::Unknown | Self::Revoked | Self::Expired | Self::Inactive => {
                None
            }
        }
    }

    /// The stable code of this verdict, for logs, metrics and other languages.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Valid(_) => "valid",
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Inactive => "inactive",
        }
    }
}
