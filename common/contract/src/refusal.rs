//! Every expected "no" of the services, with a stable code. The edge turns each into a status, once.

use serde::{Deserialize, Serialize};

/// An answer that declines a request for a reason its sender can understand and act on.
///
/// It travels in the reply's payload like any other answer. What is *our* fault is a
/// [`CallError`](crate::CallError) instead and tells nothing of its cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// One or more fields break their rules; every faulty field is named.
    Invalid(Vec<FieldError>),
    /// Another account has this e-mail address.
    EmailTaken,
    /// Another account has this username, or one that reads the same.
    UsernameTaken,
    /// No such user, or not that user's password. The two are not to be told apart.
    WrongCredentials,
    /// The password is right, but the account is deactivated.
    InactiveUser,
    /// No such key, or another user's.
    KeyNotFound,
    /// A limit was hit; worth trying again after so many milliseconds.
    TooManyRequests {
        /// How long to wait, in milliseconds.
        retry_after_ms: u64,
    },
}

/// One field of a request that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// The field's name in the public API.
    pub field: String,
    /// What is wrong and what is accepted.
    pub message: String,
}

impl FieldError {
    /// Names `field` and says what is wrong with it.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

impl Refusal {
    /// The stable code of this refusal, for logs, metrics and other languages.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::EmailTaken => "email_taken",
            Self::UsernameTaken => "username_taken",
            Self::WrongCredentials => "wrong_credentials",
            Self::InactiveUser => "inactive_user",
            Self::KeyNotFound => "key_not_found",
            Self::TooManyRequests { .. } => "too_many_requests",
        }
    }
}
