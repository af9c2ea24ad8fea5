//! Whom a credential stands for, the same for every kind of credential.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::grants::Grants;
use crate::ids::{KeyId, SessionId, Timestamp, UserId};

/// Whom a credential stands for. What kind it is and whose it is follow from the detail, so that they cannot
/// contradict it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// From then on the credential is no longer accepted.
    pub expires_at: Timestamp,
    /// Who, with what is known of them.
    pub detail: Detail,
    /// What it may do: shared by all that were granted the same.
    pub grants: Arc<Grants>,
}

/// Who, with what is known of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Detail {
    /// A person, by access token. Apart from its place, so that remembered keys do not take its size.
    User(Box<UserDetail>),
    /// A program, by API key.
    Key(KeyDetail),
}

/// A person, by access token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserDetail {
    /// The user.
    pub id: UserId,
    /// The user's name as it was written at signup.
    pub username: SmolStr,
    /// The user's e-mail address.
    pub email: SmolStr,
    /// The login session that the token belongs to.
    pub session: SessionId,
    /// Whether invalidations name the token: it is the very text that the login gave, or of a session whose end is told
    /// by the session's tag. Another text with the same claims and a right signature is as good, but is not remembered.
    pub is_original: bool,
    /// Whether the token's scopes were narrowed at login: it manages the user's keys only as far as they say.
    pub is_narrowed: bool,
}

/// A program, by API key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyDetail {
    /// The key.
    pub id: KeyId,
    /// Whose it is.
    pub owner: Owner,
    /// The name its owner gave it.
    pub name: SmolStr,
    /// The first of the keys that replaced each other down to this one.
    pub lineage: KeyId,
}

/// The kinds of principals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    /// A person, by access token.
    User,
    /// A program, by API key.
    Service,
}

/// Who a credential stands for, in a word: it never changes, whatever else does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A user.
    User(UserId),
    /// An API key.
    Key(KeyId),
}

/// Whom a credential belongs to: its kind and its id. Whatever ends for the owner ends for the credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Owner {
    /// A user.
    User(UserId),
}

impl Principal {
    /// What it is.
    #[must_use]
    pub fn kind(&self) -> PrincipalKind {
        match self.detail {
            Detail::User(_) => PrincipalKind::User,
            Detail::Key(_) => PrincipalKind::Service,
        }
    }

    /// Who it is.
    #[must_use]
    pub fn subject(&self) -> Subject {
        match &self.detail {
            Detail::User(user) => Subject::User(user.id),
            Detail::Key(key) => Subject::Key(key.id),
        }
    }

    /// Whose it is; a user is their own.
    #[must_use]
    pub fn owner(&self) -> Owner {
        match &self.detail {
            Detail::User(user) => Owner::User(user.id),
            Detail::Key(key) => key.owner,
        }
    }

    /// The user, where it is one.
    #[must_use]
    pub fn user(&self) -> Option<&UserDetail> {
        match &self.detail {
            Detail::User(user) => Some(user),
            Detail::Key(_) => None,
        }
    }

    /// The key, where it is one.
    #[must_use]
    pub fn key(&self) -> Option<&KeyDetail> {
        match &self.detail {
            Detail::User(_) => None,
            Detail::Key(key) => Some(key),
        }
    }

    /// Whether invalidations name the credential as it was presented, so that it may be remembered by its text.
    #[must_use]
    pub fn is_named_by_its_text(&self) -> bool {
        self.user().is_none_or(|user| user.is_original)
    }
}

impl Owner {
    /// The user, where it is one.
    #[must_use]
    pub fn user(self) -> UserId {
        let Self::User(user) = self;
        user
    }
}
