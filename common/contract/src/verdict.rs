//! What an authority says of a credential.

use serde::{Deserialize, Serialize};

use crate::ids::{KeyId, SessionId, Timestamp, UserId};

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

/// Who an API key stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPrincipal {
    /// The key.
    pub key: KeyId,
    /// The name its owner gave it.
    pub name: String,
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
    pub username: String,
    /// The user's e-mail address.
    pub email: String,
    /// The login session that the token belongs to.
    pub session: SessionId,
    /// From then on it is no longer accepted.
    pub expires_at: Timestamp,
}

impl<P> Verdict<P> {
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
