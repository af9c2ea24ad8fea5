//! Refusals by the contract before.

use serde::{Deserialize, Serialize};

use crate::message::{Message, Untranslatable};
use crate::refusal::{FieldError, Refusal};

/// [`Refusal`] as it was.
#[derive(Serialize, Deserialize)]
pub enum RefusalBefore {
    /// As now.
    Invalid(Vec<FieldError>),
    /// As now.
    EmailTaken,
    /// As now.
    UsernameTaken,
    /// As now.
    WrongCredentials,
    /// As now.
    InactiveUser,
    /// As now.
    KeyNotFound,
    /// As now.
    UserNotFound,
    /// As now.
    TooManyRequests {
        /// As now.
        retry_after_ms: u64,
    },
    /// As now.
    SessionEnded,
    /// As now.
    Stale,
}

impl Message for Refusal {
    type Previous = RefusalBefore;

    fn into_previous(self) -> Result<RefusalBefore, Untranslatable> {
        Ok(match self {
            Self::Invalid(errors) => RefusalBefore::Invalid(errors),
            Self::EmailTaken => RefusalBefore::EmailTaken,
            Self::UsernameTaken => RefusalBefore::UsernameTaken,
            Self::WrongCredentials => RefusalBefore::WrongCredentials,
            Self::InactiveUser => RefusalBefore::InactiveUser,
            Self::KeyNotFound => RefusalBefore::KeyNotFound,
            Self::UserNotFound => RefusalBefore::UserNotFound,
            Self::TooManyRequests { retry_after_ms } => {
                RefusalBefore::TooManyRequests { retry_after_ms }
            }
            Self::SessionEnded => RefusalBefore::SessionEnded,
            Self::Stale => RefusalBefore::Stale,
            Self::InsufficientScope { .. } => {
                return Err(Untranslatable("a scope that is missing"));
            }
            Self::UsersOnly => return Err(Untranslatable("what is for users alone")),
            Self::Conflict(_) => return Err(Untranslatable("a state that does not allow it")),
            Self::IdempotencyMismatch => return Err(Untranslatable("an idempotency key")),
            Self::IpDenied => return Err(Untranslatable("an address that is not allowed")),
        })
    }

    fn from_previous(previous: RefusalBefore) -> Result<Self, Untranslatable> {
        Ok(match previous {
            RefusalBefore::Invalid(errors) => Self::Invalid(errors),
            RefusalBefore::EmailTaken => Self::EmailTaken,
            RefusalBefore::UsernameTaken => Self::UsernameTaken,
            RefusalBefore::WrongCredentials => Self::WrongCredentials,
            RefusalBefore::InactiveUser => Self::InactiveUser,
            RefusalBefore::KeyNotFound => Self::KeyNotFound,
            RefusalBefore::UserNotFound => Self::UserNotFound,
            RefusalBefore::TooManyRequests { retry_after_ms } => {
                Self::TooManyRequests { retry_after_ms }
            }
            RefusalBefore::SessionEnded => Self::SessionEnded,
            RefusalBefore::Stale => Self::Stale,
        })
    }
}
