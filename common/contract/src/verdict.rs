//! What an authority says of a credential.

use std::marker::PhantomData;

use serde::{Deserialize, Serialize};

use crate::ids::Timestamp;
use crate::lease::ReadAt;
use crate::principal::{Owner, Principal};

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
    /// Its time is over. `None` of what is stored: it was not told, by the release before.
    Expired(Option<Box<Stored>>),
    /// Its owner's account is deactivated. `None` as above.
    Inactive(Option<Box<Stored>>),
    /// It is refused until its owner enables it again. `None` as above.
    Disabled(Option<Box<Stored>>),
}

/// What a refusal of a credential depends on that is stored and may be accepted again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Whose it is.
    pub owner: Owner,
    /// When its time is over.
    pub expires_at: Timestamp,
}

/// Verdicts from one snapshot of the database of `A`, an authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Verdicts<A> {
    /// Which snapshot.
    pub read_at: ReadAt,
    /// One for each credential, in the order of the question; `None` where the answerer could not say: it lacks a
    /// secret that the credential may be signed with, or was not told of its owner.
    pub verdicts: Vec<Option<Verdict<Principal>>>,
    authority: PhantomData<fn() -> A>,
}

impl<A> Verdicts<A> {
    /// What `A` says of every credential as of one snapshot.
    #[must_use]
    pub fn new(read_at: ReadAt, verdicts: Vec<Verdict<Principal>>) -> Self {
        Self::in_part(read_at, verdicts.into_iter().map(Some).collect())
    }

    /// What `A` says as of one snapshot of those credentials that it could judge.
    #[must_use]
    pub fn in_part(read_at: ReadAt, verdicts: Vec<Option<Verdict<Principal>>>) -> Self {
        Self { read_at, verdicts, authority: PhantomData }
    }
}

impl<P> Verdict<P> {
    /// The same verdict with another form of the principal.
    pub fn map<Q>(self, form: impl FnOnce(P) -> Q) -> Verdict<Q> {
        match self {
            Self::Valid(principal) => Verdict::Valid(form(principal)),
            Self::Malformed => Verdict::Malformed,
            Self::Unknown => Verdict::Unknown,
            Self::Revoked => Verdict::Revoked,
            Self::Expired(stored) => Verdict::Expired(stored),
            Self::Inactive(stored) => Verdict::Inactive(stored),
            Self::Disabled(stored) => Verdict::Disabled(stored),
        }
    }

    /// The same verdict with another form of the principal, where there is one.
    ///
    /// # Errors
    /// What `form` said instead.
    pub fn try_map<Q, E>(self, form: impl FnOnce(P) -> Result<Q, E>) -> Result<Verdict<Q>, E> {
        Ok(match self.map(form) {
            Verdict::Valid(formed) => Verdict::Valid(formed?),
            Verdict::Malformed => Verdict::Malformed,
            Verdict::Unknown => Verdict::Unknown,
            Verdict::Revoked => Verdict::Revoked,
            Verdict::Expired(stored) => Verdict::Expired(stored),
            Verdict::Inactive(stored) => Verdict::Inactive(stored),
            Verdict::Disabled(stored) => Verdict::Disabled(stored),
        })
    }

    /// The principal, where the credential is good.
    pub fn valid(self) -> Option<P> {
        match self {
            Self::Valid(principal) => Some(principal),
            Self::Malformed
            | Self::Unknown
            | Self::Revoked
            | Self::Expired(_)
            | Self::Inactive(_)
            | Self::Disabled(_) => None,
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
            Self::Expired(_) => "expired",
            Self::Inactive(_) => "inactive",
            Self::Disabled(_) => "disabled",
        }
    }
}
